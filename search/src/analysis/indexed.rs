use std::ops::Range;

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::characters::stands_alone;
use super::stems::Stems;
use super::{Parts, Run};

/// A text as the index takes it: for each field its terms, in the form [`SplitTokenizer`] reads.
#[derive(Default)]
pub(crate) struct Indexed {
    /// Words, those of runs included.
    pub(crate) words: String,
    /// The stems of English of the words that are plain Latin letters.
    pub(crate) stems: String,
    /// Runs, two characters at a time.
    pub(crate) grams: String,
    /// Words since the last run.
    words_since: usize,
    stemmer: Stems,
}

impl Indexed {
    /// How many bytes its terms take.
    pub(crate) fn bytes(&self) -> usize {
        self.words.len() + self.stems.len() + self.grams.len()
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.stems.clear();
        self.grams.clear();
        self.words_since = 0;
    }
}

impl Parts for Indexed {
    fn word(&mut self, word: &str, _: Range<usize>) {
        self.words.push_str(word);
        self.words.push(' ');
        self.stemmer.append(word, &mut self.stems);
        self.words_since += 1;
    }

    /// In `grams` every character of a run, and every word between runs, takes one position, so that a quoted phrase
    /// is found whatever the dictionary makes of it.
    fn run(&mut self, run: &Run) {
        for word in &run.words {
            run.spell(word.clone(), &mut self.words);
            self.words.push(' ');
        }
        if !self.grams.is_empty() {
            self.grams.extend(std::iter::repeat_n(' ', self.words_since));
        }
        self.words_since = 0;
        for (place, &(character, _)) in run.characters.iter().enumerate() {
            if stands_alone(character) {
                self.grams.push(character);
                self.grams.push('\t');
            }
            if let Some(&(next, _)) = run.characters.get(place + 1) {
                gram(character, next, &mut self.grams);
            }
            self.grams.push(' ');
        }
    }
}

/// The term of two characters that follow each other.
pub(crate) fn gram(first: char, second: char, term: &mut String) {
    term.push(first);
    term.push(second);
}

/// Reads terms back: a space ends a position, a tab stands between terms of one position.
#[derive(Debug, Clone, Default)]
pub(crate) struct SplitTokenizer {
    token: Token,
}

/// The terms of one text.
pub(crate) struct SplitStream<'a> {
    text: &'a str,
    token: &'a mut Token,
    position: usize,
}

impl Tokenizer for SplitTokenizer {
    type TokenStream<'a> = SplitStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> SplitStream<'a> {
        self.token.reset();
        SplitStream { text, token: &mut self.token, position: 0 }
    }
}

impl TokenStream for SplitStream<'_> {
    fn advance(&mut self) -> bool {
        let bytes = self.text.as_bytes();
        let mut start = 0;
        loop {
            match bytes.get(start) {
                None => return false,
                Some(b' ') => self.position += 1,
                Some(b'\t') => {}
                Some(_) => break,
            }
            start += 1;
        }
        let length = bytes[start..].iter().position(|byte| matches!(byte, b' ' | b'\t'));
        let end = length.map_or(bytes.len(), |length| start + length);
        self.token.text.clear();
        self.token.text.push_str(&self.text[start..end]);
        self.token.position = self.position;
        self.text = &self.text[end..];
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}
