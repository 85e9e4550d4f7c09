//! How a text is cut into what can be searched. Comments and queries are cut by the same code.
//!
//! A **word** is a longest sequence of letters, marks and digits of a script that puts spaces between words, or an
//! emoji or other symbol. So `foo_bar()` and `www.example.com` are two and three words. A **run** is a longest
//! sequence of characters of the scripts that do not ([`characters::is_unspaced`]), with the words that ICU4X's
//! dictionaries find in it. Hangul is cut into runs as well: its spaces stand between phrases (영화를, "the film" as an
//! object), and the word alone (영화) has to be found.
//!
//! Everything is brought to one form: without what cannot be seen and in NFKC, which also folds width ([`normal`]); then
//! case, accents and some letters ([`fold`]).

mod characters;
mod fold;
mod indexed;
mod normal;
mod run;
mod stems;

use std::ops::Range;

use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};

pub(crate) use characters::stands_alone;
use characters::{Kind, Symbols};
use fold::Folder;
pub(crate) use indexed::{Indexed, SplitTokenizer, gram};
use normal::{Form, Normalizer};
use run::Building;
pub(crate) use run::{Parts, Run};
pub(crate) use stems::Stems;

/// A word is compared by so many bytes; what is longer is no word anybody types.
const WORD_BYTES: usize = 128;

/// Cuts texts. It keeps its buffers, so one is used for many texts.
pub(crate) struct Analyzer {
    words: WordSegmenterBorrowed<'static>,
    normalizer: Normalizer,
    folder: Folder,
    symbols: Symbols,
    word: Word,
    run: Building,
}

/// A word that is being put together.
#[derive(Default)]
struct Word {
    folded: String,
    at: Range<usize>,
}

/// Where the characters of a span come from.
#[derive(Clone, Copy)]
enum Origins<'a> {
    /// The span is as it stands in the text, from this offset on.
    Same(usize),
    /// It is of another form.
    Mapped(&'a Form),
}

impl Default for Analyzer {
    fn default() -> Self {
        Self::new()
    }
}

impl Analyzer {
    /// With the compiled data of ICU4X. Dictionaries are taken for every script that has one: the models for Thai
    /// and its neighbours that ICU4X also has are slower by far.
    pub(crate) fn new() -> Self {
        Self {
            words: WordSegmenter::new_dictionary(WordBreakInvariantOptions::default()),
            normalizer: Normalizer::new(),
            folder: Folder::new(),
            symbols: Symbols::new(),
            word: Word::default(),
            run: Building::default(),
        }
    }

    /// Cuts `text` and hands its parts to `parts`.
    pub(crate) fn cut(&mut self, text: &str, parts: &mut impl Parts) {
        let bytes = text.as_bytes();
        let (mut at, mut start, mut ascii) = (0, 0, true);
        while at < bytes.len() {
            let (separates, length) = if bytes[at].is_ascii() {
                (is_separator(char::from(bytes[at])), 1)
            } else {
                let character = text[at..].chars().next().expect("a character begins here");
                let separates = is_separator(character);
                ascii &= separates;
                (separates, character.len_utf8())
            };
            if separates {
                self.span(text, start..at, ascii, parts);
                (start, ascii) = (at + length, true);
            }
            at += length;
        }
        self.span(text, start..at, ascii, parts);
    }

    /// Cuts what stands between two separators. ASCII needs no tables: it is one word.
    fn span(&mut self, text: &str, at: Range<usize>, ascii: bool, parts: &mut impl Parts) {
        let span = &text[at.clone()];
        if span.is_empty() {
            return;
        }
        if ascii {
            self.word.folded.clear();
            self.word.folded.push_str(span);
            self.word.folded.make_ascii_lowercase();
            self.word.at = at;
            return self.word.finish(parts);
        }
        match self.normalizer.normalize(span, at.start) {
            None => self.segments(span, 0..span.len(), Origins::Same(at.start), parts),
            Some(form) => {
                // Some marks that stand by themselves become a space and a mark.
                let mut start = 0;
                for (end, character) in form.text.char_indices().filter(|(_, character)| is_separator(*character)) {
                    self.segments(&form.text, start..end, Origins::Mapped(&form), parts);
                    start = end + character.len_utf8();
                }
                self.segments(&form.text, start..form.text.len(), Origins::Mapped(&form), parts);
                self.normalizer.reuse(form);
            }
        }
    }

