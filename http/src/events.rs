//! Server-sent events (WHATWG HTML, "Server-sent events"): how they are written, what they are known by, and when a
//! stream of them ends.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use balcony_event_log::Positions;
use futures_util::StreamExt as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use utoipa::IntoParams;

use crate::describe::{Describe, Description};
use crate::server::phase::Phase;
use crate::{Consistency, ConsistencyToken};

/// An event without its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    name: &'static str,
    /// JSON, on one line.
    data: String,
}

/// Makes and reads the ids of events. Each says how far in the log its stream has come with it, so **an id means the same
/// on every node and survives restarts**. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventIds(Consistency);

/// What a stream shows whose events each replace the one before: a digest, the same on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown([u8; SHOWN_BYTES]);

/// The id of the last event that the client has of a stream, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEventId(pub Option<Vec<u8>>);

/// Tells that the server is to stop, so that what would go on for ever ends. Where there is no server, nothing does.
#[derive(Debug, Clone)]
pub(crate) struct Stopping(Option<watch::Receiver<Phase>>);

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header, which is read by name")]
struct LastEventIdHeader {
    /// The id of the last event that the client has of this stream, which then goes on after it. One that is too old, or
    /// of another installation, gives one `reset` event: load the list again.
    #[param(rename = "Last-Event-ID", nullable = false)]
    last_event_id: Option<String>,
}

const SHOWN_BYTES: usize = 8;
/// What stands in an id before what is shown, and in no positions.
const SHOWS: u8 = b'.';

/// How often a comment line is sent.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

impl Frame {
    /// An event called `name` whose data is `data` in JSON.
    ///
    /// # Panics
    /// When `data` cannot be JSON.
    pub fn new(name: &'static str, data: &impl Serialize) -> Self {
        Self { name, data: serde_json::to_string(data).expect("what is sent is JSON") }
    }

    /// Tells the client to load its list again: not everything that it has missed can be sent.
    pub fn reset() -> Self {
        Self { name: "reset", data: "{}".to_owned() }
    }

    /// The event as it is sent.
    pub fn with_id(&self, id: &str) -> String {
        let Self { name, data } = self;
        format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
    }
}

/// What keeps proxies awake: a comment, and after a quiet while how far the stream has come, which a client that
/// comes again then sends.
pub fn heartbeat(id: Option<&str>) -> String {
    match id {
        Some(id) => format!(":\nid: {id}\n\n"),
        None => ":\n\n".to_owned(),
    }
}

impl Shown {
    /// What the stream called `stream` shows with `frame`.
    pub fn of(stream: &str, frame: &Frame) -> Self {
        let digest = Sha256::new().chain_update(stream).chain_update([0]).chain_update(&frame.data).finalize();
        let mut shown = [0; SHOWN_BYTES];
        shown.copy_from_slice(&digest[..SHOWN_BYTES]);
        Self(shown)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 2 * SHOWN_BYTES)?;
        u64::from_str_radix(text, 16).ok().map(|shown| Self(shown.to_be_bytes()))
    }
}

impl EventIds {
    /// The ids of the installation whose tokens `consistency` makes.
    pub fn new(consistency: Consistency) -> Self {
        Self(consistency)
    }

    /// The id of an event with which its stream has come to `positions`.
    pub fn text(&self, positions: &Positions) -> String {
        self.0.text(&ConsistencyToken(positions.clone()))
    }

    /// The positions that `text` stands for, if it is an id of this installation.
    pub fn read(&self, text: &[u8]) -> Option<Positions> {
        self.0.read(text).map(|token| token.0)
    }

    /// The id of an event that shows everything as of `positions` anew. **Whoever has what is shown has missed nothing**, so a
    /// stream that goes on from it repeats nothing.
    pub fn text_of_shown(&self, positions: &Positions, shown: Shown) -> String {
        format!("{}{}{:016x}", self.text(positions), char::from(SHOWS), u64::from_be_bytes(shown.0))
    }

