//! What a service is made of, and what it shows of itself: `/openapi.json`, `/docs`, and its probes.

use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use utoipa::openapi::OpenApi;

use crate::auth::Authority;
use crate::cors::Cors;
use crate::message::{Caching, TakesOptions, standard_headers};
use crate::page::{self, Asset, SCRIPT, STYLE};
use crate::rate_limit::Limiter;
use crate::telemetry::{Telemetry, Timer};
use crate::{NoParams, Problem, body, describe, problem};

/// What every service needs beside its routes.
#[derive(Clone)]
pub struct Edge {
    /// Checks tokens.
    pub authority: Authority,
    /// Counts requests.
    pub limiter: Limiter,
    /// Which pages of other origins may ask; all when one of them is `*`.
    pub cors_origins: Vec<HeaderValue>,
    /// Counts requests by status and time, and shows all metrics.
    pub telemetry: Telemetry,
    /// What the types of problem documents begin with, such as `urn:example:problem:`; a name follows.
    pub problem_types: Arc<str>,
}

/// What the edge refuses of any request.
const REFUSALS: &[(StatusCode, &str)] = &[
    (StatusCode::BAD_REQUEST, "the request is not well-formed HTTP"),
    (StatusCode::UNAUTHORIZED, "the token is not accepted"),
    (StatusCode::REQUEST_TIMEOUT, "the request comes too slowly"),
    (StatusCode::PAYLOAD_TOO_LARGE, "the body is announced as too large"),
    (StatusCode::URI_TOO_LONG, "the URI is too long"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is sent in a `Content-Encoding`"),
    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too many or too long"),
    (StatusCode::NOT_IMPLEMENTED, "the body is sent in a `Transfer-Encoding` other than `chunked`"),
    (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "the request is of another version of HTTP than 1.0, 1.1 and 2"),
    (StatusCode::SERVICE_UNAVAILABLE, "there are as many connections as the service takes"),
    (
        StatusCode::TOO_MANY_REQUESTS,
        "the user or the address asks too often, or holds as much as it may; `Retry-After` says when to try again",
    ),
];

/// The description of a service: of its routes, which is given, and of what the edge adds to each of them.
pub fn described(mut openapi: OpenApi) -> OpenApi {
    describe::at_the_edge(&mut openapi, REFUSALS);
    openapi
}

/// What the page at `/docs` is made of.
const DOCS: &[Asset] = &[
    Asset { path: "/assets/docs.css", content_type: STYLE, bytes: include_bytes!("docs.css") },
    Asset { path: "/assets/docs.js", content_type: SCRIPT, bytes: include_bytes!("docs.js") },
];

/// A whole service: its routes with what they are described as, and `probes` (of [`crate::probes`]), behind the edge.
pub fn service(routes: Router, openapi: OpenApi, probes: Router, edge: &Edge) -> Router {
    let openapi = Arc::new(described(openapi));
    let door = Door { cors: Cors::new(&edge.cors_origins), edge: edge.clone() };
    let shown = Router::new()
        .route("/openapi.json", get(async move |_: NoParams| Json(openapi.as_ref().clone())))
        .route("/docs", get(async || page::page(StatusCode::OK, include_str!("docs.html"), None)));
    routes
        .merge(shown)
        .merge(page::assets(DOCS.iter().copied()))
        .merge(probes)
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(Arc::new(door), at_the_door))
}

/// The edge, and which pages of other origins may pass.
struct Door {
    edge: Edge,
    cors: Cors,
}

/// All methods that some path takes.
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

async fn nothing_here(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS && uri.path() == "*" {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, METHODS)]).into_response();
    }
    Problem::not_found("there is nothing at this path").into_response()
}

/// The path does not take the method; the router says in `Allow` what it takes, which is the answer to `OPTIONS`.
async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::method_not_allowed().into_response()
}

/// What happens to every request: it is admitted or refused; it is handled; it is counted; a refusal gets its type and the
/// request's path; the answer gets the headers that every answer has.
async fn at_the_door(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let Door { edge, cors } = door.as_ref();
    let timer = Timer::start(&request);
    let (uri, is_http1) = (request.uri().clone(), request.version() < Version::HTTP_2);
    let (method, headers) = (request.method(), request.headers());
    let is_private = !method.is_safe() || headers.contains_key(header::AUTHORIZATION);
    let is_options = *method == Method::OPTIONS;
    let mut is_unread = !request.body().is_end_stream();
    let shown_to = cors.allowed(headers);
    let response = if let Some(preflight) = cors.preflight(method, headers) {
        preflight
    } else {
        match edge.admit(request, &mut is_unread).await {
            Ok(request) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    edge.telemetry.count(timer, response.status());
    let mut response = problem::complete(response, &uri, &edge.problem_types);

    let status = response.status();
    if is_options || status == StatusCode::METHOD_NOT_ALLOWED {
        response.extensions_mut().insert(TakesOptions);
    }
    let is_private = is_private || status.is_client_error() || status.is_server_error();
    let headers = response.headers_mut();
    standard_headers(headers, if is_private { Caching::Private } else { Caching::Public });
    if is_unread && is_http1 && !status.is_success() {
        // What was not read of the request is not read for the sake of the next one.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    cors.show(headers, shown_to);
    response
}

impl Edge {
    /// Whoever asks too often is refused; what the head says of the body is looked at; then the body is read, up to the
    /// limit; whose token is not accepted is refused. A client that waits for a word before it sends the body gets it from
    /// the handler, when nothing else is wrong.
    async fn admit(&self, request: Request, is_unread: &mut bool) -> Result<Request, Problem> {
        let (mut parts, mut body) = request.into_parts();
        let visitor = self.authority.visitor(&parts.headers).await;
        // Whatever else is wrong with it, a request counts.
        let client = self.limiter.admit(&parts, visitor.as_ref().ok())?;
        body::check(&parts.headers)?;
        if !body::is_awaited(&parts.headers) {
            body = body::read(body).await?.into();
            *is_unread = false;
        }
        parts.extensions.insert(visitor?);
        parts.extensions.insert(client);
        Ok(Request::from_parts(parts, body))
    }
}
