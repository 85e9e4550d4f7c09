use crate::{Position, TopicPartition};

/// Named byte strings beside a payload, in order. Names may repeat; the first counts.
///
/// Names and values stand in one buffer, so that a record read from the log costs two allocations for its headers
/// and not two for each.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    buffer: Vec<u8>,
    /// For each header where its name ends and where its value ends in `buffer`.
    ends: Vec<(u32, u32)>,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.buffer.extend_from_slice(name.as_bytes());
        let name_end = self.buffer.len();
        self.buffer.extend_from_slice(value);
        self.ends.push((offset(name_end), offset(self.buffer.len())));
    }

    /// The value of the first header called `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs().find(|(candidate, _)| *candidate == name.as_bytes()).map(|(_, value)| value)
    }

    /// Every header in order. A name that is not UTF-8 cannot come in: see [`Headers::push`].
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs().map(|(name, value)| (std::str::from_utf8(name).expect("names are pushed as str"), value))
    }

    /// Every name and value in order.
    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(name_end, value_end)| {
            let name = &self.buffer[start..name_end as usize];
            let value = &self.buffer[name_end as usize..value_end as usize];
            start = value_end as usize;
            (name, value)
        })
    }

    /// All headers as one byte string: their number, the ends of each, the names and values; numbers are 32 bits,
    /// little-endian.
    #[cfg(feature = "sqlite")]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.ends.len() * 8 + self.buffer.len());
        bytes.extend_from_slice(&offset(self.ends.len()).to_le_bytes());
        for (name_end, value_end) in &self.ends {
            bytes.extend_from_slice(&name_end.to_le_bytes());
            bytes.extend_from_slice(&value_end.to_le_bytes());
        }
        bytes.extend_from_slice(&self.buffer);
        bytes
    }

    /// Reads what [`Headers::encode`] wrote; `None` when `bytes` are something else.
    #[cfg(feature = "sqlite")]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (ends, buffer) = rest.split_at_checked(count.checked_mul(8)?)?;
        let ends: Vec<(u32, u32)> = ends
            .as_chunks::<8>()
            .0
            .iter()
            .map(|&[n0, n1, n2, n3, v0, v1, v2, v3]| {
                (u32::from_le_bytes([n0, n1, n2, n3]), u32::from_le_bytes([v0, v1, v2, v3]))
            })
            .collect();
        let mut start = 0;
        for &(name_end, value_end) in &ends {
            std::str::from_utf8(buffer.get(start..name_end as usize)?).ok()?;
            buffer.get(name_end as usize..value_end as usize)?;
            start = value_end as usize;
        }
        (start == buffer.len()).then(|| Self { buffer: buffer.to_vec(), ends })
    }

    /// The number of headers.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Headers from pairs of name and value, in order.
impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        pairs.into_iter().for_each(|(name, value)| headers.push(name.as_ref(), value.as_ref()));
        headers
    }
}

fn offset(length: usize) -> u32 {
    u32::try_from(length).expect("the headers of one record are far below 4 GiB")
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)))).finish()
    }
}

/// A record to append.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Records of one key keep their order. An empty key is none: the record goes where its `ce_id` says (an event's id in
    /// CloudEvents), so that one which is appended again comes to the partition of the first; without one, anywhere.
    pub key: Vec<u8>,
    /// What stands beside the payload.
    pub headers: Headers,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl Message {
    /// What its partition is chosen by; empty where any does.
    #[cfg(any(feature = "kafka", feature = "testing"))]
    pub(crate) fn route(&self) -> &[u8] {
        if self.key.is_empty() { self.headers.get("ce_id").unwrap_or_default() } else { &self.key }
    }
}

/// A record as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition that holds it.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// When it was appended, in milliseconds since 1970: by the clock of whoever appended it, or the broker's where a
    /// topic says so. 0 when the log does not know.
    pub timestamp: i64,
    /// Its key, empty when it has none.
    pub key: Vec<u8>,
    /// What stands beside the payload.
    pub headers: Headers,
    /// The bytes; a record without a value (a tombstone) reads as empty.
    pub payload: Vec<u8>,
}

impl Record {
    /// Where the record stands.
    pub fn position(&self) -> Position {
        Position { partition: self.partition.clone(), offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_and_the_first_of_a_name_counts() {
        let mut headers = Headers::new();
        headers.push("a", b"1");
        headers.push("b", b"");
        headers.push("a", b"2");
        assert_eq!(Headers::from_iter([("a", "1"), ("b", ""), ("a", "2")]), headers);
        assert_eq!(headers.get("a"), Some(&b"1"[..]));
        assert_eq!(headers.get("b"), Some(&b""[..]));
        assert_eq!(headers.get("c"), None);
        assert_eq!(headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "a"]);
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn headers_survive_encoding_and_nothing_else_decodes() {
        let mut headers = Headers::new();
        headers.push("ce_type", b"something.happened.v1");
        headers.push("", b"\xff");
        let bytes = headers.encode();
        assert_eq!(Headers::decode(&bytes), Some(headers));
        assert_eq!(Headers::decode(&Headers::new().encode()), Some(Headers::new()));
        for length in 0..bytes.len() {
            assert_eq!(Headers::decode(&bytes[..length]), None);
        }
        assert_eq!(Headers::decode(&[&bytes[..], b"more"].concat()), None);
    }
}
