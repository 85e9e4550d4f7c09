//! How a query comes in and how long it waits for what its client has seen.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::answer::{Answer, Freshness};
use crate::consistency::Patience;
use crate::describe::{Describe, Description};
use crate::events::Stopping;
use crate::reading::ReadModels;
use crate::{Client, Params, Problem};

/// What comes with every query: its parameters, and how long it waits for what the client's token stands for.
pub struct Query {
    /// The parameters that are not taken yet.
    pub params: Params,
    patience: Patience,
    headers: HeaderMap,
    stopping: Stopping,
    client: Client,
}

/// The parameters of every query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
struct WaitParams {
    /// How long to wait for what the `Consistency-Token` stands for: a number with its unit, up to `10s`.
    #[param(default = "2s", example = "500ms", pattern = "^0*([0-9]|10)s$|^0*([0-9]{1,4}|10000)ms$")]
    wait: Option<String>,
    /// `allow`: rather than 503, answer with older data and the header `Consistency: stale`; without `wait`, at once.
    #[param(pattern = "^allow$")]
    stale: Option<String>,
}

/// The header of every query.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header, which is read by name")]
struct TokenHeader {
    /// The token of the last command whose effect has to be seen; up to eight, in lines of their own or separated by commas,
    /// are all waited for.
    #[param(rename = "Consistency-Token", nullable = false)]
    consistency_token: Option<String>,
}

impl Query {
    /// Ends the taking of parameters, then waits until each of the read models `reads` is there and has what the client's token stands for. All
    /// of them share one deadline.
    ///
    /// # Errors
    /// 429 where the client has many queries that wait; 422 for parameters that are wrong and for a token that is malformed, of another installation, or from beyond the
    /// log's end; 503 when a read model is behind and older data is not wanted.
    ///
    /// # Panics
    /// When `read_models` has none of that name.
    pub async fn wait(self, read_models: &ReadModels, reads: &[&str]) -> Result<Answer, Problem> {
        self.params.finish()?;
        let token = read_models.consistency().token(&self.headers)?;
        let deadline = Instant::now() + self.patience.wait;
        let since = read_models.reader().standing();
        let _turn = read_models.turn(self.client, &token)?;
        for name in reads {
            let has_come = read_models.wait_for_written(name, &token, deadline).await?;
            if has_come {
                continue;
            }
            if !self.patience.stale {
                return Err(Problem::projection_behind());
            }
            return Ok(Answer::new(Freshness::Stale, self.headers, self.stopping));
        }
        let answer = Answer::new(Freshness::Fresh, self.headers, self.stopping);
        Ok(if token.0.is_empty() { answer } else { answer.after_waiting(read_models.reader().clone(), since) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let client = Client::from_request_parts(parts, state).await?;
        let mut params = Params::new(parts.uri.query());
        let patience = Patience::take(&mut params);
        Ok(Self { params, patience, headers: parts.headers.clone(), stopping: Stopping::of(parts), client })
    }
}

impl Describe for Query {
    fn describe(description: &mut Description<'_>) {
        description.takes::<WaitParams>();
        description.takes::<TokenHeader>();
        description.refuses(StatusCode::UNPROCESSABLE_ENTITY, "a parameter or the token is wrong");
        description.refuses(StatusCode::SERVICE_UNAVAILABLE, "a read model is behind the token, or not available");
    }
}
