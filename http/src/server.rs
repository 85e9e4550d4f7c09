//! Serves HTTP/1.1 and HTTP/2 (without TLS by prior knowledge, too) on a listener, within limits: of the time a client
//! may take to send a request or to read an answer, of the time a connection may be idle, and of how many there are.
//!
//! What the HTTP library refuses by itself, before there is a request, is a problem document like every other refusal
//! (`server/socket.rs`).

mod descriptors;
mod exchange;
mod limits;
pub(crate) mod phase;
mod shared;
mod socket;
mod unread;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch as latest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::Problem;
use crate::events::Stopping;
use crate::rate_limit::Limiter;
use exchange::Exchange;
pub use limits::Limits;
use phase::Phase;
use shared::Shared;
use socket::Socket;
use unread::Unread;
use watch::Watch;

/// Serves a program's services: all of them alike. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// How many clients the system lets wait until they are accepted.
const BACKLOG: u32 = 1_024;
/// How many of those for whom there is no room are told so at once; others wait for that.
const REFUSED_AT_ONCE: usize = 64;
/// How long one who is refused may take to say something, before the answer.
const REFUSED_PATIENCE: Duration = Duration::from_secs(2);
/// How long requests under way may go on once the service is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing is accepted after the system could not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What is read and thrown away of a client that goes on sending after its last answer, in bytes and in time, so that it
/// gets the answer and not a broken connection.
const DRAIN: usize = 8 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_SILENCE: Duration = Duration::from_secs(2);

/// The most bytes that the head of a request may have.
const HEAD_MAX: usize = 96 << 10;
/// The first byte of HTTP/2 (RFC 9113, section 3.4), and of some methods of HTTP/1.1.
const HTTP2_BEGINS: [u8; 1] = *b"P";
const HTTP2_STREAMS: u32 = 250;
/// The largest head that the HTTP library reads for a request of HTTP/2, as that counts (RFC 9113, section 6.5.2). Beyond it
/// the library answers by itself, 431 and nothing else; up to it the answer is as every other (`message::fault`).
const HTTP2_HEADERS_READ: u32 = 256 << 10;
/// How much of a body a client may send before it is read: more than the largest body that is read at all.
const HTTP2_WINDOW: u32 = 128 << 10;
/// How often the other end of a connection is asked whether it is there, and how long it may take to say so.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// Listens at `address`, with room for many clients that come at once.
///
/// # Errors
/// When the system does not let it, for example because another program listens there.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// A server within `limits`. The names of its metrics begin with `prefix` and `_`, the types of its problem documents
    /// with `problem_types`.
    pub fn new(prefix: &str, problem_types: &str, limits: Limits) -> Self {
        let mut http = Builder::new(TokioExecutor::new());
        // What takes long is seen by the socket, which can answer. In one piece, so that the socket sees whole answers.
        http.http1().header_read_timeout(None).max_buf_size(HEAD_MAX).writev(false);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING)
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(HTTP2_HEADERS_READ)
            .initial_stream_window_size(HTTP2_WINDOW);
        let http1 = http.clone().http1_only();
        Self(Arc::new(Shared { limits, unread: Unread::new(prefix, problem_types), limiter: None, http, http1 }))
    }

    /// The same, which has `limiter` count what is refused before it comes to a service.
    #[must_use]
    pub fn counted_by(self, limiter: Limiter) -> Self {
        let shared = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Shared { limiter: Some(limiter), ..shared }))
    }

    /// Serves `router` on `listener` until `stop` comes, then lets requests under way end.
    pub async fn serve(&self, listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
        let most = self.0.limits.connections.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        let (connections, refusals) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(REFUSED_AT_ONCE)));
        let (phase, phases) = latest::channel(Phase::Running);
        let mut stop = pin!(stop);
        loop {
            let (stream, remote) = tokio::select! {
                accepted = accept(&listener) => accepted,
                () = &mut stop => break,
            };
            if let Ok(room) = connections.clone().try_acquire_owned() {
                let connection = Connection { server: self.0.clone(), remote, phases: phases.clone() };
                tokio::spawn(connection.run(stream, router.clone(), room));
            } else {
                let room = tokio::select! {
                    room = refusals.clone().acquire_owned() => room.expect("the semaphore is never closed"),
                    () = &mut stop => break,
                };
                tokio::spawn(refuse(self.0.clone(), stream, room));
            }
        }

        drop(listener);
        phase.send_replace(Phase::Stopping);
        let all = u32::try_from(most).expect("bounded above");
        let _ = timeout(STOP_TIMEOUT, connections.acquire_many(all)).await;
        phase.send_replace(Phase::Ended);
    }
}

