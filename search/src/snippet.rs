use std::ops::Range;

use crate::analysis::{Analyzer, Parts, Run, Stems};
use crate::query::needs::{Characters, Need, Needs};

/// About how long a snippet is, in characters.
const LENGTH: usize = 200;
/// Characters before the first mark.
const LEAD: usize = 40;

/// See [`Query::snippet`](crate::Query::snippet).
pub(crate) fn snippet(needs: &Needs, text: &str) -> String {
    let mut cut = Cut::default();
    Analyzer::new().cut(text, &mut cut);
    let marks = cut.marks(needs);
    let characters = Places::of(text);
    let window = best_window(&marks, &characters);
    let window = cut.round(window, &characters, text);
    render(text, window, &merged(marks))
}

/// What was found, and by which need.
#[derive(Debug, Clone)]
struct Mark {
    at: Range<usize>,
    need: usize,
}

/// A text, cut.
#[derive(Default)]
struct Cut {
    words: Vec<(String, Range<usize>)>,
    runs: Vec<Vec<(char, Range<usize>)>>,
    /// Where words begin, and where they end.
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl Parts for Cut {
    fn word(&mut self, word: &str, at: Range<usize>) {
        self.starts.push(at.start);
        self.ends.push(at.end);
        self.words.push((word.to_owned(), at));
    }

    fn run(&mut self, run: &Run) {
        for word in &run.words {
            self.starts.push(run.characters[word.start].1.start);
            self.ends.push(run.characters[word.end - 1].1.end);
        }
        self.runs.push(run.characters.clone());
    }
}

impl Cut {
    /// Everything that is wanted, in order.
    fn marks(&self, needs: &Needs) -> Vec<Mark> {
        let stems = Stems::default();
        let mut marks = Vec::new();
        for (need, wanted) in needs.wanted.iter().enumerate() {
            let mut mark = |at| marks.push(Mark { at, need });
            match wanted {
                Need::Word { word, stem } => {
                    let matches = |other: &str| {
                        other == word || stem.as_deref().is_some_and(|stem| stems.of(other).as_deref() == Some(stem))
                    };
                    self.words.iter().filter(|(word, _)| matches(word)).for_each(|(_, at)| mark(at.clone()));
                }
                Need::Prefix(prefix) => {
                    let found = self.words.iter().filter(|(word, _)| word.starts_with(prefix.as_str()));
                    found.for_each(|(_, at)| mark(at.clone()));
                }
                Need::Phrase(phrase) => self.mark_phrase(phrase, mark),
                Need::Characters(characters) => self.mark_characters(characters, mark),
            }
        }
        marks.sort_unstable_by_key(|mark| (mark.at.start, mark.at.end));
        marks
    }

    fn mark_phrase(&self, phrase: &[String], mut mark: impl FnMut(Range<usize>)) {
        for words in self.words.windows(phrase.len()) {
            if words.iter().zip(phrase).all(|((word, _), wanted)| word == wanted) {
                mark(words[0].1.start..words[words.len() - 1].1.end);
            }
        }
    }

    fn mark_characters(&self, characters: &Characters, mut mark: impl FnMut(Range<usize>)) {
        for wanted in &characters.runs {
            for found in self.runs.iter().flat_map(|run| run.windows(wanted.len())) {
                if found.iter().zip(wanted).all(|((character, _), wanted)| character == wanted) {
                    mark(found[0].1.start..found[found.len() - 1].1.end);
                }
            }
        }
    }

    /// Moves the ends of a window, in characters, to where no word is cut, and gives it in bytes.
    fn round(&self, window: Range<usize>, characters: &Places, text: &str) -> Range<usize> {
        let from = characters.byte(window.start);
        let to = characters.byte(window.end);
        let start = if window.start == 0 {
            0
        } else {
            let next = self.starts.get(self.starts.partition_point(|&start| start < from)).copied();
            next.filter(|&start| start <= characters.byte(window.start + LEAD)).unwrap_or(from)
        };
        let end = if to == text.len() {
            to
        } else {
            let before = self.ends.partition_point(|&end| end <= to);
            let last = before.checked_sub(1).map(|place| self.ends[place]);
            last.filter(|&end| end > characters.byte(window.end.saturating_sub(LEAD)).max(start)).unwrap_or(to)
        };
        start..end
    }
}

/// Where each character of a text begins, and where the text ends.
struct Places(Vec<usize>);

impl Places {
    fn of(text: &str) -> Self {
        Self(text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect())
    }

    fn byte(&self, character: usize) -> usize {
        self.0[character.min(self.0.len() - 1)]
    }

    fn character(&self, byte: usize) -> usize {
        self.0.partition_point(|&start| start < byte)
    }

    fn count(&self) -> usize {
        self.0.len() - 1
    }
}

/// The window, in characters, with most different needs, then most marks, then the first.
fn best_window(marks: &[Mark], characters: &Places) -> Range<usize> {
    let places: Vec<Range<usize>> =
        marks.iter().map(|mark| characters.character(mark.at.start)..characters.character(mark.at.end)).collect();
    let mut counts = [0_u32; 64];
    let (mut best, mut best_start) = ((0, 0), 0);
    let mut end = 0;
    for (begin, place) in places.iter().enumerate() {
        while end < places.len() && (places[end].end <= place.start + LENGTH - LEAD || end == begin) {
            counts[marks[end].need % counts.len()] += 1;
            end += 1;
        }
        let different = counts.iter().filter(|&&count| count > 0).count();
        if (different, end - begin) > best {
            (best, best_start) = ((different, end - begin), place.start);
        }
        counts[marks[begin].need % counts.len()] -= 1;
    }
    let count = characters.count();
    let start = best_start.saturating_sub(LEAD).min(count.saturating_sub(LENGTH));
    start..(start + LENGTH).min(count)
}

/// Marks that touch or overlap made one.
fn merged(marks: Vec<Mark>) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::new();
    for mark in marks {
        match merged.last_mut() {
            Some(last) if mark.at.start <= last.end => last.end = last.end.max(mark.at.end),
            _ => merged.push(mark.at),
        }
    }
    merged
}

fn render(text: &str, window: Range<usize>, marks: &[Range<usize>]) -> String {
    let mut html = Html::default();
    if window.start > 0 {
        html.text.push('…');
    }
    let mut at = window.start;
    for mark in marks {
        let (start, end) = (mark.start.max(window.start), mark.end.min(window.end));
        if start < end {
            html.push(&text[at..start]);
            html.mark(&text[start..end]);
            at = end;
        }
    }
    html.push(&text[at..window.end]);
    let mut html = html.text;
    html.truncate(html.trim_end().len());
    if window.end < text.len() {
        html.push('…');
    }
    html
}

/// Escaped text with single spaces.
#[derive(Default)]
struct Html {
    text: String,
    /// White space was read and not written yet.
    space: bool,
}

impl Html {
    fn push(&mut self, text: &str) {
        for character in text.chars() {
            if character.is_whitespace() || character.is_control() {
                self.space = true;
                continue;
            }
            self.write_space();
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\'' => self.text.push_str("&#39;"),
                other => self.text.push(other),
            }
        }
    }

    fn mark(&mut self, text: &str) {
        self.write_space();
        self.text.push_str("<mark>");
        self.push(text);
        self.text.push_str("</mark>");
    }

    fn write_space(&mut self) {
        if std::mem::take(&mut self.space) && !self.text.is_empty() {
            self.text.push(' ');
        }
    }
}
