use std::ops::Range;

use super::{Characters, Need, Needs};
use crate::analysis::{Analyzer, Parts, Run, Stems, stands_alone};

/// What is beyond is not looked at.
const CHARACTERS_MAX: usize = 500;
const NEEDS_MAX: usize = 32;
/// Words or terms of one phrase.
const PHRASE_MAX: usize = 64;

/// A word or a run of a query.
enum Piece {
    Word(String, Range<usize>),
    Run { characters: Vec<char>, words: Vec<Range<usize>>, end: usize },
}

/// Collects the pieces of a text.
#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Parts for Pieces {
    fn word(&mut self, word: &str, at: Range<usize>) {
        self.0.push(Piece::Word(word.to_owned(), at));
    }

    fn run(&mut self, run: &Run) {
        let characters = run.characters.iter().map(|(character, _)| *character).collect();
        let end = run.characters.last().map_or(0, |(_, at)| at.end);
        self.0.push(Piece::Run { characters, words: run.words.clone(), end });
    }
}

/// Reads a query. See [`Query`](super::Query) for the language.
pub(super) fn parse(text: &str) -> Needs {
    let end = text.char_indices().nth(CHARACTERS_MAX).map_or(text.len(), |(end, _)| end);
    let mut reader =
        Reader { rest: &text[..end], analyzer: Analyzer::new(), stems: Stems::default(), needs: Needs::default() };
    while reader.read_one() {}
    reader.needs
}

struct Reader<'a> {
    rest: &'a str,
    analyzer: Analyzer,
    stems: Stems,
    needs: Needs,
}

impl<'a> Reader<'a> {
    /// Reads what stands before the next white space or quote, or between two quotes; `false` at the end.
    fn read_one(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        let count = self.needs.wanted.len() + self.needs.unwanted.len();
        if self.rest.is_empty() || count >= NEEDS_MAX {
            return false;
        }
        let positive = self.rest.trim_start_matches(is_minus);
        let negative = positive.len() < self.rest.len() && positive.starts_with(|first: char| !first.is_whitespace());
        self.rest = positive;
        if let Some(quoted) = self.take_quoted() {
            let needs = self.together(quoted);
            self.add(needs, negative);
            return true;
        }
        self.rest = self.rest.trim_start_matches(is_quote);
        let end = self.rest.find(|character: char| character.is_whitespace() || is_quote(character));
        let (chunk, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let word = chunk.trim_end_matches(is_star);
        let prefix = word.len() < chunk.len();
        let needs = self.chunk(word, prefix, negative);
        self.add(needs, negative);
        true
    }

    fn take_quoted(&mut self) -> Option<&'a str> {
        let inside = self.rest.strip_prefix(is_quote)?;
        let (quoted, rest) = inside.split_once(is_quote)?;
        self.rest = rest;
        Some(quoted)
    }

    fn add(&mut self, needs: Vec<Need>, negative: bool) {
        let Needs { wanted, unwanted, .. } = &mut self.needs;
        if negative && !needs.is_empty() {
            unwanted.push(needs);
            return;
        }
        for need in needs {
            if wanted.len() < NEEDS_MAX && !wanted.contains(&need) {
                wanted.push(need);
            }
        }
    }

    fn pieces(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Pieces::default();
        self.analyzer.cut(text, &mut pieces);
        pieces.0
    }

    /// What has to follow each other: words as words, runs as characters.
    fn together(&mut self, text: &str) -> Vec<Need> {
        let (mut needs, mut words, mut all) = (Vec::new(), Vec::new(), Characters::default());
        for piece in self.pieces(text) {
            match piece {
                Piece::Word(word, _) => {
                    words.push(word);
                    all.pass_word();
                }
                Piece::Run { characters, words: found, .. } => {
                    needs.extend(phrase(std::mem::take(&mut words)));
                    let found = found.into_iter().map(|word| spell(&characters[word])).collect();
                    all.push_run(&characters, found);
                }
            }
        }
        needs.extend(phrase(words));
        if !all.runs.is_empty() {
            all.bound(PHRASE_MAX);
            needs.push(Need::Characters(all));
        }
        needs
    }

