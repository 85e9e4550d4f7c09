//! A client's socket, as the HTTP library sees it, with what the library leaves to be done: a client that takes too long
//! is given up, with an answer if it has begun a request; and what the library refuses by itself is answered with a
//! problem document.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::HALF_CLOSED;
use super::shared::Shared;
use super::watch::Watch;
use crate::Problem;

pub(super) struct Socket {
    stream: Option<TcpStream>,
    peer: IpAddr,
    server: Arc<Shared>,
    watch: Arc<Watch>,
    protocol: Protocol,
    /// The request that is being read, as far as it has come.
    head: Head,
    /// Whether a request was being answered when something was waited for last.
    was_busy: bool,
    /// Since when nothing is heard between requests.
    idle_since: Instant,
    /// Since when the client reads nothing.
    unread_since: Option<Instant>,
    /// When the client said that it sends no more.
    end: Option<Instant>,
    /// An answer of the socket's own that is on its way, the last one.
    answer: Vec<u8>,
    answered: usize,
    /// Whether the library is to be told that there is no more.
    is_over: bool,
    reading: Timer,
    writing: Timer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// So many bytes are as those that HTTP/2 begins with.
    Unknown(usize),
    Http1,
    Http2,
}

struct Head {
    /// When its first byte came, if it has.
    since: Option<Instant>,
    /// Its first line, as far as it has come and as much of it as is kept.
    line: Line,
    /// Whether its first line is complete.
    has_line: bool,
    /// How many requests had come before it.
    before: u64,
}

/// The beginning of a request's first line, and its end.
#[derive(Clone, Copy)]
struct Line {
    bytes: [u8; LINE_MAX],
    length: usize,
    /// The last bytes of what has come of it, in front of them zeros.
    end: [u8; END],
}

/// Wakes for the earliest of the times that it is asked about. Asking about a later one costs nothing.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

/// What HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How an answer begins that the library gives by itself, and how it ends.
const REFUSAL_START: &[u8] = b"HTTP/1.1 4";
const REFUSAL_END: &[u8] = b"\r\n\r\n";
/// The longest of these answers.
const REFUSAL_MAX: usize = 160;
/// As much of a request's first line as is kept, to say which path was refused.
const LINE_MAX: usize = 160;
/// How many bytes a version has at the end of a request's first line, with what stands around it.
const END: usize = b" HTTP/1.1\r".len();

impl Socket {
    pub(super) fn new(stream: TcpStream, peer: IpAddr, server: Arc<Shared>, watch: Arc<Watch>) -> Self {
        Self {
            stream: Some(stream),
            peer,
            server,
            watch,
            protocol: Protocol::Unknown(0),
            head: Head::after(0),
            was_busy: false,
            idle_since: Instant::now(),
            unread_since: None,
            end: None,
            answer: Vec::new(),
            answered: 0,
            is_over: false,
            reading: Timer::default(),
            writing: Timer::default(),
        }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("only dropping the socket takes its stream"))
    }

    /// Notes what the client sent.
    fn received(&mut self, bytes: &[u8]) {
        if let Protocol::Unknown(mut known) = self.protocol {
            let same = bytes.iter().zip(&PREFACE[known..]).take_while(|(a, b)| a == b).count();
            known += same;
            self.protocol = match known {
                _ if known == PREFACE.len() => Protocol::Http2,
                _ if same == bytes.len() => Protocol::Unknown(known),
                _ => Protocol::Http1,
            };
        }
        self.note_requests();
        if self.protocol == Protocol::Http2 {
            self.head.since = None;
            return;
        }
        if self.watch.is_busy() {
            return;
        }
        self.head.since.get_or_insert_with(Instant::now);
        if !self.head.has_line {
            self.head.line.extend(bytes);
            self.head.has_line = bytes.contains(&b'\n');
        }
    }

    /// Begins anew after a request that came whole.
    fn note_requests(&mut self) {
        let requests = self.watch.requests();
        if requests != self.head.before {
            self.head = Head::after(requests);
            self.idle_since = Instant::now();
        }
    }

    /// Nothing has come; whether something still may.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.is_busy() {
            return self.poll_busy(context);
        }
        self.note_requests();
        if std::mem::take(&mut self.was_busy) {
            self.idle_since = Instant::now();
        }
        if self.end.is_some() {
            return Poll::Ready(Ok(()));
        }
        let limits = &self.server.limits;
        let until = match self.head.since {
            Some(since) => since + limits.head,
            None if self.head.before == 0 => self.idle_since + limits.head,
            None => self.idle_since + limits.idle,
        };
        if !self.reading.is_over(context, until) {
            return Poll::Pending;
        }
        self.is_over = true;
        if self.head.since.is_some() {
            self.answer_with(Problem::too_slow());
        }
        self.poll_answer(context)
    }

    /// Nothing has come while a request is being answered.
    fn poll_busy(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.was_busy = true;
        match (self.end, self.protocol) {
            (None, Protocol::Http2) => self.poll_stalls(context),
            (Some(_), Protocol::Http2) => Poll::Ready(Ok(())),
            (None, _) => {
                // The library does not come back by itself after the answer.
                let limits = &self.server.limits;
                let _ = self.reading.is_over(context, Instant::now() + limits.head.min(limits.idle));
                Poll::Pending
            }
            (Some(end), _) => {
                self.watch.wake_at_end(context.waker());
                // An answer that came meanwhile woke nobody.
                let is_over = !self.watch.is_busy() || self.reading.is_over(context, end + HALF_CLOSED);
                if is_over { Poll::Ready(Ok(())) } else { Poll::Pending }
            }
        }
    }

    /// Gives up a client that takes nothing of an answer, while others of its answers may go on.
    fn poll_stalls(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let most = self.server.limits.unread;
        loop {
            let until = self.watch.stalled_since().unwrap_or_else(Instant::now) + most;
            if !self.reading.is_over(context, until) {
                return Poll::Pending;
            }
            if self.watch.stalled_since().is_some_and(|since| since.elapsed() >= most) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
    }

    fn answer_with(&mut self, problem: Problem) {
        let limiter = self.server.limiter.as_ref();
        let problem = limiter.and_then(|limiter| limiter.count_unread(self.peer).err()).unwrap_or(problem);
        self.answer = self.server.unread.answer(problem, self.head.line.path());
        self.answered = 0;
    }

    /// Sends what is left of the socket's own answer.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.answered < self.answer.len() {
            let answer = std::mem::take(&mut self.answer);
            let sent = self.poll_send(context, &answer[self.answered..]);
            self.answer = answer;
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.answered += sent,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.stream().poll_write(context, bytes) {
            Poll::Ready(sent) => {
                self.unread_since = None;
                Poll::Ready(sent)
            }
            Poll::Pending => {
                let until = *self.unread_since.get_or_insert_with(Instant::now) + self.server.limits.unread;
                if self.writing.is_over(context, until) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending
            }
        }
    }

    /// The refusal at the end of what the library sends, if it gave one by itself: where it begins, and what it is.
    fn refusal(&self, bytes: &[u8]) -> Option<(usize, Problem)> {
        if !bytes.ends_with(REFUSAL_END) || self.watch.is_busy() || self.protocol == Protocol::Http2 {
            return None;
        }
        let from = bytes.len().saturating_sub(REFUSAL_MAX);
        let start = bytes[from..].windows(REFUSAL_START.len()).rposition(|window| window == REFUSAL_START)?;
        let start = from + start;
        let status = refusal_status(std::str::from_utf8(&bytes[start..]).ok()?)?;
        let problem = match status {
            StatusCode::BAD_REQUEST if self.head.line.is_of_another_version() => Problem::version_unsupported(),
            StatusCode::BAD_REQUEST => {
                Problem::malformed("this is not HTTP: the request line or a header is not well-formed")
            }
            StatusCode::URI_TOO_LONG => Problem::uri_too_long(),
            // The library gives up where its buffer ends, whatever fills it.
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if !self.head.has_line => Problem::uri_too_long(),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Problem::head_too_large(),
            _ => return None,
        };
        Some((start, problem))
    }
}

