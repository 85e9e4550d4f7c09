//! How a query comes in and how long it waits for what its client has seen.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use balcony_http::consistency::Patience;
use balcony_http::{Params, Problem};
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::QueryApi;
use crate::answer::{Answer, Freshness};

/// What comes with every query: its parameters, and how long it waits for what the client's token stands for.
pub(crate) struct Query {
    /// The parameters that are not taken yet.
    pub(crate) params: Params,
    patience: Patience,
    headers: HeaderMap,
}

/// A read model, by what tells how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadModel {
    Registry,
    Comments,
    Favorites,
    Journeys,
    Statistics,
    /// The index of comments, which is no table.
    Search,
}

/// The parameters of every query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
pub(crate) struct WaitParams {
    /// How long to wait for what the `Consistency-Token` stands for: a number with its unit, up to `10s`.
    #[param(default = "2s", example = "500ms")]
    wait: Option<String>,
    /// `allow`: rather than 503, answer with older data and the header `Consistency: stale`; without `wait`, at once.
    #[param(pattern = "^allow$")]
    stale: Option<String>,
}

/// The header of every query.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header, which is read by name")]
pub(crate) struct TokenHeader {
    /// The token of the last command whose effect has to be seen.
    #[param(rename = "Consistency-Token", nullable = false)]
    consistency_token: Option<String>,
}

impl ReadModel {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Comments => "comments",
            Self::Favorites => "favorites",
            Self::Journeys => "journeys",
            Self::Statistics => "statistics",
            Self::Search => "search",
        }
    }
}

impl Query {
    /// Ends the taking of parameters, then waits until each of `reads` has what the client's token stands for. All
    /// of them share one deadline.
    ///
    /// # Errors
    /// 422 for parameters that are wrong and for a token that is malformed or of another installation; 503 when a
    /// read model is behind and older data is not wanted.
    pub(crate) async fn wait(self, api: &QueryApi, reads: &[ReadModel]) -> Result<Answer, Problem> {
        self.params.finish()?;
        let token = api.consistency.token(&self.headers)?;
        let deadline = Instant::now() + self.patience.wait;
        for &read_model in reads {
            let topic = match read_model {
                ReadModel::Statistics => &api.topics.views,
                ReadModel::Registry
                | ReadModel::Comments
                | ReadModel::Favorites
                | ReadModel::Journeys
                | ReadModel::Search => &api.topics.facts,
            };
            let wanted = token.of_topic(topic);
            let has_come = match read_model {
                _ if wanted.is_empty() => true,
                ReadModel::Search => api.search.wait_for(&wanted, deadline).await?,
                _ => api.reader.wait_for(read_model.name(), &wanted, deadline).await?,
            };
            if has_come {
                continue;
            }
            if !self.patience.stale {
                return Err(Problem::projection_behind());
            }
            return Ok(Answer::new(Freshness::Stale, self.headers));
        }
        Ok(Answer::new(Freshness::Fresh, self.headers))
    }
}

impl FromRequestParts<QueryApi> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &QueryApi) -> Result<Self, Infallible> {
        let mut params = Params::new(parts.uri.query());
        let patience = Patience::take(&mut params);
        Ok(Self { params, patience, headers: parts.headers.clone() })
    }
}
