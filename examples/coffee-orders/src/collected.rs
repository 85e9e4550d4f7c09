//! How far each file was collected, told by what is in the log: where a collector that starts again goes on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use balcony_event_log::{Headers, Record};
use balcony_files::{Generation, Place};
use balcony_projector::{Decode, Projection, Received};
use balcony_store::{ReadModel, Reader, StoreError, Tx, Value};

/// `safe_offset`, `safe_line`: every line of the file before is in the log, as the newest record of this partition says.
/// `ahead`: lines from there on that are in this partition, too.
const TABLES: &str = "
CREATE TABLE files (
    source TEXT, topic TEXT, partition BIGINT, generation BIGINT,
    file TEXT NOT NULL, safe_offset BIGINT NOT NULL, safe_line BIGINT NOT NULL,
    PRIMARY KEY (source, topic, partition, generation)
);
CREATE TABLE ahead (
    source TEXT, topic TEXT, partition BIGINT, generation BIGINT, line_offset BIGINT,
    PRIMARY KEY (source, topic, partition, generation, line_offset)
);";

/// A line in the log: whose it is, where it stood, and the place before which every line of its file was in the log.
pub(crate) struct Line {
    pub(crate) source: String,
    pub(crate) place: Place,
    pub(crate) safe: Place,
}

/// Stamps on a record where its line stood: the headers by which [`Decode`] reads it.
pub(crate) fn stamp(headers: &mut Headers, place: &Place, safe: &Place) {
    let json = |place: &Place| serde_json::to_vec(place).expect("a place is plain JSON");
    headers.push("ce_line", place.line.to_string().as_bytes());
    headers.push("ce_place", &json(place));
    headers.push("ce_safe", &json(safe));
}

impl Decode for Line {
    /// The line itself may be anything.
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let header = |name: &str| record.headers.get(name).ok_or_else(|| format!("{name} is missing"));
        let place = |name: &str| serde_json::from_slice(header(name)?).map_err(|error| format!("{name}: {error}"));
        let source = String::from_utf8_lossy(header("ce_source")?).into_owned();
        Ok(Some(Self { source, place: place("ce_place")?, safe: place("ce_safe")? }))
    }
}

/// The projection.
pub(crate) struct Collected(ReadModel);

impl Collected {
    pub(crate) fn new(topics: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self(ReadModel::new("collected", 1, topics, TABLES))
    }
}

impl Projection for Collected {
    type Event = Line;

    fn read_model(&self) -> &ReadModel {
        &self.0
    }

