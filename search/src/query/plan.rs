use std::collections::HashMap;
use std::ops::Bound;
use std::time::Instant;

use tantivy::query::{
    BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{Searcher, Term};

use super::{Characters, Need};
use crate::Error;
use crate::document::{DELETED, Fields};

/// What a match of the stem counts, beside 1 for the word.
const STEM: f32 = 0.4;
/// What characters that follow each other count, beside 1 for each word that a dictionary finds.
const CHARACTERS: f32 = 0.3;

/// Words a prefix stands for: of those that were looked at, the most frequent.
const PREFIX_WORDS: usize = 128;
/// Words of a segment that are looked at for a prefix.
const PREFIX_LOOKS: usize = 20_000;

/// What is searched.
pub(crate) struct Plan {
    pub(crate) query: Box<dyn Query>,
    /// Whether a prefix stands for more words than are searched.
    pub(crate) cut: bool,
}

/// Makes of `query` what tantivy runs; `None` finds nothing.
pub(crate) fn plan(
    query: &super::Query,
    fields: &Fields,
    searcher: &Searcher,
    deadline: Instant,
) -> Result<Option<Plan>, Error> {
    if query.is_empty() {
        return Ok(None);
    }
    let mut planner = Planner { fields, searcher, deadline, cut: false };
    let mut clauses = planner.filters(query);
    for need in &query.needs.wanted {
        clauses.push((Occur::Must, planner.wanted(need)?));
    }
    for needs in &query.needs.unwanted {
        let all = needs.iter().map(|need| planner.required(need)).collect::<Result<_, _>>()?;
        clauses.push((Occur::MustNot, Box::new(BooleanQuery::intersection(all))));
    }
    for need in &query.needs.preferred {
        clauses.push((Occur::Should, planner.required(need)?));
    }
    Ok(Some(Plan { query: Box::new(BooleanQuery::new(clauses)), cut: planner.cut }))
}

struct Planner<'a> {
    fields: &'a Fields,
    searcher: &'a Searcher,
    deadline: Instant,
    cut: bool,
}

impl Planner<'_> {
    fn filters(&self, query: &super::Query) -> Vec<(Occur, Box<dyn Query>)> {
        let by_id = |field, id: uuid::Uuid| exactly(Term::from_field_bytes(field, id.as_bytes()));
        let movie = query.movie.map(|movie| by_id(self.fields.movie, movie));
        let author = query.author.map(|author| by_id(self.fields.author, author));
        let at = |milliseconds| Term::from_field_i64(self.fields.posted_at, milliseconds);
        let since = query.since.map_or(Bound::Excluded(at(DELETED)), |since| Bound::Included(at(since)));
        let until = query.until.map_or(Bound::Unbounded, |until| Bound::Excluded(at(until)));
        let within = (query.since.is_some() || query.until.is_some())
            .then(|| Box::new(RangeQuery::new(since, until)) as Box<dyn Query>);
        let filters = [movie, author, within].into_iter().flatten();
        filters.map(|filter| (Occur::Must, Box::new(ConstScoreQuery::new(filter, 0.0)) as Box<dyn Query>)).collect()
    }

    /// What finds `need`, and what makes it count more.
    fn wanted(&mut self, need: &Need) -> Result<Box<dyn Query>, Error> {
        let (boost, better) = match need {
            Need::Word { word, stem: Some(_) } => (STEM, vec![word]),
            Need::Characters(characters) if !characters.grams.is_empty() => {
                (CHARACTERS, characters.words.iter().collect())
            }
            _ => return self.required(need),
        };
        let required: Box<dyn Query> = Box::new(BoostQuery::new(self.required(need)?, boost));
        let better = better.into_iter().map(|word| (Occur::Should, scored(self.fields.words, word)));
        Ok(Box::new(BooleanQuery::new(better.chain([(Occur::Must, required)]).collect())))
    }

    /// What finds `need`, no more.
    fn required(&mut self, need: &Need) -> Result<Box<dyn Query>, Error> {
        Ok(match need {
            Need::Word { stem: Some(stem), .. } => scored(self.fields.stems, stem),
            Need::Word { word, stem: None } => scored(self.fields.words, word),
            Need::Phrase(words) => phrase(self.fields.words, words.iter().map(String::as_str).enumerate()),
            Need::Prefix(prefix) => self.prefix(prefix)?,
            Need::Characters(characters) => self.characters(characters),
        })
    }

    fn characters(&self, characters: &Characters) -> Box<dyn Query> {
        if characters.grams.is_empty() {
            let words = characters.words.iter().map(|word| (Occur::Must, scored(self.fields.words, word)));
            return Box::new(BooleanQuery::new(words.collect()));
        }
        phrase(self.fields.grams, characters.grams.iter().map(|(place, gram)| (*place, gram.as_str())))
    }

    /// The most frequent words that begin with `prefix`.
    fn prefix(&mut self, prefix: &str) -> Result<Box<dyn Query>, Error> {
        let mut found: HashMap<Vec<u8>, u64> = HashMap::new();
        for segment in self.searcher.segment_readers() {
            if Instant::now() >= self.deadline {
                self.cut = true;
                break;
            }
            let words = segment.inverted_index(self.fields.words)?;
            let mut stream = words.terms().range().ge(prefix).into_stream()?;
            let mut looks = 0;
            while stream.advance() && stream.key().starts_with(prefix.as_bytes()) {
                looks += 1;
                if looks > PREFIX_LOOKS {
                    self.cut = true;
                    break;
                }
                let comments = u64::from(stream.value().doc_freq);
                match found.get_mut(stream.key()) {
                    Some(count) => *count += comments,
                    None => {
                        found.insert(stream.key().to_owned(), comments);
                    }
                }
            }
        }
        let mut found: Vec<(Vec<u8>, u64)> = found.into_iter().collect();
        if found.len() > PREFIX_WORDS {
            self.cut = true;
            found.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            found.truncate(PREFIX_WORDS);
        }
        let words = found.iter().filter_map(|(word, _)| std::str::from_utf8(word).ok());
        let words: Vec<Box<dyn Query>> =
            words.map(|word| exactly(Term::from_field_text(self.fields.words, word))).collect();
        if words.is_empty() {
            return Ok(Box::new(EmptyQuery));
        }
        Ok(Box::new(ConstScoreQuery::new(Box::new(BooleanQuery::union(words)), 1.0)))
    }
}

fn exactly(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn scored(field: Field, term: &str) -> Box<dyn Query> {
    Box::new(TermQuery::new(Term::from_field_text(field, term), IndexRecordOption::WithFreqs))
}

/// `terms` at their places.
fn phrase<'a>(field: Field, terms: impl Iterator<Item = (usize, &'a str)>) -> Box<dyn Query> {
    let terms: Vec<(usize, Term)> = terms.map(|(place, term)| (place, Term::from_field_text(field, term))).collect();
    match terms.as_slice() {
        [] => Box::new(EmptyQuery),
        [(_, term)] => Box::new(TermQuery::new(term.clone(), IndexRecordOption::WithFreqs)),
        _ => Box::new(PhraseQuery::new_with_offset(terms)),
    }
}
