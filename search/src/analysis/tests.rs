use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
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
fn what_cannot_be_seen_does_not_tell_texts_apart() {
    for (with, without) in [
        ("葛\u{E0100}城", "葛城"),
        ("神\u{FE00}社", "神社"),
        ("映\u{200B}画\u{FEFF}館", "映画館"),
        ("su\u{AD}per\u{2060}man\u{200B}ly", "supermanly"),
        ("ភាសា\u{200B}ខ្មែរ", "ភាសាខ្មែរ"),
        ("क\u{94D}\u{200D}ष", "क\u{94D}ष"),
        ("か\u{34F}\u{3099}", "が"),
        ("\u{202B}שלום\u{202C}", "שלום"),
        ("ᠮᠣᠩ\u{180B}ᠭᠣᠯ", "ᠮᠣᠩᠭᠣᠯ"),
        ("👩\u{200D}👧❤\u{FE0F}", "👩👧❤"),
        ("🏴\u{E0067}\u{E0062}\u{E007F}", "🏴"),
    ] {
        assert_eq!(cut(with), cut(without), "{with:?}");
        assert!(!cut(with).is_empty());
    }
    assert_eq!(cut("\u{200B}\u{FE0F}\u{E0100}"), [""; 0]);
    assert_eq!(cut("می\u{200C}خواهم"), ["می", "خواهم"], "it stands for a space in Arabic script");
}

#[test]
fn the_invisible_are_those_that_unicode_calls_so() {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    for character in '\0'..=char::MAX {
        assert_eq!(characters::is_invisible(character), ignorable.contains(character), "{character:?}");
    }
}

#[test]
fn the_letter_am_is_one_however_it_is_written() {
    for (apart, one) in [
        ("ท\u{E4D}\u{E32}งาน", "ทำงาน"),
        ("น\u{E49}\u{E4D}\u{E32}", "น้ำ"),
        ("น\u{E4D}\u{E49}\u{E32}", "น้ำ"),
        ("ນ\u{EC9}\u{ECD}\u{EB2}", "ນ້ຳ"),
        ("ນ\u{ECD}\u{EC9}\u{EB2}", "ນ້ຳ"),
    ] {
        assert_eq!(cut(apart), cut(one), "{apart}");
    }
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

/// Text of one of the scripts that are known here, with whatever stands in its blocks.
fn any_script() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-ZÀ-ɏḀ-ỿ\u{300}-\u{36F} ]{1,12}",
        "[Ͱ-Ͽἀ-῾\u{300}-\u{345} ]{1,12}",
        "[Ѐ-ԯ\u{300}-\u{36F} ]{1,12}",
        "[\u{591}-\u{5F4}\u{FB1D}-\u{FB4F} ]{1,12}",
        "[\u{610}-\u{6FF}\u{FB50}-\u{FBB1}\u{FE70}-\u{FEFC} ]{1,12}",
        "[\u{900}-\u{DFF} ]{1,12}",
        "[ก-๛\u{E81}-\u{EDF}]{1,12}",
        "[\u{1000}-\u{109F}\u{1780}-\u{17F9}]{1,12}",
        "[가-힣\u{1100}-\u{11FF}\u{3131}-\u{318E}\u{FFA1}-\u{FFDC}]{1,12}",
        "[ぁ-ヿㇰ-ㇿｦ-ﾟ㌀-㍗]{1,12}",
        "[一-鿿豈-龎㐀-㐿\u{2F00}-\u{2FD5}〆〒〶〸々]{1,8}",
        "[0-9０-９①-⑳½²⅓Ａ-ｚ]{1,12}",
    ]
}

/// The text in a normal form, or as it is.
fn formed(text: &str, form: usize) -> String {
    match form {
        0 => ComposingNormalizer::new_nfc().normalize(text).into_owned(),
        1 => DecomposingNormalizer::new_nfd().normalize(text).into_owned(),
        2 => ComposingNormalizer::new_nfkc().normalize(text).into_owned(),
        3 => DecomposingNormalizer::new_nfkd().normalize(text).into_owned(),
        _ => text.to_owned(),
    }
}

#[test]
fn a_mark_that_becomes_a_space_and_a_mark_separates_in_every_form() {
    let text = "ἠ\u{1f16}\u{300}῍";
    for form in 0..4 {
        assert_eq!(cut(&formed(text, form)), cut(text), "{form}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_is_cut_alike_in_every_normal_form(text in any_script(), one in 0..4_usize) {
        prop_assert_eq!(cut(&formed(&text, one)), cut(&text), "{:?} {:?}", formed(&text, one), text);
    }

    #[test]
    fn a_text_is_cut_alike_with_and_without_what_cannot_be_seen(
        text in any_script(),
        places in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&INVISIBLE[..])), 0..4),
    ) {
        let mut seeded: Vec<char> = text.chars().collect();
        for (place, invisible) in places {
            seeded.insert(place.index(seeded.len() + 1), invisible);
        }
        let seeded: String = seeded.into_iter().collect();
        prop_assert_eq!(cut(&seeded), cut(&text), "{:?}", seeded);
    }
}

const INVISIBLE: [char; 9] =
    ['\u{AD}', '\u{34F}', '\u{200B}', '\u{200D}', '\u{2060}', '\u{FE00}', '\u{FE0F}', '\u{FEFF}', '\u{E0100}'];

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
