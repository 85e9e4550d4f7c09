use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use balcony_domain::event::CompanyUnsubscribed;
use balcony_domain::{CompanyId, Event};
use balcony_http::page::page;
use balcony_http::{AnyBody, PathId, Problem};
use uuid::Uuid;

use crate::api::CommandApi;
use crate::command::Command;

/// Ends mail to a company: by the ticket in the link of a mail that it got, whoever has that, in one click (RFC 8058). The
/// address gets mail again once an admin registers a company with it.
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
    command: Command,
    _: AnyBody,
) -> Result<Response, Problem> {
    let event = Event::CompanyUnsubscribed(CompanyUnsubscribed { company_id: api.leaves_by(&ticket)? });
    let written = api.recorder.record(Uuid::now_v7(), event, None, command.traceparent.as_deref()).await?;
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
    fn leaves_by(&self, ticket: &str) -> Result<CompanyId, Problem> {
        self.leaving.company(ticket).ok_or_else(|| Problem::not_found("this link is none of ours"))
    }
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
