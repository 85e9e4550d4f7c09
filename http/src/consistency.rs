//! Reading one's own writes: a command's answer names the positions it wrote, and a query waits for them.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use balcony_event_log::Positions;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{FieldError, Params, Problem};

/// Carries a [`ConsistencyToken`] in both directions.
pub const TOKEN: HeaderName = HeaderName::from_static("consistency-token");
/// Says `stale` of an answer that did not wait for the token.
pub const CONSISTENCY: HeaderName = HeaderName::from_static("consistency");

/// Makes and reads the tokens of one installation. Cheap to clone.
///
/// A token is a version, the first bytes of a digest of the log's identity, the positions (in which topics are numbers:
/// their places in the declared list), and the first bytes of a keyed digest of it all (HMAC-SHA-256), in base64url. It
/// is not secret. Only who has the installation's secret can make one, so nobody can have queries wait for what was
/// never written.
///
/// How the positions are written depends on how many topics they are written for: two, or as many as are needed to
/// name the last of theirs. The digest of the identity tells the number. So a topic that is added to the end of the list
/// changes no token that clients hold, and programs of before go on reading the tokens that do not name it.
#[derive(Debug, Clone)]
pub struct Consistency {
    /// How tokens begin whose positions are written for the first two topics, three, and so on.
    installations: Arc<[[u8; 8]]>,
    topics: Arc<[Arc<str>]>,
    key: Hmac<Sha256>,
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

/// Tokens of version 1 had a digest without a key.
const VERSION: u8 = 2;
const CHECK: usize = 8;
/// How many tokens one request may have.
const TOKENS_MAX: usize = 8;
/// How many topics positions are written for at the least.
const FEWEST_TOPICS: usize = 2;

impl Consistency {
    /// The tokens of the installation whose log is called `identity` and has `topics`, made with `key`. Every program of
    /// the installation has the same key and declares the same topics in the same order; a new topic is added at the end.
    pub fn new(identity: &str, topics: Vec<Arc<str>>, key: &[u8; 32]) -> Self {
        let of = |count: usize| match count {
            FEWEST_TOPICS => prefix(identity.as_bytes()),
            more => prefix(format!("{identity}\0{more}").as_bytes()),
        };
        let installations = (FEWEST_TOPICS..=topics.len().max(FEWEST_TOPICS)).map(of).collect();
        let key = Hmac::new_from_slice(key).expect("a key may have any length");
        Self { installations, topics: topics.into(), key }
    }

    /// What a request's headers say that was seen: all that several tokens say, on lines of their own or in a list; without
    /// one nothing.
    ///
    /// # Errors
    /// 422 for a token that is malformed, of another installation, or of a topic that is not declared, and for more than
    /// eight.
    pub fn token(&self, headers: &HeaderMap) -> Result<ConsistencyToken, Problem> {
        let refused = |detail: &str| Problem::invalid(vec![FieldError::header("Consistency-Token", detail)]);
        let mut seen = ConsistencyToken::default();
        let tokens = headers.get_all(&TOKEN).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        for (before, text) in tokens.enumerate() {
            if before == TOKENS_MAX {
                return Err(refused(&format!(
                    "has more than {TOKENS_MAX} tokens; the last that was given covers those before"
                )));
            }
            let token = self.read(text.trim_ascii()).ok_or_else(|| {
                refused("is malformed or of another installation; send one that this installation gave, or none")
            })?;
            seen.0.merge(&token.0);
        }
        Ok(seen)
    }

    /// The header that carries `token`. What it says of a topic that is not declared is left out.
    pub fn header(&self, token: &ConsistencyToken) -> (HeaderName, HeaderValue) {
        (TOKEN, HeaderValue::try_from(self.text(token)).expect("base64url is visible ASCII"))
    }