/// The next client.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Tells a client that there is no room, once it has said something: one that has not yet may take an answer for a fault.
async fn refuse(server: Arc<Shared>, mut stream: TcpStream, _room: OwnedSemaphorePermit) {
    let told = async {
        let _ = timeout(REFUSED_PATIENCE, stream.readable()).await;
        stream.write_all(&server.unread.answer(Problem::overloaded(), "/")).await
    };
    if let Ok(Ok(())) = timeout(server.limits.unread, told).await {
        let _ = timeout(REFUSED_PATIENCE, drain(&mut stream)).await;
    }
}

struct Connection {
    server: Arc<Shared>,
    remote: SocketAddr,
    phases: latest::Receiver<Phase>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, router: Router, _room: OwnedSemaphorePermit) {
        // An answer is written whole, so nothing is gained by waiting for more to send.
        let _ = stream.set_nodelay(true);
        // A host that vanished takes nothing: the system notices that by itself, for what it has to send.
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(self.server.limits.unread));

        let begun = async { timeout(self.server.limits.head, begins_http2(&stream)).await.ok()?.ok() };
        let may_be_http2 = tokio::select! {
            begun = begun => begun,
            _ = self.phases.wait_for(|phase| *phase != Phase::Running) => None,
        };
        // Whoever says nothing at all is not answered either.
        let Some(may_be_http2) = may_be_http2 else { return };
        let watch = Arc::new(Watch::default());
        let socket = Socket::new(stream, self.remote.ip(), self.server.clone(), watch.clone());
        let stopping = Stopping::told_by(self.phases.clone());
        let exchange = Exchange::new(router, self.remote, stopping, self.server.clone(), watch.clone());
        if self.converse(socket, exchange, may_be_http2).await == Phase::Ended {
            return;
        }
        if let Some(mut stream) = watch.take_back() {
            let _ = timeout(DRAIN_TIMEOUT, drain(&mut stream)).await;
        }
    }

    /// Answers requests until one side ends it.
    async fn converse(&mut self, socket: Socket, exchange: Exchange, may_be_http2: bool) -> Phase {
        let server = self.server.clone();
        let http = if may_be_http2 { &server.http } else { &server.http1 };
        let mut connection = pin!(http.serve_connection(TokioIo::new(socket), exchange));
        loop {
            let phase = *self.phases.borrow_and_update();
            match phase {
                Phase::Running => {}
                Phase::Stopping => connection.as_mut().graceful_shutdown(),
                Phase::Ended => return phase,
            }
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection ended early");
                    }
                    return phase;
                }
                changed = self.phases.changed() => if changed.is_err() { return Phase::Ended },
            }
        }
    }
}

/// Whether what a client sends may begin HTTP/2, once it has sent something. It is not taken.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(first[..read] == HTTP2_BEGINS)
}

/// Says that this was all, and reads what the client goes on sending, within limits.
async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scratch = vec![0; 16 << 10];
    let mut drained = 0;
    while drained < DRAIN {
        match timeout(DRAIN_SILENCE, stream.read(&mut scratch)).await {
            Ok(Ok(0)) | Err(_) => break,
            Ok(read) => drained += read?,
        }
    }
    Ok(())
}
