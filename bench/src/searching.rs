//! The search index, filled and asked, against PostgreSQL's own full-text search on the same comments.

use std::time::{Duration, Instant};

use anyhow::ensure;
use balcony_event_log::Positions;
use balcony_search::{Comment, Index, Query};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::bench::Bench;
use crate::figures::{milliseconds, percentile};
use crate::report::{Line, Report, Section};

/// Comments between two commits, as Balcony commits under load.
const COMMIT: u32 = 40_000;
/// Queries of a kind.
const QUERIES: usize = 300;
const QUICK_QUERIES: usize = 50;
/// Hits on a page.
const PAGE: i64 = 20;
/// Words there are, and how many of them a comment has.
const WORDS: usize = 40_000;
const LENGTH: std::ops::Range<usize> = 15..70;
/// One comment in so many is Japanese.
const JAPANESE_ONE_IN: u32 = 10;
const NOUNS: [&str; 24] = [
    "映画", "監督", "俳優", "音楽", "物語", "東京", "京都", "家族", "友達", "戦争", "料理", "電車", "学校", "先生",
    "子供", "犯人", "刑事", "恋人", "結末", "脚本", "映像", "最後", "最初", "世界",
];
const VERBS: [&str; 8] =
    ["見ました", "泣きました", "笑いました", "好きです", "驚いた", "思い出した", "話した", "忘れられない"];

/// What is asked.
struct Asked {
    kind: &'static str,
    texts: Vec<String>,
}

pub(crate) async fn run(bench: Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let Bench { options, scratch, progress } = bench;
    let comments = options.searched();
    progress.step(format!("searching: indexing {comments} comments"));
    let directory = scratch.path("search");
    let started = Instant::now();
    let index = spawn_blocking(move || fill(&directory, comments)).await??;
    let indexed = started.elapsed();

    progress.step(format!("searching, PostgreSQL: {comments} comments"));
    let url = scratch.create_database("searching").await?;
    let mut connection = PgConnection::connect(&url).await?;
    let started = Instant::now();
    fill_postgres(&mut connection, comments).await?;
    let indexed_by_postgres = started.elapsed();

    let mut filling = Section::new(format!("indexing {comments} comments"), "comments/s");
    for (what, took) in [("balcony's index", indexed), ("PostgreSQL, COPY and a GIN index", indexed_by_postgres)] {
        let mut line = Line::new(what);
        line.figures.push(f64::from(comments) / took.as_secs_f64());
        filling.lines.push(line);
    }
    filling.compare(0, 1);
    report.add(filling);

    let mut section = Section::new(format!("searching {comments} comments, one at a time"), "p99 ms");
    let count = if options.quick { QUICK_QUERIES } else { QUERIES };
    for mut asked in asked(comments, count) {
        if asked.kind == JAPANESE {
            // Each takes PostgreSQL most of a second.
            asked.texts.truncate(QUICK_QUERIES);
        }
        progress.step(format!("searching: {}", asked.kind));
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for text in &asked.texts {
            let (index, text) = (index.clone(), text.clone());
            own.push(spawn_blocking(move || ask(&index, &text)).await??);
        }
        for text in &asked.texts {
            other.push(ask_postgres(&mut connection, text, asked.kind == JAPANESE).await?);
        }
        let place = section.lines.len();
        for (who, mut times) in [("balcony", own), ("PostgreSQL", other)] {
            times.sort_unstable();
            let mut line = Line::new(format!("{}, {who}", asked.kind));
            line.figures.push(milliseconds(percentile(&times, 0.99)));
            line.detail("p50 ms", milliseconds(percentile(&times, 0.5)));
            section.lines.push(line);
        }
        section.compare(place + 1, place);
    }
    report.add(section);
    Ok(())
}

const JAPANESE: &str = "a Japanese word";

fn fill(directory: &std::path::Path, comments: u32) -> anyhow::Result<Index> {
    let index = Index::create(directory)?;
    let mut writer = index.writer()?;
    for number in 0..comments {
        let body = body(number);
        writer.add(&Comment {
            id: id(number),
            movie: Uuid::from_u128(u128::from(number % 1_000)),
            author: Uuid::from_u128(u128::from(number % 10_000)),
            posted_at: 1_800_000_000_000 + i64::from(number),
            title: None,
            body: &body,
        })?;
        if number % COMMIT == COMMIT - 1 {
            writer.commit(&Positions::new())?;
        }
    }
    writer.commit(&Positions::new())?;
    Ok(index)
}

