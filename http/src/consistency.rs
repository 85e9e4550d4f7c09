//! Reading one's own writes: a command's answer names the positions it wrote, and a query waits for them.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use balcony_domain::Topics;
use balcony_event_log::{Positions, TopicPartition};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::{Params, Problem};

/// Carries a [`ConsistencyToken`] in both directions.
pub const TOKEN: HeaderName = HeaderName::from_static("consistency-token");
/// Says `stale` of an answer that did not wait for the token.
pub const CONSISTENCY: HeaderName = HeaderName::from_static("consistency");

/// Makes and reads the tokens of one installation. Cheap to clone.
///
/// A token is a version, the first bytes of a digest of the log's identity, the positions as variable-length
/// integers, and the first bytes of a digest of it all, in base64url. It is not secret and proves nothing: the
/// checks only tell a broken token, or one of another installation, from a good one.
#[derive(Debug, Clone)]
pub struct Consistency {
    installation: [u8; 8],
    topics: Topics,
}

/// The positions that a client has seen written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsistencyToken(pub Positions);

/// How a query treats the client's token.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long it waits.
    pub wait: Duration,
    /// Whether it then answers with older data.
    pub stale: bool,
}

const VERSION: u8 = 1;
const CHECK: usize = 4;
/// More partitions than any topic has; a bound on what a client can make us hold.
const MOST_PARTITIONS: usize = 4_096;

impl Consistency {
    /// The tokens of the installation whose log is called `identity`.
    pub fn new(identity: &str, topics: Topics) -> Self {
        Self { installation: prefix(identity.as_bytes()), topics }
    }

    /// The token in a request's headers; without one nothing has been seen.
    ///
    /// # Errors
    /// 422 for a token that is malformed or of another installation.
    pub fn token(&self, headers: &HeaderMap) -> Result<ConsistencyToken, Problem> {
        let Some(value) = headers.get(&TOKEN) else { return Ok(ConsistencyToken::default()) };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(value.as_bytes()).ok();
        let token = bytes.and_then(|bytes| self.decode(&bytes));
        token.ok_or_else(|| {
            Problem::broken_rule(
                "Consistency-Token is malformed or of another installation; send one that this installation gave, \
                 or none",
            )
        })
    }

    /// The header that carries `token`.
    pub fn header(&self, token: &ConsistencyToken) -> (HeaderName, HeaderValue) {
        let text = BASE64_URL_SAFE_NO_PAD.encode(self.encode(token));
        (TOKEN, HeaderValue::try_from(text).expect("base64url is visible ASCII"))
    }

    fn encode(&self, token: &ConsistencyToken) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.installation);
        for (partition, next_offset) in &token.0 {
            let topic = u64::from(partition.topic != self.topics.facts);
            write(&mut bytes, u64::from(partition.partition.unsigned_abs()) << 1 | topic);
            write(&mut bytes, next_offset.unsigned_abs());
        }
        let check: [u8; CHECK] = prefix(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    fn decode(&self, bytes: &[u8]) -> Option<ConsistencyToken> {
        let (body, check) = bytes.split_last_chunk::<CHECK>()?;
        let (head, mut rest) = body.split_first_chunk::<9>()?;
        if *check != prefix(body) || head[0] != VERSION || head[1..] != self.installation {
            return None;
        }
        let mut positions = Positions::new();
        while !rest.is_empty() {
            let partition = read(&mut rest)?;
            let topic = if partition & 1 == 0 { &self.topics.facts } else { &self.topics.views };
            let partition = TopicPartition::new(topic.clone(), i32::try_from(partition >> 1).ok()?);
            positions.set(partition, i64::try_from(read(&mut rest)?).ok()?);
            if positions.len() > MOST_PARTITIONS {
                return None;
            }
        }
        Some(ConsistencyToken(positions))
    }
}

impl ConsistencyToken {
    /// What the token says of `topic` alone.
    pub fn of_topic(&self, topic: &str) -> Positions {
        let mut positions = self.0.clone();
        positions.retain(|partition| &*partition.topic == topic);
        positions
    }
}

impl Patience {
    /// Takes `wait` (2 s when absent, 10 s at the most) and `stale=allow`, which by itself waits for nothing.
    pub fn take(params: &mut Params) -> Self {
        let wait = params.duration("wait", Duration::from_secs(10));
        let stale = params.text("stale");
        if stale.as_deref().is_some_and(|stale| stale != "allow") {
            params.refuse("stale", "is not allow");
        }
        let stale = stale.is_some();
        let default = if stale { Duration::ZERO } else { Duration::from_secs(2) };
        Self { wait: wait.unwrap_or(default), stale }
    }
}

/// The first `N` bytes of the digest of `bytes`.
fn prefix<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|index| digest[index])
}

/// Seven bits to a byte, the lowest first; the top bit says that more follow (LEB128).
fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn consistency(identity: &str) -> Consistency {
        Consistency::new(identity, Topics::with_prefix("balcony."))
    }

    fn headers(value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TOKEN, HeaderValue::from_bytes(value).expect("a header"));
        headers
    }

    fn positions() -> impl Strategy<Value = Positions> {
        let topics = Topics::with_prefix("balcony.");
        let one = (any::<bool>(), 0..4_000_i32, 0..i64::MAX);
        proptest::collection::vec(one, 0..20).prop_map(move |all| {
            let partition = |fact, partition| {
                TopicPartition::new(if fact { topics.facts.clone() } else { topics.views.clone() }, partition)
            };
            all.into_iter().map(|(fact, number, offset)| (partition(fact, number), offset)).collect()
        })
    }

    proptest! {
        #[test]
        fn a_token_says_what_was_put_in(positions in positions()) {
            let token = ConsistencyToken(positions);
            let (name, value) = consistency("a").header(&token);
            prop_assert_eq!(name, TOKEN);
            prop_assert_eq!(consistency("a").token(&headers(value.as_bytes())).expect("a token"), token);
            prop_assert!(consistency("b").token(&headers(value.as_bytes())).is_err());
        }

        #[test]
        fn a_token_with_a_changed_character_is_refused(positions in positions(), at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_-]") {
            let (_, value) = consistency("a").header(&ConsistencyToken(positions));
            let mut bytes = value.as_bytes().to_vec();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to.as_bytes()[0]);
            bytes[at] = to.as_bytes()[0];
            prop_assert!(consistency("a").token(&headers(&bytes)).is_err());
        }

        #[test]
        fn no_header_makes_reading_panic(value in "[ -~]{0,40}") {
            let _ = consistency("a").token(&headers(value.as_bytes()));
        }
    }

    #[test]
    fn no_token_is_the_empty_token() {
        assert_eq!(consistency("a").token(&HeaderMap::new()).expect("none"), ConsistencyToken::default());
        assert!(consistency("a").token(&headers(b"")).is_err());
    }
}