    /// What stands between white space: groups of words that punctuation ties together, and runs. With `prefix` what it
    /// ends with is one, if there is no punctuation behind it.
    fn chunk(&mut self, text: &str, prefix: bool, negative: bool) -> Vec<Need> {
        let (mut needs, mut group, mut reached) = (Vec::new(), Vec::new(), 0);
        let pieces = self.pieces(text);
        let last = pieces.len().saturating_sub(1);
        let begins_more = |place: usize, end: usize| prefix && place == last && end == text.len();
        for (place, piece) in pieces.into_iter().enumerate() {
            match piece {
                Piece::Word(word, at) => {
                    // Two words may come of one character.
                    let tied = text.get(reached..at.start).is_some_and(ties);
                    if !group.is_empty() && !tied {
                        needs.extend(self.tied(std::mem::take(&mut group), negative));
                    }
                    reached = at.end;
                    if begins_more(place, at.end) {
                        needs.extend(self.tied(std::mem::take(&mut group), negative));
                        needs.push(Need::Prefix(word));
                    } else {
                        group.push(word);
                    }
                }
                Piece::Run { characters, words, end } => {
                    needs.extend(self.tied(std::mem::take(&mut group), negative));
                    if begins_more(place, end) && is_short(&characters) {
                        needs.push(Need::Prefix(spell(&characters)));
                    } else if negative {
                        needs.push(whole(&characters, words.into_iter()));
                    } else {
                        self.run(&characters, &words, &mut needs);
                    }
                }
            }
        }
        needs.extend(self.tied(group, negative));
        needs
    }

    /// One word is found in its other forms too, unless it is unwanted; several have to follow each other.
    fn tied(&self, mut words: Vec<String>, negative: bool) -> Option<Need> {
        if words.len() > 1 {
            return phrase(words);
        }
        let word = words.pop()?;
        let stem = if negative { None } else { self.stems.of(&word).map(|stem| stem.into_owned()) };
        Some(Need::Word { word, stem })
    }

    /// Every word of a run has to be there. One hiragana is a particle, which need not be, unless the run is nothing
    /// else. That all of it stands together is better.
    fn run(&mut self, characters: &[char], words: &[Range<usize>], needs: &mut Vec<Need>) {
        let before = needs.len();
        for word in words {
            let characters = &characters[word.clone()];
            if characters.len() > 1 || stands_alone(characters[0]) {
                needs.push(whole(characters, std::iter::once(0..characters.len())));
            }
        }
        if needs.len() == before {
            needs.push(whole(characters, words.iter().cloned()));
        } else if words.len() > 1 && self.needs.preferred.len() < NEEDS_MAX {
            self.needs.preferred.push(whole(characters, std::iter::empty()));
        }
    }
}

/// Whether a run is found as a word alone. A longer one is found wherever it stands, so a star adds nothing to it.
fn is_short(characters: &[char]) -> bool {
    matches!(characters, [character] if !stands_alone(*character))
}

fn whole(characters: &[char], words: impl Iterator<Item = Range<usize>>) -> Need {
    let mut whole = Characters::of(characters, words.map(|word| spell(&characters[word])).collect());
    whole.bound(PHRASE_MAX);
    Need::Characters(whole)
}

fn spell(characters: &[char]) -> String {
    characters.iter().collect()
}

fn phrase(mut words: Vec<String>) -> Option<Need> {
    words.truncate(PHRASE_MAX);
    match words.len() {
        0 => None,
        1 => words.pop().map(|word| Need::Word { word, stem: None }),
        _ => Some(Need::Phrase(words)),
    }
}

fn is_minus(character: char) -> bool {
    matches!(character, '-' | '－' | '−')
}

fn is_quote(character: char) -> bool {
    matches!(character, '"' | '“' | '”' | '„' | '＂')
}

fn is_star(character: char) -> bool {
    matches!(character, '*' | '＊')
}