    async fn apply(&self, lines: &[Received<Line>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut files: BTreeMap<_, &Line> = BTreeMap::new();
        for line in lines {
            let key = (&*line.source, &*line.partition.topic, line.partition.partition, line.place.file.number);
            let newest = files.entry(key).or_insert(&line.value);
            if line.safe.offset > newest.safe.offset {
                *newest = &line.value;
            }
        }
        let mut rows: Vec<[Value<'_>; 7]> = Vec::new();
        for (&(source, topic, partition, generation), line) in &files {
            let file = serde_json::to_string(&line.safe.file).expect("a file is plain JSON");
            let (offset, line) = (line.safe.offset.into(), line.safe.line.into());
            rows.push([source.into(), topic.into(), partition.into(), generation.into(), file.into(), offset, line]);
        }
        let advance =
            "INSERT INTO files (source, topic, partition, generation, file, safe_offset, safe_line) VALUES $rows
                       ON CONFLICT (source, topic, partition, generation) DO UPDATE SET
                           file = excluded.file, safe_offset = excluded.safe_offset, safe_line = excluded.safe_line
                       WHERE excluded.safe_offset > files.safe_offset";
        tx.execute_rows(advance, &rows).await?;

        let mut ahead: Vec<[Value<'_>; 5]> = Vec::new();
        for line in lines {
            let (topic, partition) = (&*line.partition.topic, line.partition.partition);
            let generation = line.place.file.number;
            if line.place.offset >= files[&(&*line.source, topic, partition, generation)].safe.offset {
                let (source, offset) = ((&*line.source).into(), line.place.offset.into());
                ahead.push([source, topic.into(), partition.into(), generation.into(), offset]);
            }
        }
        let columns = ["source", "topic", "partition", "generation", "line_offset"];
        tx.insert_new("ahead", &columns, columns, &ahead).await?;
        let passed = "DELETE FROM ahead WHERE source = $1 AND topic = $2 AND partition = $3 AND EXISTS (
                          SELECT 1 FROM files WHERE files.source = $1 AND files.topic = $2 AND files.partition = $3
                              AND (files.generation > ahead.generation
                                  OR (files.generation = ahead.generation AND files.safe_offset > ahead.line_offset)))";
        let mut partitions: Vec<_> =
            files.keys().map(|(source, topic, partition, _)| (source, topic, partition)).collect();
        partitions.dedup();
        for (source, topic, partition) in partitions {
            tx.execute(passed, &[(*source).into(), (*topic).into(), (*partition).into()]).await?;
        }
        Ok(())
    }
}

/// What is in the log of one source's files.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Standing {
    /// The files of which something is in the log.
    pub(crate) known: Vec<Generation>,
    /// Every line before is in the log.
    pub(crate) safe: Option<Place>,
    /// Where lines of the same file begin that are in the log, too.
    pub(crate) ahead: HashSet<i64>,
}

/// Where the files of `source` stand.
pub(crate) async fn standing(reader: &Reader, source: &str) -> anyhow::Result<Standing> {
    let sql = "SELECT file, safe_offset, safe_line FROM files WHERE source = $1
               ORDER BY generation DESC, safe_offset DESC";
    let rows: Vec<(String, i64, i64)> = reader.fetch(sql, &[source.into()]).await?;
    let mut standing = Standing::default();
    for (file, offset, line) in rows {
        let file: Generation = serde_json::from_str(&file)?;
        standing.safe.get_or_insert_with(|| Place { file: file.clone(), offset, line });
        standing.known.push(file);
    }
    if let Some(Place { file, offset, .. }) = &standing.safe {
        let sql = "SELECT line_offset FROM ahead WHERE source = $1 AND generation = $2 AND line_offset >= $3";
        let params = [source.into(), file.number.into(), (*offset).into()];
        let ahead: Vec<(i64,)> = reader.fetch(sql, &params).await?;
        standing.ahead = ahead.into_iter().map(|(offset,)| offset).collect();
    }
    Ok(standing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use balcony_event_log::Message;
    use balcony_projector::testkit::Scenario;

    use super::*;

    fn place(number: i64, line: i64) -> Place {
        let file = Generation { number, device: 1, inode: number.cast_unsigned(), head_bytes: 9, head: 7 };
        Place { file, offset: (line - 1) * 100, line }
    }

    /// Ten lines at a time; the last ten of the second file are not all there.
    fn messages() -> Vec<Message> {
        let lines = (1..=25).map(|line| (1, line)).chain((1..=27).map(|line| (2, line)));
        let there = lines.filter(|at| !matches!(at, (2, 22 | 24)));
        let message = |(number, line): (i64, i64)| {
            let safe = place(number, (line - 1) / 10 * 10 + 1);
            let mut headers = Headers::from_iter([("ce_source", "/here/orders")]);
            stamp(&mut headers, &place(number, line), &safe);
            Message { key: (line % 7).to_string().into_bytes(), headers, payload: b"anything".to_vec() }
        };
        there.map(message).collect()
    }

    #[tokio::test]
    async fn it_says_where_to_go_on_and_what_is_there_already() {
        let scenario = Scenario::of(|| Collected::new([Arc::from("orders")])).given(messages()).with_repetitions();
        for reader in scenario.every_schedule(20).await.readers().await {
            let standing = standing(&reader, "/here/orders").await.unwrap();
            assert_eq!(standing.safe, Some(place(2, 21)));
            assert_eq!(standing.ahead, HashSet::from([21, 23, 25, 26, 27].map(|line| place(2, line).offset)));
            let numbers: HashSet<i64> = standing.known.iter().map(|file| file.number).collect();
            assert_eq!(numbers, HashSet::from([1, 2]));
        }
    }
}
