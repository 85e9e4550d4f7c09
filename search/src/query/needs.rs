use crate::analysis::{gram, stands_alone};

/// What a comment has to contain, must not, and had better.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Needs {
    /// All of it has to be there.
    pub(crate) wanted: Vec<Need>,
    /// None of it may be there with all of its parts.
    pub(crate) unwanted: Vec<Vec<Need>>,
    /// Counts more if it is there.
    pub(crate) preferred: Vec<Need>,
}

/// One thing to look for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Need {
    /// A word, or another one with its stem.
    Word {
        /// The word.
        word: String,
        /// Its stem, if it has one.
        stem: Option<String>,
    },
    /// Words that follow each other; at least two.
    Phrase(Vec<String>),
    /// A word that begins so.
    Prefix(String),
    /// Characters of a script without spaces that follow each other.
    Characters(Characters),
}

/// See [`Need::Characters`].
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Characters {
    /// The characters, run by run.
    pub(crate) runs: Vec<Vec<char>>,
    /// Terms that cover them, and their places; none when there is no such term.
    pub(crate) grams: Vec<(usize, String)>,
    /// The words that a dictionary finds in them.
    pub(crate) words: Vec<String>,
    /// The place of the next character.
    next: usize,
}

impl Characters {
    /// A run, or a word in it.
    pub(crate) fn of(characters: &[char], words: Vec<String>) -> Self {
        let mut all = Self::default();
        all.push_run(characters, words);
        all
    }

    /// A run that follows what is there already. Terms that do not overlap are enough to cover it.
    pub(crate) fn push_run(&mut self, characters: &[char], words: Vec<String>) {
        let base = self.next;
        let mut push = |place: usize| {
            let mut term = String::new();
            gram(characters[place], characters[place + 1], &mut term);
            self.grams.push((base + place, term));
        };
        match characters {
            [] => return,
            [alone] if stands_alone(*alone) => self.grams.push((base, alone.to_string())),
            [_] => {}
            _ => {
                (0..characters.len() - 1).step_by(2).for_each(&mut push);
                if characters.len() % 2 == 1 {
                    push(characters.len() - 2);
                }
            }
        }
        self.next += characters.len();
        self.runs.push(characters.to_vec());
        self.words.extend(words);
    }

    /// A word of another script stands here.
    pub(crate) fn pass_word(&mut self) {
        self.next += 1;
    }

    /// Keeps at most `most` terms.
    pub(crate) fn bound(&mut self, most: usize) {
        self.grams.truncate(most);
        self.words.truncate(most);
    }
}
