use proptest::prelude::*;

use super::*;

/// Words, and runs with a bar between their words.
#[derive(Default)]
struct Seen {
    parts: Vec<String>,
    at: Vec<Range<usize>>,
}

impl Parts for Seen {
    fn word(&mut self, word: &str, at: Range<usize>) {
        self.parts.push(word.to_owned());
        self.at.push(at);
    }

    fn run(&mut self, run: &Run) {
        let mut part = String::new();
        for word in &run.words {
            run.spell(word.clone(), &mut part);
            part.push('|');
        }
        part.pop();
        self.parts.push(part);
        self.at.extend(run.characters.iter().map(|(_, at)| at.clone()));
    }
}

fn cut(text: &str) -> Vec<String> {
    let mut seen = Seen::default();
    Analyzer::new().cut(text, &mut seen);
    seen.parts
}

#[test]
fn words_are_letters_and_digits_whatever_punctuation_stands_in_them() {
    assert_eq!(cut("Müller's café, 2nd!"), ["muller", "s", "cafe", "2nd"]);
    assert_eq!(cut("don’t foo_bar() std::vec 3.5"), ["don", "t", "foo", "bar", "std", "vec", "3", "5"]);
    assert_eq!(cut("https://www.example.com/a-b"), ["https", "www", "example", "com", "a", "b"]);
}

#[test]
fn case_accents_and_width_are_folded() {
    assert_eq!(cut("ＡＢＣ１２３ ﬁlm"), ["abc123", "film"]);
    assert_eq!(cut("STRASSE straße Ø Łódź Tiếng"), ["strasse", "strasse", "o", "lodz", "tieng"]);
    assert_eq!(cut("cafe\u{301} café"), ["cafe", "cafe"]);
    assert_eq!(cut("Ὀδυσσεύς ёлка йод"), ["οδυσσευσ", "елка", "йод"]);
    assert_eq!(cut("ｶﾞﾝﾀﾞﾑ ガンダム"), ["ガンダム", "ガンダム"]);
}

#[test]
fn what_carries_meaning_in_other_scripts_is_not_folded_away() {
    assert_eq!(cut("が"), ["が"]);
    assert_eq!(cut("हिन्दी में"), ["हिन्दी", "में"]);
    assert_eq!(cut("น้ำ"), ["น้ำ"]);
    assert_eq!(cut("นำ"), ["นำ"]);
}

#[test]
fn dictionaries_cut_scripts_without_spaces() {
    assert_eq!(cut("こんにちは世界、東京都庁"), ["こんにちは|世界", "東京|都庁"]);
    assert_eq!(cut("我昨天看了一部很好的电影"), ["我|昨天|看了|一部|很好|的|电影"]);
    assert_eq!(cut("นี้สนุกมาก"), ["นี้|สนุก|มาก"]);
    assert_eq!(cut("ทำงานน้ำ"), ["ทำงาน|น้ำ"]);
    assert_eq!(cut("재미있는 영화를"), ["재미있는", "영화를"]);
}

#[test]
fn what_no_dictionary_knows_is_one_word_in_kana() {
    assert_eq!(cut("ゲボラバを見た"), ["ゲボラバ|を|見|た"]);
}

#[test]
fn scripts_that_meet_are_cut_apart() {
    assert_eq!(cut("BTS의 iPhoneを2024年"), ["bts", "의", "iphone", "を", "2024", "年"]);
}

#[test]
fn every_emoji_is_a_word_without_its_colour_and_style() {
    assert_eq!(cut("great😂😂 👍🏽 ❤️"), ["great", "😂", "😂", "👍", "❤"]);
    assert_eq!(cut("🤷‍♀️🇯🇵♪"), ["🤷", "♀", "🇯🇵", "♪"]);
}

#[test]
fn a_word_is_bounded() {
    assert_eq!(cut(&"é".repeat(10_000))[0].len(), WORD_BYTES);
}

#[test]
fn parts_are_traced_back_through_normalization() {
    let text = "x ｶﾞﾝﾀﾞﾑ Ａe\u{301}";
    let mut seen = Seen::default();
    Analyzer::new().cut(text, &mut seen);
    let found: Vec<&str> = seen.at.iter().map(|at| &text[at.clone()]).collect();
    assert_eq!(found, ["x", "ｶﾞ", "ﾝ", "ﾀﾞ", "ﾑ", "Ａe\u{301}"]);
}

proptest! {
    #[test]
    fn any_text_is_cut_into_parts_of_it_in_order(text in "\\PC*|[a-zé０-９ｱ-ﾟあ-ん\u{3099}漢字ก-๛각-갛😀-😎\u{200D}\u{FE0F}_'.\u{0}-\u{20}]*") {
        let mut seen = Seen::default();
        Analyzer::new().cut(&text, &mut seen);
        let mut reached = 0;
        for at in seen.at {
            prop_assert!(at.start >= reached && at.start < at.end && text.get(at.clone()).is_some());
            reached = at.start;
        }
        prop_assert!(seen.parts.iter().all(|part| !part.is_empty() && !part.contains([' ', '\t'])));
    }

    #[test]
    fn cutting_what_was_cut_changes_nothing(text in "[a-zÀ-ÿА-яΑ-ω０-９あ-んア-ヶ漢字 .]*") {
        let once = cut(&text);
        let spaced = once.iter().map(|part| part.replace('|', "")).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(cut(&spaced), once);
    }
}