impl Head {
    /// Nothing of a request has come; `before` it there were so many.
    fn after(before: u64) -> Self {
        Self { since: None, line: Line { bytes: [0; LINE_MAX], length: 0, end: [0; END] }, has_line: false, before }
    }
}

impl Line {
    fn extend(&mut self, bytes: &[u8]) {
        let room = &mut self.bytes[self.length..];
        let taken = room.len().min(bytes.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        for &byte in &line[line.len().saturating_sub(END)..] {
            self.end.rotate_left(1);
            self.end[END - 1] = byte;
        }
    }

    /// Whether it asks for something in a version of HTTP that is not spoken here, and nothing else about it is wrong as far as
    /// it is kept.
    fn is_of_another_version(&self) -> bool {
        let end = self.end.strip_suffix(b"\r").unwrap_or(&self.end[1..]);
        let [b' ', b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] = end else {
            return false;
        };
        let line = self.bytes[..self.length].split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let is_plain = line.iter().all(|byte| matches!(byte, 0x20..=0x7e));
        is_plain && !matches!((major, minor), (b'1', b'0' | b'1'))
    }

    /// The path that is asked for, or what is kept of it; the root where none can be read.
    fn path(&self) -> &str {
        let line = std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default();
        let target = line.split('\n').next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let path = target.split(|c: char| !c.is_ascii_graphic() || "?#\"<>\\^`{|}".contains(c)).next();
        path.filter(|path| path.starts_with('/')).unwrap_or("/")
    }
}

/// The status of an answer that has nothing but what the library says by itself. Answers to requests say more.
fn refusal_status(answer: &str) -> Option<StatusCode> {
    let mut lines = answer.strip_suffix("\r\n\r\n")?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let is_own = |line: &str| line == "connection: close" || line == "content-length: 0" || line.starts_with("date: ");
    lines.all(is_own).then_some(status)
}

impl Timer {
    /// Whether it is later than `until`. If not, the task is woken then, or before.
    fn is_over(&mut self, context: &mut Context<'_>, until: Instant) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= until {
                return true;
            }
            sleep.as_mut().reset(until);
        }
        false
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_over {
            return this.poll_answer(context);
        }
        if this.end.is_some() {
            return this.poll_patience(context);
        }
        let before = buffer.filled().len();
        match this.stream().poll_read(context, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                this.end = Some(Instant::now());
                this.poll_patience(context)
            }
            Poll::Ready(Ok(())) => {
                this.received(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                this.end = Some(Instant::now());
                Poll::Ready(Err(error))
            }
            Poll::Pending => this.poll_patience(context),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.answer.is_empty() {
            // Nothing comes after the last answer.
            return Poll::Ready(Ok(bytes.len()));
        }
        match this.refusal(bytes) {
            None => this.poll_send(context, bytes),
            Some((0, problem)) => {
                this.answer_with(problem);
                Poll::Ready(Ok(bytes.len()))
            }
            // First what stands before it.
            Some((start, _)) => this.poll_send(context, &bytes[..start]),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answer(context))?;
        this.stream().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answer(context))?;
        this.stream().poll_shutdown(context)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whoever has ended its side has nothing more to say and needs no time for it; whoever reads nothing gets none.
        if let Some(stream) = self.stream.take()
            && self.end.is_none()
            && self.unread_since.is_none()
        {
            self.watch.give_back(stream);
        }
    }
}