    /// `token` as text. What it says of a topic that is not declared is left out.
    pub fn text(&self, token: &ConsistencyToken) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.encode(token))
    }

    /// Reads what [`Consistency::text`] wrote; `None` for a text that is malformed, of another installation, or of a
    /// topic that is not declared.
    pub fn read(&self, text: impl AsRef<[u8]>) -> Option<ConsistencyToken> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        self.decode(&bytes)
    }

    fn encode(&self, token: &ConsistencyToken) -> Vec<u8> {
        let mut positions = token.0.clone();
        positions.retain(|partition| self.topics.contains(&partition.topic));
        let number = |topic: &Arc<str>| self.topics.iter().position(|declared| declared == topic);
        let last = positions.into_iter().filter_map(|(partition, _)| number(&partition.topic)).max().unwrap_or(0);
        let more = (last + 1).saturating_sub(FEWEST_TOPICS);

        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.installations[more]);
        let positions = positions.to_bytes(self.first_topics(more));
        bytes.extend_from_slice(&positions.expect("the topics are declared, and a log counts from 0"));
        let check = self.keyed(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&check[..CHECK]);
        bytes
    }

    fn decode(&self, bytes: &[u8]) -> Option<ConsistencyToken> {
        let (body, check) = bytes.split_last_chunk::<CHECK>()?;
        let (head, positions) = body.split_first_chunk::<9>()?;
        if head[0] != VERSION || self.keyed(body).verify_truncated_left(check).is_err() {
            return None;
        }
        let more = self.installations.iter().position(|installation| head[1..] == *installation)?;
        Positions::from_bytes(positions, self.first_topics(more)).ok().map(ConsistencyToken)
    }

    fn keyed(&self, bytes: &[u8]) -> Hmac<Sha256> {
        self.key.clone().chain_update(bytes)
    }

    /// The topics that positions are written for: the first two and `more`.
    fn first_topics(&self, more: usize) -> &[Arc<str>] {
        &self.topics[..self.topics.len().min(FEWEST_TOPICS + more)]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use balcony_event_log::TopicPartition;

    use super::*;

    fn topics(count: usize) -> Vec<Arc<str>> {
        // The declared order is not the alphabet's.
        ["balcony.events", "balcony.views", "a", "z", "m"].into_iter().take(count).map(Into::into).collect()
    }

    fn consistency(identity: &str, topics: usize) -> Consistency {
        Consistency::new(identity, self::topics(topics), &[7; 32])
    }

    fn headers(value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TOKEN, HeaderValue::from_bytes(value).expect("a header"));
        headers
    }

    fn positions(topics: usize) -> impl Strategy<Value = Positions> {
        let one = (0..topics, 0..4_000_i32, 0..i64::MAX);
        let topics = self::topics(topics);
        proptest::collection::vec(one, 0..20).prop_map(move |all| {
            all.into_iter()
                .map(|(topic, partition, offset)| (TopicPartition::new(topics[topic].clone(), partition), offset))
                .collect()
        })
    }

    fn topics_and_positions() -> impl Strategy<Value = (usize, Positions)> {
        proptest::sample::select(vec![1, 2, 3, 5]).prop_flat_map(|count| (Just(count), positions(count)))
    }

    proptest! {
        #[test]
        fn topics_may_be_added_to_the_end((topics, positions) in topics_and_positions(), added in 1..4_usize) {
            let token = ConsistencyToken(positions);
            let (before, after) = (consistency("a", topics), consistency("a", (topics + added).min(5)));
            let (_, value) = before.header(&token);
            prop_assert_eq!(&after.header(&token).1, &value);
            prop_assert_eq!(after.token(&headers(value.as_bytes())).expect("a token"), token);
        }

        #[test]
        fn a_token_says_what_was_put_in((topics, positions) in topics_and_positions()) {
            let token = ConsistencyToken(positions);
            let (name, value) = consistency("a", topics).header(&token);
            prop_assert_eq!(name, TOKEN);
            prop_assert_eq!(consistency("a", topics).token(&headers(value.as_bytes())).expect("a token"), token);
            prop_assert!(consistency("b", topics).token(&headers(value.as_bytes())).is_err());
        }

        #[test]
        fn a_token_with_a_changed_character_is_refused(
            (topics, positions) in topics_and_positions(), at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_-]"
        ) {
            let (_, value) = consistency("a", topics).header(&ConsistencyToken(positions));
            let mut bytes = value.as_bytes().to_vec();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to.as_bytes()[0]);
            bytes[at] = to.as_bytes()[0];
            prop_assert!(consistency("a", topics).token(&headers(&bytes)).is_err());
        }

        #[test]
        fn no_header_makes_reading_panic(value in "[ -~]{0,40}") {
            let _ = consistency("a", 2).token(&headers(value.as_bytes()));
        }
    }

    #[test]
    fn several_tokens_say_together_what_each_of_them_says() {
        let consistency = consistency("a", 2);
        let token = |partition, offset| {
            let positions = [(TopicPartition::new("balcony.events", partition), offset)].into_iter().collect();
            consistency.text(&ConsistencyToken(positions))
        };
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TOKEN, line.parse().expect("a header"));
            }
            consistency.token(&headers).map_err(|problem| problem.status().as_u16())
        };
        let [one, other, later] = [token(0, 5), token(1, 7), token(0, 9)];
        let all =
            [(0, 9), (1, 7)].map(|(partition, offset)| (TopicPartition::new("balcony.events", partition), offset));
        let all = Ok(ConsistencyToken(all.into_iter().collect()));
        assert_eq!(read(&[&one, &other, &later]), all);
        assert_eq!(read(&[&later, &one, &other]), all);
        assert_eq!(read(&[&format!("{one}, {other} ,{later}")]), all);
        assert_eq!(read(&[&one, &format!("{other},{later}")]), all);
        for malformed in
            [&[&one[..], "x"][..], &["x", &one], &[&one, ""], &[&format!("{one},")], &[&format!("{one} {other}")]]
        {
            assert_eq!(read(malformed), Err(422), "{malformed:?}");
        }
        assert!(read(&[&one[..]; TOKENS_MAX]).is_ok());
        assert_eq!(read(&[&one[..]; TOKENS_MAX + 1]), Err(422));
        assert_eq!(read(&[&[&one[..]; TOKENS_MAX].join(","), &one]), Err(422));
    }

    #[test]
    fn no_token_is_the_empty_token() {
        assert_eq!(consistency("a", 2).token(&HeaderMap::new()).expect("none"), ConsistencyToken::default());
        assert!(consistency("a", 2).token(&headers(b"")).is_err());
    }

    #[test]
    fn a_token_of_two_topics_has_the_bytes_that_clients_hold() {
        let positions = [("balcony.events", 0, 1), ("balcony.events", 5, 300), ("balcony.views", 2, 0)];
        let positions = positions.map(|(topic, partition, offset)| (TopicPartition::new(topic, partition), offset));
        let token = ConsistencyToken(positions.into_iter().collect());
        let (_, value) = consistency("this installation", 2).header(&token);
        assert_eq!(value, "Alics8mpcDrdAAEKrAIFANc-6-hLuxbd");
    }

    #[test]
    fn nobody_makes_a_token_without_the_key() {
        let far = [(TopicPartition::new("balcony.events", 0), 1 << 62)].into_iter().collect();
        let stranger = Consistency::new("a", topics(2), &[8; 32]);
        let (_, forged) = stranger.header(&ConsistencyToken(far));
        assert!(consistency("a", 2).token(&headers(forged.as_bytes())).is_err());
        assert!(stranger.token(&headers(forged.as_bytes())).is_ok());
        // Version 1, whose digest anybody could make.
        assert!(consistency("this installation", 2).token(&headers(b"AVics8mpcDrdAAEKrAIFAI1Oqes")).is_err());
    }

    #[test]
    fn a_topic_that_is_not_declared_is_refused() {
        let at = |topic: &str| [(TopicPartition::new(topic, 1), 7)].into_iter().collect();
        let (_, of_views) = consistency("a", 2).header(&ConsistencyToken(at("balcony.views")));
        let refused = consistency("a", 1).token(&headers(of_views.as_bytes())).expect_err("refused");
        assert_eq!(refused.status().as_u16(), 422);
        let (_, of_m) = consistency("a", 5).header(&ConsistencyToken(at("m")));
        assert!(consistency("a", 4).token(&headers(of_m.as_bytes())).is_err());
        assert!(consistency("a", 2).token(&headers(of_m.as_bytes())).is_err());
        let (_, left_out) = consistency("a", 2).header(&ConsistencyToken(at("m")));
        let nothing = consistency("a", 2).token(&headers(left_out.as_bytes())).expect("a token");
        assert_eq!(nothing, ConsistencyToken::default());
    }
}
