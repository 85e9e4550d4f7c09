//! A client of the API, and how tests wait.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub commands: String,
    pub queries: String,
    token: Option<String>,
    headers: HeaderMap,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(commands: &str, queries: &str, token: Option<String>) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { http, commands: commands.into(), queries: queries.into(), token, headers: HeaderMap::new() }
    }

    /// The same client, talking to other instances.
    pub fn talking_to(mut self, commands: &str, queries: &str) -> Self {
        (self.commands, self.queries) = (commands.into(), queries.into());
        self
    }

    pub fn with_token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(str::to_owned);
        self
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    pub fn with_key(self, key: &str) -> Self {
        self.with_header("idempotency-key", key)
    }

    /// Remembers what was answered, as clients do that want to read their own writes.
    pub fn having_seen(self, answer: &Answer) -> Self {
        let token = answer.header("consistency-token");
        self.with_header("consistency-token", &token)
    }

    pub async fn send(&self, method: Method, url: String, body: Option<Vec<u8>>) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        // Headers given to the client replace those set here.
        let response = request.headers(self.headers.clone()).send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    pub async fn try_command(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let body = body.map(|body| serde_json::to_vec(body).unwrap());
        self.send(method, format!("{}{path}", self.commands), body).await
    }

    pub async fn command(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.try_command(method, path, body).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.command(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str) -> Answer {
        self.command(Method::PUT, path, None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.command(Method::DELETE, path, None).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, format!("{}{path}", self.queries), None).await.unwrap()
    }

    /// Opens a stream, whose body is to be read as it comes.
    pub async fn open(&self, path: &str, last: Option<&str>) -> reqwest::Response {
        let mut request = reqwest::Client::new().get(format!("{}{path}", self.queries)).headers(self.headers.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        request.send().await.unwrap()
    }

    pub async fn register_movie(&self, title: &str) -> Answer {
        self.post("/v1/movies", &json!({"title": title})).await.expect(StatusCode::CREATED)
    }

    pub async fn comment(&self, movie: &str, body: &str) -> Answer {
        self.post(&format!("/v1/movies/{movie}/comments"), &json!({"body": body})).await.expect(StatusCode::CREATED)
    }
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("an id in {}", self.text)).to_owned()
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{name} in {:?}", self.headers));
        value.to_str().unwrap().to_owned()
    }

    /// Checks that this is a problem document of `status`, and gives where its errors stand: pointers into the body, `?`
    /// and a parameter, a header and `:`.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Vec<String> {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for field in ["type", "title", "detail", "instance"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {problem}");
        }
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let place = |error: &Value| match (&error["pointer"], &error["parameter"], &error["header"]) {
            (Value::String(pointer), Value::Null, Value::Null) => pointer.clone(),
            (Value::Null, Value::String(parameter), Value::Null) => format!("?{parameter}"),
            (Value::Null, Value::Null, Value::String(header)) => format!("{header}:"),
            _ => panic!("one place in {error}"),
        };
        errors.iter().map(place).collect()
    }

    /// The `field` of every item of a list.
    #[track_caller]
    pub fn items(&self, field: &str) -> Vec<String> {
        let list = self.json();
        let items = list["items"].as_array().unwrap_or_else(|| panic!("items in {list}"));
        items
            .iter()
            .map(|item| item[field].as_str().unwrap_or_else(|| panic!("{field} in {item}")).to_owned())
            .collect()
    }
}