    /// The positions that `text` stands for, if it is an id of this installation, and what was shown with it, if it says so.
    pub fn read_shown(&self, text: &[u8]) -> Option<(Positions, Option<Shown>)> {
        let at = text.iter().position(|byte| *byte == SHOWS);
        let (positions, shown) = at.map_or((text, None), |at| (&text[..at], Shown::read(&text[at + 1..])));
        Some((self.read(positions)?, shown))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let value = parts.headers.get("last-event-id").filter(|value| !value.is_empty());
        Ok(Self(value.map(|value| value.as_bytes().to_vec())))
    }
}

impl Describe for LastEventId {
    fn describe(description: &mut Description<'_>) {
        description.takes::<LastEventIdHeader>();
    }
}

impl Stopping {
    /// Of a server that says so.
    pub(crate) fn told_by(server: watch::Receiver<Phase>) -> Self {
        Self(Some(server))
    }

    /// What the server that has this request says.
    pub(crate) fn of(parts: &Parts) -> Self {
        parts.extensions.get().cloned().unwrap_or(Self(None))
    }

    /// Comes when the server is to stop, or is gone.
    async fn told(self) {
        match self.0 {
            Some(mut server) => drop(server.wait_for(|phase| *phase != Phase::Running).await),
            None => std::future::pending().await,
        }
    }

    /// The same body, which ends then.
    pub(crate) fn ends(self, body: Body) -> Body {
        Body::from_stream(body.into_data_stream().take_until(Box::pin(self.told())))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_has_an_id_a_name_and_its_data_on_one_line() {
        assert_eq!(Frame::reset().with_id("AQ"), "id: AQ\nevent: reset\ndata: {}\n\n");
        let text = Frame::new("said", &json!({"body": "one\r\ntwo\u{2028}three"}));
        assert!(!text.data.contains(['\n', '\r']), "{text:?}");
    }

    #[test]
    fn an_id_names_what_is_shown_and_one_without_names_positions() {
        let ids = EventIds::new(Consistency::new("an installation", vec!["t".into()], &[7; 32]));
        let positions = [(balcony_event_log::TopicPartition::new("t", 1), 9)].into_iter().collect();
        let frame = |count: u32| Frame::new("counted", &json!({"count": count}));
        let shown = Shown::of("a", &frame(1));
        assert!(shown != Shown::of("a", &frame(2)) && shown != Shown::of("b", &frame(1)));
        let text = ids.text_of_shown(&positions, shown);
        assert_eq!(ids.read_shown(text.as_bytes()), Some((positions.clone(), Some(shown))));
        assert_eq!(ids.read_shown(ids.text(&positions).as_bytes()), Some((positions.clone(), None)));
        for wrong in [&text[1..], "x", ".0000000000000000", ""] {
            assert_eq!(ids.read_shown(wrong.as_bytes()), None, "{wrong}");
        }
        let cut = &text[..text.len() - 1];
        assert_eq!(ids.read_shown(cut.as_bytes()), Some((positions, None)));
    }

    #[test]
    fn a_heartbeat_is_a_comment_and_no_event() {
        assert_eq!(heartbeat(None), ":\n\n");
        assert_eq!(heartbeat(Some("AQ")), ":\nid: AQ\n\n");
    }

    #[tokio::test]
    async fn a_stream_ends_when_its_server_is_to_stop() {
        let (server, told) = watch::channel(Phase::Running);
        let endless = || {
            let first = futures_util::stream::iter([Ok::<_, Infallible>("first")]);
            Body::from_stream(first.chain(futures_util::stream::pending()))
        };
        let ended = tokio::spawn(to_bytes(Stopping::told_by(told.clone()).ends(endless()), 100));
        server.send_replace(Phase::Stopping);
        ended.await.expect("no panic").expect("a body");
        let body = to_bytes(Stopping::told_by(told).ends(endless()), 100).await;
        assert!(body.is_ok(), "one that begins late ends at once");
    }
}