/// Whether what stands between two words makes one thing of them.
fn ties(between: &str) -> bool {
    !between.is_empty()
        && between.chars().all(|character| {
            matches!(
                character,
                '.' | '_'
                    | '-'
                    | '\''
                    | ':'
                    | '/'
                    | '@'
                    | '#'
                    | '&'
                    | '+'
                    | '='
                    | '%'
                    | '~'
                    | '$'
                    | '^'
                    | '*'
                    | '`'
                    | '?'
                    | '\u{B7}'
                    | '\u{200C}'
                    | '\u{200D}'
                    | '\u{2010}'
                    ..='\u{2015}'
                        | '\u{2018}'
                        | '\u{2019}'
                        | '\u{FE0E}'
                        | '\u{FE0F}'
                        | '．'
                        | '＿'
                        | '－'
                        | '＆'
                        | '＠'
                        | '／'
                        | '：'
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        let needs = parse(text);
        let wanted = needs.wanted.iter().map(show_one);
        let unwanted = needs.unwanted.iter().map(|needs| {
            let parts: Vec<String> = needs.iter().map(show_one).collect();
            format!("-{}", parts.join("&"))
        });
        wanted.chain(unwanted).collect::<Vec<_>>().join(" ")
    }

    fn show_one(need: &Need) -> String {
        match need {
            Need::Word { word, stem: None } => word.clone(),
            Need::Word { word, stem: Some(stem) } => format!("{word}({stem})"),
            Need::Phrase(words) => words.join("_"),
            Need::Prefix(word) => format!("{word}*"),
            Need::Characters(characters) => {
                let runs: Vec<String> = characters.runs.iter().map(|run| spell(run)).collect();
                format!("[{}]", runs.join(" "))
            }
        }
    }

    #[test]
    fn words_are_wanted_in_their_other_forms_and_quoted_ones_as_they_are() {
        assert_eq!(show("Films CAFÉ 12"), "films(film) cafe(cafe) 12");
        assert_eq!(show("\"Blade Runners\" \"films\""), "blade_runners films");
        assert_eq!(show("run run ＲＵＮ"), "run(run)");
    }

    #[test]
    fn a_minus_before_a_word_or_a_phrase_makes_it_unwanted() {
        assert_eq!(show("a -films -\"x y\" －b -foo_bar"), "a -films -x_y -b -foo_bar");
        assert_eq!(show("wall-e - e --"), "wall_e e");
        assert_eq!(show("-面白い映画 -iPhoneの映画 -a,b"), "-[面白い映画] -iphone&[の映画] -a&b");
    }

    #[test]
    fn a_star_after_a_word_makes_it_a_prefix() {
        assert_eq!(show("wor* foo_ba* -x*"), "wor* foo(foo) ba* -x*");
        assert_eq!(show("* ** -* (*"), "");
        assert_eq!(show("映* スパ*"), "[映] [スパ]");
        assert_eq!(show("ス* ส* ｽ* -の*"), "ス* ส* -の*");
    }

    #[test]
    fn punctuation_between_words_ties_them_together_or_separates_them() {
        assert_eq!(show("foo_bar() std::vec don’t"), "foo_bar std_vec don_t");
        assert_eq!(show("https://www.example.com/films?x=1"), "https_www_example_com_films_x_1");
        assert_eq!(show("good,bad(x)"), "good(good) bad(bad) x");
    }

    #[test]
    fn the_words_of_a_run_are_wanted_but_no_particles() {
        assert_eq!(show("猫の映画"), "[猫] [映画]");
        assert_eq!(show("の"), "[の]");
        assert_eq!(show("\"猫の映画\""), "[猫の映画]");
        assert_eq!(show("iPhoneの映画"), "iphone(iphon) [映画]");
        assert_eq!(parse("猫の映画").preferred.len(), 1);
    }

    #[test]
    fn what_is_malformed_is_words() {
        assert_eq!(show("\"open quote"), "open(open) quote(quot)");
        assert_eq!(show("a\"b\"c"), "a b c");
        assert_eq!(show("\"\" - -- -\" \" ()"), "");
        assert_eq!(show("x AND OR NOT ^ ~ [ ] { } \\"), "x and(and) or not(not)");
    }

    #[test]
    fn queries_are_bounded() {
        let many: String = (0..1_000).map(|n| format!("w{n} ")).collect();
        assert!(parse(&many).wanted.len() <= NEEDS_MAX);
        assert!(parse(&"x".repeat(100_000)).wanted.len() == 1);
        let Need::Characters(characters) = &parse(&format!("\"{}\"", "猫".repeat(400))).wanted[0] else { panic!() };
        assert_eq!(characters.grams.len(), PHRASE_MAX);
        assert!(parse(&"猫犬".repeat(1_000)).wanted.len() <= NEEDS_MAX);
    }
}
