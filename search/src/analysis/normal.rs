//! A span of a text in the one form in which it is cut: without what cannot be seen, in NFKC, and with the Thai and Lao
//! letter am as the dictionaries have it. It does not matter in which normal form the text was.

use std::ops::Range;

use icu_normalizer::{ComposingNormalizer, ComposingNormalizerBorrowed};
use icu_segmenter::{GraphemeClusterSegmenter, GraphemeClusterSegmenterBorrowed};

use super::characters::{is_arabic, is_invisible};

/// Brings spans to their form. It keeps its buffers, so one is used for many.
pub(super) struct Normalizer {
    graphemes: GraphemeClusterSegmenterBorrowed<'static>,
    nfkc: ComposingNormalizerBorrowed<'static>,
    forms: Forms,
}

/// A span on its way, before and after the last step.
#[derive(Default)]
struct Forms {
    now: Form,
    before: Form,
}

/// A span in another form, and where each piece of it comes from.
#[derive(Default)]
pub(super) struct Form {
    pub(super) text: String,
    /// (offset in it, offset in the text), in order; the last is the end of both.
    origins: Vec<(usize, usize)>,
}

/// What keeps two words of Arabic script apart that are written as one: it stands between them instead of a space.
const NON_JOINER: char = '\u{200C}';

impl Normalizer {
    pub(super) fn new() -> Self {
        Self {
            graphemes: GraphemeClusterSegmenter::new(),
            nfkc: ComposingNormalizer::new_nfkc(),
            forms: Forms::default(),
        }
    }

    /// The form of `span`, which stands at `offset` in the text; `None` where it has that form already.
    pub(super) fn normalize(&mut self, span: &str, offset: usize) -> Option<Form> {
        let has_invisible = span.contains(is_invisible);
        if !has_invisible && self.nfkc.is_normalized(span) && !span.contains(is_nikhahit) {
            return None;
        }
        let Self { graphemes, nfkc, forms } = self;
        forms.now.whole(span, offset);
        if has_invisible {
            forms.step(drop_invisible);
        }
        // Cluster by cluster, so that each can be traced back; and again, since clusters may come of it, as of halfwidth
        // jamo.
        for _ in 0..2 {
            if nfkc.is_normalized(&forms.now.text) {
                break;
            }
            forms.step(|before, form| {
                for (start, end) in clusters(*graphemes, &before.text) {
                    form.push(&nfkc.normalize(&before.text[start..end]), before.origin(start));
                }
            });
        }
        if !nfkc.is_normalized(&forms.now.text) {
            forms.step(|before, form| form.push(&nfkc.normalize(&before.text), before.origin(0)));
        }
        if forms.now.text.contains(is_nikhahit) {
            forms.step(compose_am);
        }
        Some(std::mem::take(&mut forms.now))
    }

    /// Takes a form back whose buffers may be used again.
    pub(super) fn reuse(&mut self, form: Form) {
        self.forms.now = form;
    }
}

impl Forms {
    fn step(&mut self, step: impl FnOnce(&Form, &mut Form)) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        step(&self.before, &mut self.now);
        self.now.end(self.before.origin(self.before.text.len()));
    }
}

impl Form {
    /// The text as it stands.
    fn whole(&mut self, span: &str, offset: usize) {
        self.clear();
        for (start, character) in span.char_indices() {
            self.origins.push((start, offset + start));
            self.text.push(character);
        }
        self.end(offset + span.len());
    }

    fn clear(&mut self) {
        self.text.clear();
        self.origins.clear();
    }

    /// Adds what comes of `origin`; what comes of the same is one piece.
    fn push(&mut self, piece: &str, origin: usize) {
        if self.origins.last().is_none_or(|&(_, last)| last != origin) {
            self.origins.push((self.text.len(), origin));
        }
        self.text.push_str(piece);
    }

    fn end(&mut self, origin: usize) {
        self.origins.push((self.text.len(), origin));
    }

    /// Where in the text the piece begins that the byte `at` is of.
    fn origin(&self, at: usize) -> usize {
        let place = self.origins.partition_point(|&(offset, _)| offset <= at);
        self.origins[place.saturating_sub(1)].1
    }

    /// The bytes of the text that the bytes `at` stand for.
    pub(super) fn origin_of(&self, at: Range<usize>) -> Range<usize> {
        let end = self.origins.partition_point(|&(offset, _)| offset < at.end);
        self.origin(at.start)..self.origins[end].1
    }
}

fn clusters(graphemes: GraphemeClusterSegmenterBorrowed<'static>, text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    graphemes.segment_str(text).skip(1).map(move |end| (std::mem::replace(&mut start, end), end))
}

fn drop_invisible(before: &Form, form: &mut Form) {
    let mut last = None;
    for (start, character) in before.text.char_indices() {
        if is_invisible(character) && !(character == NON_JOINER && last.is_some_and(is_arabic)) {
            continue;
        }
        form.push(character.encode_utf8(&mut [0; 4]), before.origin(start));
        last = Some(character);
    }
}

/// The circle of the letter am, which NFKC takes off it.
fn is_nikhahit(character: char) -> bool {
    matches!(character, '\u{E4D}' | '\u{ECD}')
}

/// Puts circle and long a together, between which a tone mark may stand that belongs before the letter.
fn compose_am(before: &Form, form: &mut Form) {
    let text = before.text.as_str();
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        let (long_a, am, tones) = match character {
            '\u{E4D}' => ('\u{E32}', "\u{E33}", '\u{E48}'..='\u{E4B}'),
            '\u{ECD}' => ('\u{EB2}', "\u{EB3}", '\u{EC8}'..='\u{ECB}'),
            _ => {
                form.push(&text[at..at + character.len_utf8()], before.origin(at));
                at += character.len_utf8();
                continue;
            }
        };
        let marks = at + character.len_utf8();
        let end = text[marks..].find(|next| !tones.contains(&next)).map_or(text.len(), |length| marks + length);
        if text[end..].starts_with(long_a) {
            form.push(&text[marks..end], before.origin(at));
            form.push(am, before.origin(at));
            at = end + long_a.len_utf8();
        } else {
            form.push(&text[at..marks], before.origin(at));
            at = marks;
        }
    }
}
