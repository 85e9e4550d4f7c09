use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::{CompanyId, Timestamp};
use balcony_http::{PathId, Problem};
use balcony_read_models::Registry;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::Comment;
use crate::comments;
use crate::hot::{self, Found};
use crate::time::stored_time;
use crate::timeline::{self, Sources};
use balcony_http::cursor::{Scope, TimeKey};
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;

/// A company. Where its mail goes is not public.
#[derive(Serialize, ToSchema)]
pub(crate) struct Company {
    id: Uuid,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    registered_at: Timestamp,
}

/// One company.
#[utoipa::path(
    get, path = "/v1/companies/{id}", tag = "companies", operation_id = "get_company",
    params(("id" = Uuid, Path, description = "The company")),
    responses((status = 200, description = "The company", body = Company)),
)]
pub(crate) async fn get(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<CompanyId>,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api.read_models, &[Registry::NAME]).await?;
    Ok(answer.json(find(&api, id).await))
}

/// The comments on a company's movies, the newest first.
#[utoipa::path(
    get, path = "/v1/companies/{id}/comments", tag = "companies", operation_id = "list_comments_on_company",
    params(("id" = Uuid, Path, description = "The company"), PageParams),
    responses(
        (status = 200, description = "A page of comments, with an `ETag`", body = Page<Comment>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list_comments(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<CompanyId>,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = PageRequest::take(&mut query.params, Scope::of("companies/comments").with("company", id));
    let answer = query.wait(&api.read_models, comments::READS).await?;
    Ok(hot::public_list(answer, comments_on(&api, id, &wanted).await))
}

async fn find(api: &QueryApi, id: CompanyId) -> Result<Company, Problem> {
    let sql = "SELECT id, name, registered_at FROM companies WHERE id = $1";
    let rows: Vec<(Uuid, String, i64)> = api.reader.fetch(sql, &[id.0.into()]).await?;
    let found = rows.into_iter().next();
    let (id, name, registered_at) = found.ok_or_else(|| Problem::not_found("there is no company with this id"))?;
    Ok(Company { id, name, registered_at: stored_time(registered_at)? })
}

async fn comments_on(
    api: &QueryApi,
    id: CompanyId,
    wanted: &PageRequest<TimeKey>,
) -> Result<Found<Page<Comment>>, Problem> {
    find(api, id).await?;
    timeline::newest(api, Sources::MoviesOf(id), wanted).await
}
