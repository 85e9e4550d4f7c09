//! The leanest HTTP/1.1 client that keeps its connection: requests come rendered, and of an answer only what the
//! measurements need is looked at.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection to a server, which is opened again where the server closes it after an answer.
pub(crate) struct Connection {
    address: String,
    stream: TcpStream,
    /// Whether the last answer was the last on this stream.
    ends: bool,
    /// Bytes of the last answer, and nothing after it: a request is sent only when the answer before is complete.
    buffer: Vec<u8>,
}

/// An answer, as long as the next request is not sent.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    head: &'a str,
    pub(crate) body: &'a [u8],
}

/// Where the parts of a complete answer are.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    status: u16,
    head: usize,
    body: usize,
}

/// An answer that is longer is none of Balcony's to a single command or query.
const LONGEST: usize = 1 << 20;

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = connect(address).await?;
        Ok(Self { address: address.to_owned(), stream, ends: false, buffer: Vec::with_capacity(4 << 10) })
    }

    /// Sends `request` and waits for the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        if self.ends {
            self.stream = connect(&self.address).await?;
        }
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
            if let Some(Shape { status, head, body }) = shape(&self.buffer)? {
                let head_text = std::str::from_utf8(&self.buffer[..head]).context("a head that is not UTF-8")?;
                self.ends = header(head_text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                return Ok(Answer { status, head: head_text, body: &self.buffer[head..head + body] });
            }
            ensure!(self.buffer.len() < LONGEST, "an answer without end");
        }
    }
}

impl Answer<'_> {
    /// The value of the header called `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }

    /// Fails unless the answer has this status.
    pub(crate) fn expect(&self, status: u16) -> anyhow::Result<&Self> {
        ensure!(self.status == status, "answered {}: {}", self.status, String::from_utf8_lossy(self.body));
        Ok(self)
    }

    /// A field of the JSON object in the body.
    pub(crate) fn field(&self, name: &str) -> anyhow::Result<String> {
        let body: serde_json::Value = serde_json::from_slice(self.body)?;
        Ok(body[name].as_str().with_context(|| format!("the answer has no {name}"))?.to_owned())
    }
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Renders a request. `headers` end with a line break each.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: balcony\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The header line that carries `token`.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The shape of the answer in `bytes`; `None` while it is incomplete.
fn shape(bytes: &[u8]) -> anyhow::Result<Option<Shape>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("a head that is not UTF-8")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let Some(status) = status.filter(|_| head.starts_with("HTTP/1.1 ")) else { bail!("no HTTP/1.1 answer: {head}") };
    let body = match header(head, "content-length") {
        Some(length) => length.parse().context("a Content-Length that is no number")?,
        None if matches!(status, 204 | 304) => 0,
        None => bail!("an answer without Content-Length: {head}"),
    };
    let head = end + 4;
    Ok((bytes.len() >= head + body).then_some(Shape { status, head, body }))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConsistency-Token: abc\r\n\r\n{}";

    #[test]
    fn an_answer_is_complete_with_its_last_byte_and_not_before() {
        for length in 0..CREATED.len() {
            assert_eq!(shape(&CREATED[..length]).expect("no error yet"), None, "{length}");
        }
        let complete = shape(CREATED).expect("an answer").expect("complete");
        assert_eq!(complete, Shape { status: 201, head: CREATED.len() - 2, body: 2 });
    }

    #[test]
    fn an_answer_without_a_body_needs_no_length() {
        let complete = shape(b"HTTP/1.1 204 No Content\r\n\r\n").expect("an answer").expect("complete");
        assert_eq!(complete, Shape { status: 204, head: 27, body: 0 });
    }

    #[test]
    fn what_is_no_answer_of_known_length_is_refused() {
        for bytes in
            [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"SSH-2.0\r\n\r\n"]
        {
            assert!(shape(bytes).is_err());
        }
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let head = std::str::from_utf8(CREATED).expect("UTF-8");
        assert_eq!(header(head, "consistency-token"), Some("abc"));
        assert_eq!(header(head, "location"), None);
    }
}
