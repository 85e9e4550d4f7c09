use std::ops::Range;

use super::characters::{Symbols, is_hiragana, is_katakana, stands_alone};

/// A sequence of characters of scripts without spaces between words.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// The characters, in NFKC, and the bytes of the text they stand for.
    pub(crate) characters: Vec<(char, Range<usize>)>,
    /// The words, as ranges of `characters`. They follow each other without a gap.
    pub(crate) words: Vec<Range<usize>>,
}

impl Run {
    /// Appends the characters of `word` to `text`.
    pub(crate) fn spell(&self, word: Range<usize>, text: &mut String) {
        text.extend(self.characters[word].iter().map(|(character, _)| character));
    }
}

/// What takes the parts of a text, in their order.
pub(crate) trait Parts {
    /// A word in its one form, and the bytes of the text that it stands for.
    fn word(&mut self, word: &str, at: Range<usize>);

    /// A run.
    fn run(&mut self, run: &Run);
}

/// A run that is being put together.
#[derive(Debug, Default)]
pub(super) struct Building {
    run: Run,
    word_start: usize,
    merged: Vec<Range<usize>>,
}

/// Pieces that a dictionary leaves where it knows no word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Hiragana,
    Katakana,
    SoutheastAsian,
}

impl Building {
    pub(super) fn is_open(&self) -> bool {
        !self.run.characters.is_empty()
    }

    pub(super) fn push(&mut self, character: char, at: Range<usize>) {
        self.run.characters.push((character, at));
    }

    /// What follows up to `end` in the text belongs to the last character.
    pub(super) fn reach(&mut self, end: usize) {
        if let Some((_, at)) = self.run.characters.last_mut() {
            at.end = end;
        }
    }

    /// A word ends here.
    pub(super) fn end_word(&mut self) {
        let end = self.run.characters.len();
        if self.word_start < end {
            self.run.words.push(self.word_start..end);
            self.word_start = end;
        }
    }

    pub(super) fn finish(&mut self, symbols: &Symbols, parts: &mut impl Parts) {
        if !self.is_open() {
            return;
        }
        self.end_word();
        self.merge_unknown(symbols);
        parts.run(&self.run);
        self.run.characters.clear();
        self.run.words.clear();
        self.word_start = 0;
    }

    /// Where it knows no word, a dictionary leaves one piece for each character. In a row they are taken as one
    /// unknown word: any number of katakana or Southeast Asian pieces, and three of hiragana, which are too many to
    /// be particles. Han is left alone, because there one character is a word.
    fn merge_unknown(&mut self, symbols: &Symbols) {
        if self.run.words.len() < 2 {
            return;
        }
        self.merged.clear();
        let mut row: Option<(Script, Range<usize>, usize)> = None;
        for word in self.run.words.drain(..) {
            let script = single(&self.run.characters[word.clone()], symbols);
            match (&mut row, script) {
                (Some((current, range, pieces)), Some(script)) if *current == script => {
                    range.end = word.end;
                    *pieces += 1;
                }
                _ => {
                    end_row(row.take(), &mut self.merged);
                    match script {
                        Some(script) => row = Some((script, word, 1)),
                        None => self.merged.push(word),
                    }
                }
            }
        }
        end_row(row, &mut self.merged);
        std::mem::swap(&mut self.run.words, &mut self.merged);
    }
}

fn end_row(row: Option<(Script, Range<usize>, usize)>, merged: &mut Vec<Range<usize>>) {
    match row {
        // Every piece is one character then.
        Some((Script::Hiragana, range, 2)) => merged.extend([range.start..range.start + 1, range.start + 1..range.end]),
        Some((_, range, _)) => merged.push(range),
        None => {}
    }
}

/// The script of `word` if it is one character, marks aside.
fn single(word: &[(char, Range<usize>)], symbols: &Symbols) -> Option<Script> {
    let (first, _) = word.first()?;
    let script = match *first {
        first if is_katakana(first) => Script::Katakana,
        first if is_hiragana(first) => Script::Hiragana,
        first if stands_alone(first) => return None,
        _ => Script::SoutheastAsian,
    };
    let alone = match script {
        Script::SoutheastAsian => word[1..].iter().all(|&(character, _)| symbols.is_mark(character)),
        _ => word.len() == 1,
    };
    alone.then_some(script)
}
