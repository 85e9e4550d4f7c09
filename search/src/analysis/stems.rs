use std::borrow::Cow;
use std::collections::HashMap;

use frostem::{Algorithm, Stemmer};

/// Shorter words have no stem of their own.
const STEM_MIN: usize = 3;

/// Words whose stems are remembered; then it begins anew.
const REMEMBERED: usize = 8_192;

/// Finds the stems of English words.
///
/// They are a field of their own, beside the words: a stem is what a comment is found by, the word itself makes it
/// count more. A word of another language is only cut at its end now and then, the same way in comments and queries.
pub(crate) struct Stems {
    stemmer: Stemmer,
    /// Finding a stem takes ten times as long as remembering it, and most words are frequent ones.
    known: HashMap<Box<str>, Box<str>>,
}

impl Default for Stems {
    fn default() -> Self {
        Self { stemmer: Stemmer::new(Algorithm::English), known: HashMap::new() }
    }
}

impl Stems {
    /// The stem of `word`, if it is of plain Latin letters.
    pub(crate) fn of<'a>(&self, word: &'a str) -> Option<Cow<'a, str>> {
        has_stem(word).then(|| self.stemmer.stem(word))
    }

    /// As [`Stems::of`]; the stem is remembered.
    pub(crate) fn remembered(&mut self, word: &str) -> Option<&str> {
        if !has_stem(word) {
            return None;
        }
        if !self.known.contains_key(word) {
            let stem = self.stemmer.stem(word).into();
            self.remember(word, stem);
        }
        self.known.get(word).map(|stem| &**stem)
    }

    fn remember(&mut self, word: &str, stem: Box<str>) {
        if self.known.len() == REMEMBERED {
            self.known.clear();
        }
        self.known.insert(word.into(), stem);
    }

    /// Appends the stem of `word` to `stems`, if it has one, and a space.
    pub(super) fn append(&mut self, word: &str, stems: &mut String) {
        if !has_stem(word) {
            return;
        }
        if let Some(stem) = self.known.get(word) {
            stems.push_str(stem);
        } else {
            let stem = self.stemmer.stem(word);
            stems.push_str(&stem);
            self.remember(word, stem.into());
        }
        stems.push(' ');
    }
}

fn has_stem(word: &str) -> bool {
    word.len() >= STEM_MIN && word.bytes().all(|byte| byte.is_ascii_lowercase())
}
