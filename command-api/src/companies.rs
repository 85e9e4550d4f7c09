use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::event::CompanyRegistered;
use balcony_domain::{CompanyId, Event, request};
use balcony_http::{Admin, Problem, SentJson};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::CommandApi;
use crate::command::broken_rules;
use crate::creating::{Created, Creation, Request};

/// A company to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterCompany {
    /// 1 to 200 characters.
    #[schema(required, nullable = false, min_length = 1, max_length = 200)]
    name: Option<String>,
    /// Where mail about comments on its movies goes; not public.
    #[schema(required, nullable = false, format = "email")]
    contact_email: Option<String>,
}

/// What digests of these requests begin with.
const FIELDS: &[&str] = &["name", "contact_email"];

/// Registers a company.
#[utoipa::path(
    post, path = "/v1/companies", tag = "companies", operation_id = "register_company",
    responses((status = 201, description = "Registered; `Location` says where", body = Created)),
)]
pub(crate) async fn register(
    State(api): State<Arc<CommandApi>>,
    Admin(admin): Admin,
    creation: Creation,
    SentJson { fields: body, sent }: SentJson<RegisterCompany>,
) -> Result<Response, Problem> {
    let company = request::company(body.name.as_deref(), body.contact_email.as_deref());
    let company = company.map_err(broken_rules)?;
    api.create(&creation, &admin, "companies", Request { first: FIELDS, sent: &sent }, |id| {
        Event::CompanyRegistered(CompanyRegistered {
            company_id: CompanyId(id),
            name: company.name,
            contact_email: company.contact_email,
        })
    })
    .await
}
