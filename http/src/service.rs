//! How a service runs and what it shows of itself: `/openapi.json`, `/docs`, and its probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router, middleware};
use tokio::net::TcpListener;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;

use crate::auth::Authority;
use crate::rate_limit::Limiter;
use crate::telemetry::{Telemetry, Timer};
use crate::{Problem, body, consistency, describe, problem};

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
    (StatusCode::UNAUTHORIZED, "the token is not accepted"),
    (
        StatusCode::TOO_MANY_REQUESTS,
        "the user or the address asks too often; `Retry-After` says when there is room again",
    ),
];
/// How long requests under way may go on once the service is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The description of a service: of its routes, which is given, and of what the edge adds to each of them.
pub fn described(mut openapi: OpenApi) -> OpenApi {
    describe::at_the_edge(&mut openapi, REFUSALS);
    openapi
}

/// A whole service: its routes with what they are described as, and `probes` (of [`crate::probes`]), behind the edge.
pub fn service(routes: Router, openapi: OpenApi, probes: Router, edge: &Edge) -> Router {
    let openapi = Arc::new(described(openapi));
    let shown = Router::new()
        .route("/openapi.json", get(async move || Json(openapi.as_ref().clone())))
        .route("/docs", get(async || Html(include_str!("docs.html"))));
    let router = routes
        .merge(shown)
        .merge(probes)
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::new(edge.clone()), at_the_edge));
    if edge.cors_origins.is_empty() { router } else { router.layer(cors(&edge.cors_origins)) }
}

/// What happens to every request, in this order: whoever asks too often is refused; its body is read, up to the limit;
/// whose token is not accepted is refused; it is handled; it is counted; a refusal gets its type and the request's path.
async fn at_the_edge(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let timer = Timer::start(&request);
    let uri = request.uri().clone();
    let response = match edge.admit(request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    edge.telemetry.count(timer, response.status());
    problem::complete(response, &uri, &edge.problem_types)
}

impl Edge {
    async fn admit(&self, request: Request) -> Result<Request, Problem> {
        let (mut parts, body) = request.into_parts();
        let visitor = self.authority.visitor(&parts.headers);
        // Whatever else is wrong with it, a request counts.
        self.limiter.admit(&parts, visitor.as_ref().ok())?;
        let bytes = body::read(body).await?;
        parts.extensions.insert(visitor?);
        Ok(Request::from_parts(parts, bytes.into()))
    }
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.to_vec())
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            "idempotency-key".parse().expect("a header name"),
            consistency::TOKEN,
        ])
        .expose_headers([
            consistency::TOKEN,
            consistency::CONSISTENCY,
            header::LOCATION,
            header::ETAG,
            header::RETRY_AFTER,
        ])
        .max_age(Duration::from_secs(3_600))
}

/// Serves `router` on `listener` until `stop` comes, then lets requests under way end.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    // An answer is written whole, so nothing is gained by waiting for more to send.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        let _ = stopping.send(());
    });
    tokio::select! {
        served = async { serving.await } => served,
        () = async {
            // Without an answer the server has ended by itself.
            let _ = stopped.await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        } => Ok(()),
    }
}