    /// Cuts the piece `at` of a span, in which nothing separates.
    fn segments(&mut self, span: &str, at: Range<usize>, origins: Origins<'_>, parts: &mut impl Parts) {
        let mut start = at.start;
        for (end, kind) in self.words.segment_str(&span[at.clone()]).iter_with_word_type() {
            let segment = start..at.start + end;
            start = segment.end;
            if segment.is_empty() {
                continue;
            }
            // The segmenter does not take every letter with marks for a word, depending on what follows.
            let has_letters = || span[segment.clone()].chars().any(char::is_alphanumeric);
            if kind.is_word_like() || has_letters() || span[segment.clone()].chars().any(characters::is_unspaced) {
                self.segment(span, segment, origins, parts);
            } else {
                self.run.finish(&self.symbols, parts);
                self.symbol(span, segment, origins, parts);
            }
        }
        self.run.finish(&self.symbols, parts);
    }

    /// Cuts one segment further: where a script that puts spaces meets one that does not, and at the punctuation
    /// that Unicode lets stand inside words.
    fn segment(&mut self, span: &str, segment: Range<usize>, origins: Origins<'_>, parts: &mut impl Parts) {
        for (offset, character) in span[segment.clone()].char_indices() {
            let offset = segment.start + offset;
            let at = origins.of(offset..offset + character.len_utf8());
            match characters::kind(character) {
                Kind::Unspaced => {
                    self.word.finish(parts);
                    self.run.push(character, at);
                }
                Kind::Spaced => {
                    self.run.finish(&self.symbols, parts);
                    self.word.push(&self.folder, character, at);
                }
                Kind::Mark if self.run.is_open() => self.run.reach(at.end),
                Kind::Mark => self.word.push(&self.folder, character, at),
                Kind::Other => {
                    self.run.finish(&self.symbols, parts);
                    self.word.finish(parts);
                }
            }
        }
        self.word.finish(parts);
        self.run.end_word();
    }

    /// Emoji and their like. What a zero-width joiner holds together is several words without it, so that each is found.
    fn symbol(&mut self, span: &str, segment: Range<usize>, origins: Origins<'_>, parts: &mut impl Parts) {
        for (offset, character) in span[segment.clone()].char_indices() {
            let offset = segment.start + offset;
            let at = origins.of(offset..offset + character.len_utf8());
            if self.symbols.is_symbol(character) {
                self.word.push_as_is(character, at);
            } else if !self.word.folded.is_empty() {
                self.word.at.end = at.end;
            }
        }
        self.word.finish(parts);
    }
}

/// Whether a character ends whatever stands before it.
fn is_separator(character: char) -> bool {
    if character.is_ascii() { !character.is_ascii_alphanumeric() } else { characters::separates(character) }
}

impl Word {
    fn push(&mut self, folder: &Folder, character: char, at: Range<usize>) {
        self.reach(at);
        folder.fold(character, &mut self.folded);
    }

    fn push_as_is(&mut self, character: char, at: Range<usize>) {
        self.reach(at);
        self.folded.push(character);
    }

    fn reach(&mut self, at: Range<usize>) {
        if self.folded.is_empty() {
            self.at.start = at.start;
        }
        self.at.end = at.end;
    }

    fn finish(&mut self, parts: &mut impl Parts) {
        if self.folded.is_empty() {
            return;
        }
        self.folded.truncate(self.folded.floor_char_boundary(WORD_BYTES));
        parts.word(&self.folded, self.at.clone());
        self.folded.clear();
    }
}

impl Origins<'_> {
    /// The bytes of the text that the bytes `at` of the span stand for.
    fn of(self, at: Range<usize>) -> Range<usize> {
        match self {
            Self::Same(offset) => offset + at.start..offset + at.end,
            Self::Mapped(form) => form.origin_of(at),
        }
    }
}

#[cfg(test)]
mod tests;
