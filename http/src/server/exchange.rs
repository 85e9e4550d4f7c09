//! A request and its answer, on their way between the HTTP library and the routes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, Version, header};
use axum::response::IntoResponse as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tower_service::Service as _;

use super::shared::Shared;
use super::watch::Watch;
use crate::events::Stopping;
use crate::message;
use crate::message::{Caching, TakesOptions, standard_headers};

/// How many bytes of an answer are handed over at once on a connection that carries several. So much of each the HTTP
/// library keeps for a client that does not take it, without telling.
const PIECE: usize = 16 << 10;

/// Hands the requests of one connection to the routes.
pub(super) struct Exchange {
    router: Router,
    remote: SocketAddr,
    stopping: Stopping,
    server: Arc<Shared>,
    watch: Arc<Watch>,
}

/// The body of an answer, while the client takes it.
pub(super) struct Answering {
    body: Body,
    request: Underway,
    /// What of the last frame has not been handed over.
    rest: Bytes,
}

/// A request that is not answered yet.
struct Underway {
    watch: Arc<Watch>,
    number: u64,
    /// Whether the connection carries several at once, each of which can stall by itself.
    is_shared: bool,
}

impl Exchange {
    pub(super) fn new(
        router: Router,
        remote: SocketAddr,
        stopping: Stopping,
        server: Arc<Shared>,
        watch: Arc<Watch>,
    ) -> Self {
        Self { router, remote, stopping, server, watch }
    }

    async fn route(mut router: Router, request: Request<Body>) -> Response<Body> {
        router.call(request).await.unwrap_or_else(|never: Infallible| match never {})
    }
}

impl hyper::service::Service<Request<Incoming>> for Exchange {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answering>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let is_shared = request.version() >= Version::HTTP_2;
        let underway = Underway { number: self.watch.begin(), watch: self.watch.clone(), is_shared };
        if let Some(fault) = message::fault(&request) {
            let limiter = self.server.limiter.as_ref();
            let counted = limiter.map_or(Ok(()), |limiter| limiter.count_malformed(self.remote.ip(), &request));
            let problem = counted.err().unwrap_or(fault).of(self.server.unread.problem_types(), request.uri().path());
            let mut answer = problem.into_response();
            standard_headers(answer.headers_mut(), Caching::Private);
            if !is_shared && !request.body().is_end_stream() {
                // Where the body ends may be what is wrong.
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return Box::pin(async { Ok(underway.answer(answer)) });
        }
        request.extensions_mut().insert(ConnectInfo(self.remote));
        request.extensions_mut().insert(self.stopping.clone());
        let answer = Self::route(self.router.clone(), request.map(Body::new));
        Box::pin(async { Ok(underway.answer(answer.await)) })
    }
}

impl Underway {
    fn answer(self, mut answer: Response<Body>) -> Response<Answering> {
        // Every answer says so, which tells it from the HTTP library's own.
        answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if answer.extensions_mut().remove::<TakesOptions>().is_some() {
            message::name_options(answer.headers_mut());
        }
        if self.is_shared {
            self.watch.offer(self.number);
        }
        answer.map(|body| Answering { body, request: self, rest: Bytes::new() })
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if self.is_shared {
            self.watch.take(self.number);
        }
        self.watch.end();
    }
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Underway { watch, number, is_shared } = &self.request;
        if !*is_shared {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        // Whoever asks for more has taken what was there.
        watch.take(*number);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = self.rest.len().min(PIECE);
        let data = self.rest.split_to(piece);
        self.request.watch.offer(self.request.number);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked before the first frame.
        self.body.size_hint()
    }
}
