use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::answer::TakenBack;

/// How often a query is done. Two rollbacks or crashes within one are for its client to try again.
const TIMES: usize = 3;

/// Does a query again when what it had waited for was taken back while it was read. Queries change nothing, and their
/// bodies mean nothing.
pub(crate) async fn when_taken_back(request: Request, next: Next) -> Response {
    let (parts, _) = request.into_parts();
    let mut response = next.clone().run(Request::from_parts(parts.clone(), Body::empty())).await;
    for _ in 1..TIMES {
        if response.extensions().get::<TakenBack>().is_none() {
            break;
        }
        response = next.clone().run(Request::from_parts(parts.clone(), Body::empty())).await;
    }
    response
}
