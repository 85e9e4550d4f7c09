use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use balcony_http::{Client, Visitor};

use crate::texts::Language;

/// A request for a page.
pub(crate) struct Asked {
    pub(crate) language: Language,
    /// The parameters of the page, by name; the first of a name counts.
    params: Vec<(String, String)>,
    /// What the query API is to see of the request.
    pub(crate) headers: HeaderMap,
    /// Who asks, as the edge has found out.
    pub(crate) visitor: Visitor,
    /// Whom that counts for.
    pub(crate) client: Client,
}

/// What the client sends that the query API heeds.
const HEEDED: [&str; 2] = ["consistency-token", "authorization"];

impl Asked {
    /// The parameter called `name`, unless it is empty.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether somebody is signed in.
    pub(crate) fn is_signed_in(&self) -> bool {
        self.visitor.0.is_some()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let client = Client::from_request_parts(parts, state).await?;
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let params =
            form_urlencoded::parse(query).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let languages = parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let mut headers = HeaderMap::new();
        for name in HEEDED {
            for value in parts.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        Ok(Self {
            language: Language::preferred(languages.unwrap_or_default()),
            params,
            headers,
            visitor: parts.extensions.get().cloned().unwrap_or(Visitor(None)),
            client,
        })
    }
}
