//! What stands in the URL: ids in the path, parameters in the query.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::cursor::is_text;
use crate::describe::{Describe, Description};
use crate::problem::{ERRORS_MAX, FieldError, Problem};

/// The id in a path, or the name. One that cannot be, such as one that is no UUID or no UTF-8, names nothing, so it is not
/// found. The library's own `Path` is no parameter of a handler, since it refuses with a plain text.
#[derive(Debug, Clone, Copy)]
pub struct PathId<T>(pub T);

impl<S: Send + Sync, T: FromStr + Send> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let id = text.ok().and_then(|Path(text)| text.parse().ok());
        id.map(PathId).ok_or_else(|| Problem::not_found("there is nothing with this id"))
    }
}

/// The name and the meaning of the id are in the route, so the handler describes the parameter.
impl<T> Describe for PathId<T> {
    fn describe(description: &mut Description<'_>) {
        description.refuses(StatusCode::NOT_FOUND, "there is nothing with this id");
    }
}

/// The parameters of a query: taken one by one, each checked as it is taken; [`Params::finish`] then refuses what
/// was not taken, with everything else that is wrong.
#[derive(Debug)]
pub struct Params {
    given: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::new(parts.uri.query()))
    }
}

impl Describe for Params {
    fn describe(description: &mut Description<'_>) {
        description.refuses(StatusCode::UNPROCESSABLE_ENTITY, "a parameter is wrong");
    }
}

/// The request has no query parameters.
#[derive(Debug, Clone, Copy)]
pub struct NoParams;

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Params::new(parts.uri.query()).finish()?;
        Ok(Self)
    }
}

impl Describe for NoParams {
    fn describe(description: &mut Description<'_>) {
        description.refuses(StatusCode::UNPROCESSABLE_ENTITY, "there is a query parameter");
    }
}

impl Params {
    /// The parameters of the query string `query`.
    pub fn new(query: Option<&str>) -> Self {
        let mut params = Self { given: BTreeMap::new(), errors: Vec::new() };
        let query = query.unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        for (pair, (name, value)) in pairs.zip(form_urlencoded::parse(query.as_bytes())) {
            if percent_decode_str(pair).decode_utf8().is_err() {
                params.refuse(&name, "is not UTF-8");
            }
            if !is_text(&value) {
                params.refuse(&name, "has the character U+0000");
            }
            if params.given.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                params.refuse(&name, "is given twice");
            }
        }
        params
    }

    /// Takes the parameter `name` as text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.given.remove(name)
    }

    /// Takes the parameter `name`, read by its own rules.
    pub fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().map_err(|error: T::Err| self.refuse(name, error.to_string())).ok()
    }

    /// Takes the parameter `name`, a whole number from 0 on.
    pub fn number<T: TryFrom<u64>>(&mut self, name: &str) -> Option<T> {
        let number = self.text(name)?.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.refuse(name, "is not a whole number from 0 on, or too large");
        }
        number
    }

    /// Takes the parameter `name`, which is one of `choices`; the first is meant when it is absent.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let default = choices[0].1;
        let Some(text) = self.text(name) else { return default };
        match choices.iter().find(|(choice, _)| *choice == text) {
            Some(&(_, value)) => value,
            None => {
                let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
                self.refuse(name, format!("is not one of {}", names.join(", ")));
                default
            }
        }
    }

    /// Takes `limit`: 1 to 100, 20 when absent.
    pub fn limit(&mut self) -> usize {
        match self.text("limit").map(|text| text.parse::<usize>()) {
            None => 20,
            Some(Ok(limit @ 1..=100)) => limit,
            Some(_) => {
                self.refuse("limit", "is not a number from 1 to 100");
                20
            }
        }
    }

    /// Takes a duration with its unit, such as `500ms` or `5s`, of at most `most`.
    pub fn duration(&mut self, name: &str, most: Duration) -> Option<Duration> {
        let text = self.text(name)?;
        let duration = parse_duration(&text).filter(|duration| *duration <= most);
        if duration.is_none() {
            self.refuse(name, format!("is not a duration up to {}s, such as 500ms or 5s", most.as_secs()));
        }
        duration
    }

    /// Notes that `name` is wrong.
    pub fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        // One more than are listed says that there are more.
        if self.errors.len() <= ERRORS_MAX {
            self.errors.push(FieldError::parameter(name, detail));
        }
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// A problem that names every parameter that is wrong or unknown.
    pub fn finish(mut self) -> Result<(), Problem> {
        for name in std::mem::take(&mut self.given).into_keys() {
            self.refuse(&name, "is not a parameter here");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_or_given_twice_is_refused() {
        let mut params = Params::new(Some("limit=5&x=1&limit=6"));
        assert_eq!(params.limit(), 6);
        let problem = serde_json::to_value(params.finish().expect_err("refused")).expect("JSON");
        assert_eq!(problem["errors"][0]["parameter"], "limit");
        assert_eq!(problem["errors"][1]["parameter"], "x");
        assert!(Params::new(None).finish().is_ok());

        let problem = Params::new(Some(&"a&".repeat(32_000))).finish().expect_err("refused");
        assert_eq!(serde_json::to_value(problem).expect("JSON")["errors"].as_array().map(Vec::len), Some(20));

        for value in ["a%00b", "%ff", "caf%E9", "%ed%a0%80"] {
            let mut params = Params::new(Some(&format!("&&x=%C3%A9&author_location={value}")));
            assert_eq!(params.text("x").as_deref(), Some("é"));
            params.text("author_location");
            let problem = params.finish().expect_err(value);
            let errors = serde_json::to_value(problem).expect("JSON")["errors"].clone();
            assert_eq!(errors.as_array().map(Vec::len), Some(1), "{errors}");
            assert_eq!(errors[0]["parameter"], "author_location");
        }
    }

    #[test]
    fn limits_are_from_1_to_100() {
        for (query, limit) in [
            ("", Some(20)),
            ("limit=1", Some(1)),
            ("limit=100", Some(100)),
            ("limit=0", None),
            ("limit=101", None),
            ("limit=-1", None),
            ("limit=", None),
        ] {
            let mut params = Params::new(Some(query));
            let found = params.limit();
            assert_eq!(params.finish().ok().map(|()| found), limit, "{query}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        let most = Duration::from_secs(10);
        for (text, duration) in [
            ("500ms", Some(500)),
            ("0s", Some(0)),
            ("10s", Some(10_000)),
            ("11s", None),
            ("5", None),
            ("s", None),
            ("1h", None),
            ("-1s", None),
        ] {
            let mut params = Params::new(Some(&format!("wait={text}")));
            let found = params.duration("wait", most);
            assert_eq!(found, duration.map(Duration::from_millis), "{text}");
            assert_eq!(params.finish().is_ok(), duration.is_some(), "{text}");
        }
    }
}
