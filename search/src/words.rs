//! The words of a text, for whoever counts or compares them.

use std::cell::RefCell;
use std::ops::Range;

use crate::analysis::{Analyzer, Parts, Run};

thread_local! {
    /// It keeps buffers and tables, so that one serves many texts.
    static ANALYZER: RefCell<Analyzer> = RefCell::default();
}

/// The words of `text` in their order, each as often as it stands there. They are cut, and brought to one form, as the
/// index does: without case, accents and width; of scripts that put no spaces between words, what a dictionary
/// finds; an emoji is a word. A word has 128 bytes at the most.
///
/// ```
/// assert_eq!(balcony_search::words("A café, a 映画を見た! 🎬"), ["a", "cafe", "a", "映画", "を", "見", "た", "🎬"]);
/// ```
pub fn words(text: &str) -> Vec<String> {
    let mut words = Words(Vec::new());
    ANALYZER.with_borrow_mut(|analyzer| analyzer.cut(text, &mut words));
    words.0
}

struct Words(Vec<String>);

impl Parts for Words {
    fn word(&mut self, word: &str, _: Range<usize>) {
        self.0.push(word.to_owned());
    }

    fn run(&mut self, run: &Run) {
        for word in &run.words {
            let mut spelled = String::new();
            run.spell(word.clone(), &mut spelled);
            self.0.push(spelled);
        }
    }
}
