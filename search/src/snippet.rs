use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use icu_segmenter::{GraphemeClusterSegmenter, GraphemeClusterSegmenterBorrowed};

use crate::analysis::{Analyzer, Parts, Run, Stems};
use crate::query::needs::{Characters, Need, Needs};

/// About how long a snippet is, in characters.
const LENGTH: usize = 200;
/// Characters before the first mark.
const LEAD: usize = 40;
/// Bytes of what a reader sees as one character: the longest emoji take 60. What is longer is cut like text.
const CLUSTER: usize = 128;

/// Makes snippets for one query. It keeps what it needs for each, so one is used for a whole page.
pub struct Snippets<'q> {
    needs: &'q Needs,
    wanted: Wanted<'q>,
    analyzer: Analyzer,
    graphemes: GraphemeClusterSegmenterBorrowed<'static>,
    until: Option<Instant>,
}

impl<'q> Snippets<'q> {
    pub(crate) fn new(needs: &'q Needs, until: Option<Instant>) -> Self {
        let graphemes = GraphemeClusterSegmenter::new();
        Self { needs, wanted: Wanted::of(needs), analyzer: Analyzer::new(), graphemes, until }
    }

    /// The part of `text` with most of what is looked for, about 200 characters, as HTML: text with everything
    /// escaped, white space as single spaces, and `<mark>` around what was found. What is cut off is an ellipsis. No
    /// character that a reader sees as one is cut in two, neither by a mark nor at an end.
    ///
    /// When the time is up, it is the beginning of the text, without marks.
    pub fn of(&mut self, text: &str) -> String {
        let mut cut = Cut::default();
        let in_time = self.until.is_none_or(|until| Instant::now() < until);
        if in_time {
            self.analyzer.cut(text, &mut cut);
        }
        let mut marks = cut.marks(self.needs, &mut self.wanted);
        let characters = Places::of(text);
        let clusters = Clusters::of(self.graphemes, text);
        for mark in &mut marks {
            mark.at = clusters.around(&mark.at);
        }
        let window = best_window(&marks, &characters);
        let window = clusters.within(cut.round(window, &characters, text));
        render(text, window, &merged(marks))
    }
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
    runs: Vec<CutRun>,
    /// Where words begin, and where they end.
    starts: Vec<usize>,
    ends: Vec<usize>,
}

/// A run of a text; see [`Run`].
struct CutRun {
    characters: Vec<(char, Range<usize>)>,
    words: Vec<Range<usize>>,
}

impl CutRun {
    /// The bytes of the text that `word` stands for.
    fn at(&self, word: &Range<usize>) -> Range<usize> {
        let characters = &self.characters[word.clone()];
        match (characters.first(), characters.last()) {
            (Some((_, first)), Some((_, last))) => first.start..last.end,
            _ => 0..0,
        }
    }

    fn spell(&self, word: &Range<usize>, text: &mut String) {
        text.clear();
        text.extend(self.characters[word.clone()].iter().map(|(character, _)| character));
    }
}

/// The needs that single words meet, so that each word of a text is looked up once.
struct Wanted<'q> {
    words: HashMap<&'q str, Vec<usize>>,
    stems: HashMap<&'q str, Vec<usize>>,
    prefixes: Vec<(&'q str, usize)>,
    stemmer: Stems,
    spelled: String,
}

impl<'q> Wanted<'q> {
    fn of(needs: &'q Needs) -> Self {
        let (mut words, mut stems) = (HashMap::<_, Vec<usize>>::new(), HashMap::<_, Vec<usize>>::new());
        let mut prefixes = Vec::new();
        for (number, need) in needs.wanted.iter().enumerate() {
            match need {
                Need::Word { word, stem } => {
                    words.entry(word.as_str()).or_default().push(number);
                    if let Some(stem) = stem {
                        stems.entry(stem.as_str()).or_default().push(number);
                    }
                }
                Need::Prefix(prefix) => prefixes.push((prefix.as_str(), number)),
                Need::Phrase(_) | Need::Characters(_) => {}
            }
        }
        Self { words, stems, prefixes, stemmer: Stems::default(), spelled: String::new() }
    }

    /// Gives the needs that `word` meets.
    fn find(&mut self, word: &str, mut found: impl FnMut(usize)) {
        self.words.get(word).into_iter().flatten().for_each(|&need| found(need));
        if !self.stems.is_empty()
            && let Some(stem) = self.stemmer.remembered(word)
        {
            self.stems.get(stem).into_iter().flatten().for_each(|&need| found(need));
        }
        self.prefixes.iter().filter(|(prefix, _)| word.starts_with(prefix)).for_each(|&(_, need)| found(need));
    }

    /// Gives the prefixes of the word that is spelled.
    fn find_prefixes(&self, mut found: impl FnMut(usize)) {
        let begins = self.prefixes.iter().filter(|(prefix, _)| self.spelled.starts_with(prefix));
        begins.for_each(|&(_, need)| found(need));
    }
}

/// Where the characters begin that a reader sees as one (grapheme clusters, UAX #29), and where the text ends. `None` where
/// that is each byte.
struct Clusters(Option<Vec<usize>>);

impl Clusters {
    fn of(graphemes: GraphemeClusterSegmenterBorrowed<'static>, text: &str) -> Self {
        // Of ASCII only a line's end is two characters, and that is white space.
        Self((!text.is_ascii()).then(|| graphemes.segment_str(text).collect()))
    }

    /// The last place at or before `byte`.
    fn before(&self, byte: usize) -> usize {
        let Some(places) = &self.0 else { return byte };
        places[..places.partition_point(|&place| place <= byte)].last().copied().unwrap_or(0)
    }

    /// The first place at or after `byte`.
    fn after(&self, byte: usize) -> usize {
        let Some(places) = &self.0 else { return byte };
        places.get(places.partition_point(|&place| place < byte)).copied().unwrap_or(byte)
    }

    /// All of the characters of which `at` has something.
    fn around(&self, at: &Range<usize>) -> Range<usize> {
        self.before(at.start)..self.after(at.end)
    }

    /// `window` without the characters of which it has only a part, unless that part is longer than any such character
    /// should be.
    fn within(&self, window: Range<usize>) -> Range<usize> {
        let (start, end) = (self.after(window.start), self.before(window.end));
        let start = if start - window.start > CLUSTER { window.start } else { start };
        let end = if window.end.saturating_sub(end) > CLUSTER || end <= start { window.end } else { end };
        start..end
    }
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
        self.runs.push(CutRun { characters: run.characters.clone(), words: run.words.clone() });
    }
}

impl Cut {
    /// Everything that is wanted, in order.
    fn marks(&self, needs: &Needs, wanted: &mut Wanted<'_>) -> Vec<Mark> {
        let mut marks = Vec::new();
        for (word, at) in &self.words {
            wanted.find(word, |need| marks.push(Mark { at: at.clone(), need }));
        }
        for run in &self.runs {
            for word in &run.words {
                let at = run.at(word);
                run.spell(word, &mut wanted.spelled);
                wanted.find_prefixes(|need| marks.push(Mark { at: at.clone(), need }));
            }
        }
        for (need, wanted) in needs.wanted.iter().enumerate() {
            let mark = |at| marks.push(Mark { at, need });
            match wanted {
                Need::Word { .. } | Need::Prefix(_) => {}
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
            for found in self.runs.iter().flat_map(|run| run.characters.windows(wanted.len())) {
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
