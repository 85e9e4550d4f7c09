use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use balcony_domain::event::CompanyUnsubscribed;
use balcony_domain::{CompanyId, Event, Timestamp, UserId, id_of_unsubscription};
use balcony_event_log::Positions;
use balcony_http::describe::{Describe, Description};
use balcony_http::language::preferred;
use balcony_http::page::page;
use balcony_http::{AnyBody, PathId, Problem};
use serde_json::Map;
use uuid::Uuid;

use crate::api::CommandApi;
use crate::creating::Creation;
use crate::idempotency::{TURN_TIMEOUT, digest};
use crate::recorder::now;

/// Ends mail to a company: by the ticket in the link of a mail that it got, whoever has that, in one click (RFC 8058). Where it
/// gets none already, nothing happens. The address gets mail again once an admin registers a company with it.
#[utoipa::path(
    post, path = "/v1/mail/unsubscribe/{ticket}", tag = "companies", operation_id = "unsubscribe_company",
    params(("ticket" = String, Path, description = "From the link")),
    responses(
        (status = 200, description = "No more mail is sent; a page says so", body = String, content_type = "text/html"),
        (status = 404, description = "The ticket is none of this installation's", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn unsubscribe(
    State(api): State<Arc<CommandApi>>,
    PathId(ticket): PathId<String>,
    command: Creation,
    language: Language,
    _: AnyBody,
) -> Result<Response, Problem> {
    let written = api.leave(api.leaves_by(&ticket)?, &command).await?;
    Ok(([api.token(&command, &written)], language.page(language.say(Said::HasLeft), "")).into_response())
}

/// Asks people whether they mean it: programs that look where links lead click them, too.
#[utoipa::path(
    get, path = "/v1/mail/unsubscribe/{ticket}", tag = "companies", operation_id = "ask_company",
    params(("ticket" = String, Path, description = "From the link")),
    responses(
        (status = 200, description = "A page with a button", body = String, content_type = "text/html"),
        (status = 404, description = "The ticket is none of this installation's", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn ask(
    State(api): State<Arc<CommandApi>>,
    PathId(ticket): PathId<String>,
    language: Language,
) -> Result<Response, Problem> {
    api.leaves_by(&ticket)?;
    let button = language.say(Said::NoMore);
    let form = format!("<form method=\"post\"><button class=\"main\">{button}</button></form>");
    Ok(language.page(language.say(Said::Subject), &form))
}

impl CommandApi {
    /// Appends that `company` gets no more mail, unless it gets none. Gives where that stands.
    ///
    /// Several may say so at once. In this process they take turns; through several instances two records may come into
    /// the log, which have one id.
    async fn leave(self: &Arc<Self>, company: CompanyId, command: &Creation) -> Result<Positions, Problem> {
        let id = command.derived_id(UserId(company.0));
        if self.mailed_since(company, id).await?.is_none() {
            return self.recorder.ends().await;
        }
        let turn = self.in_flight.turn(company.0, TURN_TIMEOUT).await?;
        // Whoever had the turn before may have said it.
        let Some(since) = self.mailed_since(company, id).await? else { return self.recorder.ends().await };
        let request_digest = id.map(|_| digest(&[], &Map::new()));
        let id = id.unwrap_or_else(|| id_of_unsubscription(company, since.milliseconds()));
        let event = Event::CompanyUnsubscribed(CompanyUnsubscribed { company_id: company });
        let (api, traceparent) = (self.clone(), command.traceparent.clone());
        // When a client has left and comes again, its turn comes after this one's.
        let recording = turn.finish(async move {
            // The clock by which mail began may be ahead of this one.
            api.recorder.record_at(now().max(since), id, event, request_digest, traceparent.as_deref()).await
        });
        recording.await?
    }

    /// Since when the company's address gets mail; `None` when it gets none, or when the request whose event has this id
    /// was done before.
    async fn mailed_since(&self, company: CompanyId, id: Option<Uuid>) -> Result<Option<Timestamp>, Problem> {
        if let Some(id) = id
            && self.registry.request(id).await?.is_some()
        {
            return Ok(None);
        }
        let subscription = self.registry.subscription(company).await?.ok_or_else(unknown)?;
        let since =
            Timestamp::from_milliseconds(subscription.registered_at).map_err(|error| Problem::internal(&error))?;
        Ok(subscription.is_on().then_some(since))
    }

    fn leaves_by(&self, ticket: &str) -> Result<CompanyId, Problem> {
        self.leaving.company(ticket).ok_or_else(unknown)
    }
}

fn unknown() -> Problem {
    Problem::not_found("this link is none of ours")
}

/// The language of whoever left or is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Japanese,
}

/// What the pages say.
#[derive(Debug, Clone, Copy)]
enum Said {
    Subject,
    NoMore,
    HasLeft,
}

impl Language {
    fn say(self, said: Said) -> &'static str {
        let (english, japanese) = match said {
            Said::Subject => ("Mail about comments on your movies", "御社の映画へのコメントのお知らせメール"),
            Said::NoMore => ("No more mail", "配信を停止する"),
            Said::HasLeft => (
                "You get no more mail about comments on your movies",
                "御社の映画へのコメントのお知らせメールは、今後届きません",
            ),
        };
        match self {
            Self::English => english,
            Self::Japanese => japanese,
        }
    }

    /// A page that says one thing.
    fn page(self, title: &str, more: &str) -> Response {
        let mut response = page(StatusCode::OK, self.document(title, more), None);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-language"));
        response
    }

    fn document(self, title: &str, more: &str) -> String {
        let tag = match self {
            Self::English => "en",
            Self::Japanese => "ja",
        };
        format!(
            "<!DOCTYPE html>\n<html lang=\"{tag}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
             <link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/assets/house.css\"></head>\
             <body><main><h1>{title}</h1>{more}</main></body></html>\n"
        )
    }
}

impl<S: Sync> FromRequestParts<S> for Language {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let accepted = parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Ok(match preferred(accepted.unwrap_or_default(), &["en", "ja"]) {
            Some("ja") => Self::Japanese,
            _ => Self::English,
        })
    }
}

/// Any request may say in which language it wants its answer.
impl Describe for Language {
    fn describe(_: &mut Description<'_>) {}
}