async fn fill_postgres(connection: &mut PgConnection, comments: u32) -> anyhow::Result<()> {
    let table = "CREATE TABLE comments (id UUID PRIMARY KEY, body TEXT NOT NULL, posted_at BIGINT NOT NULL,
        words TSVECTOR NOT NULL GENERATED ALWAYS AS (to_tsvector('english', body)) STORED)";
    sqlx::raw_sql(table).execute(&mut *connection).await?;
    let mut copy = connection.copy_in_raw("COPY comments (id, body, posted_at) FROM STDIN").await?;
    for first in (0..comments).step_by(10_000) {
        let lines: String = (first..comments.min(first + 10_000))
            .map(|number| format!("{}\t{}\t{number}\n", id(number), body(number)))
            .collect();
        copy.send(lines.as_bytes()).await?;
    }
    copy.finish().await?;
    sqlx::raw_sql("CREATE INDEX comments_words ON comments USING GIN (words); ANALYZE comments")
        .execute(connection)
        .await?;
    Ok(())
}

fn ask(index: &Index, text: &str) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let page = index.search(&Query::new(text))?;
    let took = started.elapsed();
    ensure!(page.is_complete && !page.hits.is_empty(), "{text:?} finds nothing, or not in time");
    Ok(took)
}

/// PostgreSQL has no words of languages without spaces: there it looks at every text.
async fn ask_postgres(connection: &mut PgConnection, text: &str, is_japanese: bool) -> anyhow::Result<Duration> {
    let sql = if is_japanese {
        "SELECT id FROM comments WHERE body LIKE '%' || $1 || '%' ORDER BY posted_at DESC LIMIT $2"
    } else {
        "SELECT id FROM comments, websearch_to_tsquery('english', $1) AS query
         WHERE words @@ query ORDER BY ts_rank(words, query) DESC LIMIT $2"
    };
    let started = Instant::now();
    let found: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(sql)).bind(text).bind(PAGE).fetch_all(connection).await?;
    let took = started.elapsed();
    ensure!(!found.is_empty(), "{text:?} finds nothing");
    Ok(took)
}

fn id(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number) << 64 | 7)
}

/// The text of a comment: words as often as words are (Zipf), or a Japanese sentence.
fn body(number: u32) -> String {
    let mut random = StdRng::seed_from_u64(number.into());
    if number.is_multiple_of(JAPANESE_ONE_IN) {
        let mut noun = || NOUNS[random.random_range(0..NOUNS.len())];
        let nouns = [noun(), noun(), noun(), noun()];
        let verb = VERBS[random.random_range(0..VERBS.len())];
        return format!("{}の{}は{}より{}が{verb}。", nouns[0], nouns[1], nouns[2], nouns[3]);
    }
    let length = random.random_range(LENGTH);
    let words: Vec<String> = (0..length).map(|_| word(rank(&mut random))).collect();
    words.join(" ")
}

/// Draws a word by how often words are: the tenth a tenth as often as the first.
fn rank(random: &mut StdRng) -> usize {
    let drawn: f64 = random.random_range(0.0..1.0);
    (WORDS as f64).powf(drawn) as usize
}

/// The word of a rank, made of syllables.
fn word(rank: usize) -> String {
    const CONSONANTS: &[u8] = b"bdfgklmnprtvz";
    const VOWELS: &[u8] = b"aeiou";
    let (mut rest, mut word) = (rank + 30, String::new());
    while rest > 0 {
        word.push(CONSONANTS[rest % CONSONANTS.len()].into());
        rest /= CONSONANTS.len();
        word.push(VOWELS[rest % VOWELS.len()].into());
        rest /= VOWELS.len();
    }
    word.push('x');
    word
}

/// What people look for: words that are neither everywhere nor nowhere, and what stands in some comment.
fn asked(comments: u32, count: usize) -> [Asked; 4] {
    let mut random = StdRng::seed_from_u64(1);
    let mut words = |of: usize, separator: &str| -> String {
        loop {
            let body = body(random.random_range(0..comments));
            let all: Vec<&str> = body.split(' ').collect();
            if all.len() > of {
                let first = random.random_range(0..all.len() - of);
                return all[first..first + of].join(separator);
            }
        }
    };
    let one = (0..count).map(|_| words(1, " ")).collect();
    let three = (0..count).map(|_| words(3, " ")).collect();
    let phrase = (0..count).map(|_| format!("\"{}\"", words(2, " "))).collect();
    let japanese = (0..count).map(|number| NOUNS[number % NOUNS.len()].to_owned()).collect();
    [
        Asked { kind: "one word", texts: one },
        Asked { kind: "three words", texts: three },
        Asked { kind: "a phrase", texts: phrase },
        Asked { kind: JAPANESE, texts: japanese },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_the_same_every_time_and_words_differ() {
        assert_eq!(body(7), body(7));
        assert!(body(10).contains('の'));
        assert_eq!((0..1_000).map(word).collect::<std::collections::BTreeSet<_>>().len(), 1_000);
    }
}
