use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use balcony_domain::event::CompanyUnsubscribed;
use balcony_domain::{CompanyId, Event, Timestamp, UserId, id_of_unsubscription};
use balcony_event_log::Positions;
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
    _: AnyBody,
) -> Result<Response, Problem> {
    let written = api.leave(api.leaves_by(&ticket)?, &command).await?;
    let said = document("You get no more mail about comments on your movies", "");
    Ok(([api.token(&command, &written)], page(StatusCode::OK, said, None)).into_response())
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
) -> Result<Response, Problem> {
    api.leaves_by(&ticket)?;
    let form = "<form method=\"post\"><button class=\"main\">No more mail</button></form>";
    Ok(page(StatusCode::OK, document("Mail about comments on your movies", form), None))
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

/// A page that says one thing.
fn document(title: &str, more: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/assets/house.css\"></head>\
         <body><main><h1>{title}</h1>{more}</main></body></html>\n"
    )
}
