use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use tantivy::query::{EnableScoring, Weight};
use tantivy::{DocId, DocSet, Score, TERMINATED};
use uuid::Uuid;

use crate::query::plan;
use crate::snapshot::Snapshot;
use crate::{Cursor, Error, Index, Query, Sort};

/// How far [`Page::total`] is counted.
pub const TOTAL_MAX: u64 = 10_000;

/// The most hits on a page.
const LIMIT_MAX: usize = 100;

/// Comments between two looks at the clock.
const CLOCK_STEP: u32 = 64;

/// A comment that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The comment.
    pub id: Uuid,
    /// How well it matches (BM25), by any order. Comparable within one search.
    pub score: f32,
}

/// A page of what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The hits, in order.
    pub hits: Vec<Hit>,
    /// How many comments match, on all pages; at most [`TOTAL_MAX`].
    pub total: u64,
    /// Whether no more than that match.
    pub total_is_exact: bool,
    /// Whether everything was searched. Otherwise the time was over before, or a prefix stands for too many words,
    /// and there may be better hits.
    pub is_complete: bool,
    /// Where the page ends, if there are more.
    pub next: Option<Cursor>,
}

/// Where a document stands in the order: the greater comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    key: i64,
    id: u128,
    segment: u32,
    document: DocId,
}

/// The best documents seen so far.
struct Best {
    heap: BinaryHeap<Reverse<Ranked>>,
    size: usize,
    after: Option<(i64, u128)>,
}

impl Index {
    /// Searches. It takes the calling thread, up to [`Query::time_limit`].
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Unavailable`]; never because of what was typed.
    pub fn search(&self, query: &Query) -> Result<Page, Error> {
        let deadline = Instant::now() + query.time_limit;
        let pinned = query.after.filter(|_| query.sort == Sort::Relevance);
        let snapshot = pinned.and_then(|after| self.snapshot(after.snapshot)).unwrap_or_else(|| self.current());
        let Some(plan) = plan(query, self.fields(), &snapshot.searcher, deadline)? else {
            return Ok(Page { hits: Vec::new(), total: 0, total_is_exact: true, is_complete: true, next: None });
        };
        let weight = plan.query.weight(EnableScoring::enabled_from_searcher(&snapshot.searcher))?;

        let limit = query.limit.min(LIMIT_MAX);
        let after = query.after.map(|after| (after.key, after.id.as_u128()));
        let mut best = Best { heap: BinaryHeap::with_capacity(limit + 2), size: limit + 1, after };
        let (total, in_time) = collect(&snapshot, &*weight, query.sort, deadline, &mut best)?;
        let ranked = best.into_sorted();
        let page = &ranked[..limit.min(ranked.len())];

        let hits = match query.sort {
            Sort::Relevance => page.iter().map(|ranked| ranked.hit(score_of(ranked.key))).collect(),
            Sort::Newest => scored(&snapshot, &*weight, page)?,
        };
        let next = page.last().filter(|_| ranked.len() > limit).map(|last| Cursor {
            key: last.key,
            id: Uuid::from_u128(last.id),
            snapshot: snapshot.id,
        });
        if next.is_some() && query.sort == Sort::Relevance {
            self.pin(&snapshot);
        }
        let is_complete = in_time && !plan.cut;
        let total_is_exact = is_complete && total <= TOTAL_MAX;
        Ok(Page { hits, total: total.min(TOTAL_MAX), total_is_exact, is_complete, next })
    }
}

/// Ranks what matches; returns how many do, and whether all of it was seen before the deadline.
fn collect(
    snapshot: &Arc<Snapshot>,
    weight: &dyn Weight,
    sort: Sort,
    deadline: Instant,
    best: &mut Best,
) -> Result<(u64, bool), Error> {
    let mut total = 0;
    let mut until_clock = 0;
    for (ordinal, (reader, segment)) in (0..).zip(snapshot.searcher.segment_readers().iter().zip(&snapshot.segments)) {
        if Instant::now() >= deadline {
            return Ok((total, false));
        }
        let alive = reader.alive_bitset();
        let mut scorer = weight.scorer(reader, 1.0)?;
        let mut document = scorer.doc();
        while document != TERMINATED {
            if until_clock == 0 {
                if Instant::now() >= deadline {
                    return Ok((total, false));
                }
                until_clock = CLOCK_STEP;
            }
            until_clock -= 1;
            if alive.is_none_or(|alive| alive.is_alive(document)) {
                total += 1;
                let key = match sort {
                    Sort::Relevance => key_of(scorer.score()),
                    Sort::Newest => segment.posted_at.get_val(document),
                };
                if best.may_take(key) {
                    best.offer(Ranked { key, id: segment.id(document), segment: ordinal, document });
                }
            }
            document = scorer.advance();
        }
    }
    Ok((total, true))
}

/// The hits of a page that was not ordered by score.
fn scored(snapshot: &Snapshot, weight: &dyn Weight, page: &[Ranked]) -> Result<Vec<Hit>, Error> {
    let mut hits: Vec<Hit> = page.iter().map(|ranked| ranked.hit(0.0)).collect();
    let mut order: Vec<usize> = (0..page.len()).collect();
    order.sort_unstable_by_key(|&place| (page[place].segment, page[place].document));
    for segment in order.chunk_by(|&a, &b| page[a].segment == page[b].segment) {
        let reader = snapshot.searcher.segment_reader(page[segment[0]].segment);
        let mut scorer = weight.scorer(reader, 1.0)?;
        for &place in segment {
            if scorer.doc() < page[place].document {
                scorer.seek(page[place].document);
            }
            hits[place].score = scorer.score();
        }
    }
    Ok(hits)
}

impl Ranked {
    fn hit(&self, score: Score) -> Hit {
        Hit { id: Uuid::from_u128(self.id), score }
    }
}

impl Best {
    fn may_take(&self, key: i64) -> bool {
        self.after.is_none_or(|(after, _)| key <= after)
            && (self.heap.len() < self.size || self.heap.peek().is_some_and(|Reverse(least)| key >= least.key))
    }

    fn offer(&mut self, ranked: Ranked) {
        if self.after.is_some_and(|after| (ranked.key, ranked.id) >= after) {
            return;
        }
        self.heap.push(Reverse(ranked));
        if self.heap.len() > self.size {
            self.heap.pop();
        }
    }

    fn into_sorted(self) -> Vec<Ranked> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked).collect()
    }
}

/// Scores are not negative, and then their bits are ordered as they are.
fn key_of(score: Score) -> i64 {
    i64::from(score.max(0.0).to_bits())
}

fn score_of(key: i64) -> Score {
    Score::from_bits(u32::try_from(key).unwrap_or(0))
}
