use std::time::Duration;

use balcony_search::{Query, Sort, TOTAL_MAX};
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use proptest::prelude::*;

use crate::{Fixture, comment, numbers};

const BODIES: &[&str] = &[
    "the quick brown fox jumps over the lazy dog",
    "この映画はとても面白かったです、スパイダーマン",
    "我昨天看了一部很好的电影",
    "영화가 재미있었어요",
    "ภาพยนตร์เรื่องนี้สนุกมาก",
    "Müller's café 😂 https://www.example.com/a?b=c foo_bar()",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
];

#[test]
fn malformed_queries_are_words() {
    let fixture = Fixture::of(BODIES);
    assert_eq!(fixture.find("\"quick brown"), [0]);
    assert_eq!(fixture.find("quick\" \"brown \""), [0]);
    assert_eq!(fixture.find("(quick OR brown"), [0; 0], "there is no OR: it is a word");
    assert_eq!(fixture.find("quick:brown"), [0]);
    assert_eq!(fixture.find("[quick TO} fox^2~"), [0; 0]);
    assert_eq!(fixture.find("- quick -- * + brown ** \"\""), [0]);
}

#[test]
fn a_query_that_wants_nothing_finds_nothing() {
    let fixture = Fixture::of(BODIES);
    for text in ["", " ", "-quick", "-\"quick brown\" -fox", "\"", "*", "-", "()", "\u{0}", "\u{200B}", "…", "-*"] {
        let query = Query::new(text);
        assert!(query.is_empty(), "{text:?}");
        let page = fixture.search(&query);
        assert!(page.hits.is_empty() && page.total == 0 && page.total_is_exact && page.is_complete, "{text:?}");
    }
}

#[test]
fn a_prefix_of_one_letter_is_found_in_scripts_without_spaces() {
    let fixture = Fixture::of(BODIES);
    for (query, found) in [("ส*", 4), ("ス*", 1), ("ｽ*", 1), ("映*", 1), ("电*", 2), ("영*", 3)] {
        assert_eq!(fixture.find(query), [found], "{query}");
    }
    for query in ["ฮ*", "ヌ*", "quick ส*"] {
        assert_eq!(fixture.find(query), [0; 0], "{query}");
    }
    assert_eq!(fixture.find("quick -ส*"), [0]);
}

/// What is found in texts whose letters have several forms, and by what.
const FORMS: &[(&str, &str)] = &[
    ("Crème brûlée à l’été", "brûlée"),
    ("Tiếng Việt rất hay", "việt"),
    ("Ὀδυσσεύς ἄνδρα μοι ἔννεπε", "ἄνδρα"),
    ("ёлка и йод, Київ", "йод"),
    ("שָׁלוֹם עוֹלָם", "שָׁלוֹם"),
    ("أُحِبُّ السِّينِمَا", "السِّينِمَا"),
    ("हिन्दी क़लम फ़िल्म", "फ़िल्म"),
    ("বাংলা ছবি কো", "ছবি"),
    ("தமிழ் கொடி", "கொடி"),
    ("เขาทำงานที่น้ำตก", "ทำงาน"),
    ("ຂ້ອຍດື່ມນ້ຳ", "ນ້ຳ"),
    ("ខ្ញុំស្រលាញ់ភាពយន្ត", "ភាពយន្ត"),
    ("မြန်မာရုပ်ရှင်", "ရုပ်ရှင်"),
    ("어제 영화를 봤다", "영화"),
    ("この映画はパーティーだ", "パーティー"),
    ("神社と葛城の映画", "神社"),
    ("電影院 和 書", "電影"),
];

fn formed(text: &str, form: usize) -> String {
    match form {
        0 => ComposingNormalizer::new_nfc().normalize(text).into_owned(),
        1 => DecomposingNormalizer::new_nfd().normalize(text).into_owned(),
        2 => ComposingNormalizer::new_nfkc().normalize(text).into_owned(),
        _ => DecomposingNormalizer::new_nfkd().normalize(text).into_owned(),
    }
}

#[test]
fn text_and_query_may_each_be_in_any_normal_form() {
    let fixture = Fixture::empty();
    let mut writer = fixture.index.writer().expect("a writer");
    let mut number = 0;
    for (text, _) in FORMS {
        for form in 0..4 {
            writer.add(&comment(number, &formed(text, form))).expect("added");
            number += 1;
        }
        // With what cannot be seen behind each letter.
        let seeded: String = text.chars().flat_map(|character| [character, '\u{FE00}', '\u{E0101}']).collect();
        writer.add(&comment(number, &seeded)).expect("added");
        number += 1;
    }
    writer.commit(&crate::at(1)).expect("committed");
    for (place, (text, word)) in FORMS.iter().enumerate() {
        let first = place as u128 * 5;
        for form in 0..4 {
            for query in [formed(word, form), format!("\"{}\"", formed(word, form)), format!("{}*", formed(word, form))]
            {
                let mut found = fixture.find(&query);
                found.sort_unstable();
                assert_eq!(found, (first..first + 5).collect::<Vec<_>>(), "{query:?} in {text}");
                let marked = Query::new(&query).snippet(&formed(text, 3));
                assert!(marked.contains("<mark>"), "{query:?} in {marked}");
            }
        }
    }
}

#[test]
fn a_search_that_has_no_time_says_so() {
    let fixture = Fixture::of(BODIES);
    let mut query = Query::new("quick");
    query.time_limit = Duration::ZERO;
    let page = fixture.search(&query);
    assert!(!page.is_complete && !page.total_is_exact && page.hits.is_empty());
}

#[test]
fn a_prefix_of_too_many_words_says_so() {
    let bodies: Vec<String> = (0..300).map(|n| format!("word{n} w{}", n % 10)).collect();
    let fixture = Fixture::of(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
    let page = fixture.search(&Query::new("w*"));
    assert!(!page.is_complete && !page.total_is_exact);
    assert_eq!(page.total, 300, "the most frequent words are among them");
    assert!(fixture.search(&Query::new("word1*")).is_complete);
}

#[test]
fn totals_are_exact_up_to_their_bound() {
    let fixture = Fixture::empty();
    let mut writer = fixture.index.writer().expect("a writer");
    for number in 0..u128::from(TOTAL_MAX) {
        writer.add(&comment(number, "film")).expect("added");
    }
    writer.commit(&crate::at(1)).expect("committed");
    let page = fixture.search(&Query::new("film"));
    assert_eq!((page.total, page.total_is_exact), (TOTAL_MAX, true));
    writer.add(&comment(u128::from(TOTAL_MAX), "film")).expect("added");
    writer.commit(&crate::at(2)).expect("committed");
    let page = fixture.search(&Query::new("film"));
    assert_eq!((page.total, page.total_is_exact, page.is_complete), (TOTAL_MAX, false, true));
}

#[test]
fn a_huge_query_is_answered() {
    let fixture = Fixture::of(BODIES);
    for text in ["x".repeat(1_000_000), "猫".repeat(100_000), "a* ".repeat(10_000), "\"a b\" ".repeat(10_000)] {
        fixture.find(&text);
    }
    fixture.find(&format!("\"{}\"", "a ".repeat(10_000)));
    fixture.find(&"-".repeat(10_000));
    fixture.find(&"\"".repeat(10_001));
}

/// Queries made of pieces that mean something, and of anything.
fn any_query() -> impl Strategy<Value = String> {
    let word = prop::sample::select(
        &[
            "quick",
            "brown",
            "fo",
            "the",
            "映画",
            "面白",
            "スパイダー",
            "の",
            "た",
            "电影",
            "영화",
            "สนุก",
            "😂",
            "café",
            "foo_bar",
            "b=c",
            "example.com",
            "a",
            "z",
            "\u{301}",
            "\u{200D}",
            "ｶﾞ",
            "\u{0}",
            "\u{7F}",
            "\u{FFFD}",
            "İ",
            "ß",
            "ﷺ",
            "½",
            "\u{1F3FD}",
        ][..],
    );
    let operator = prop::sample::select(
        &["\"", "-", "*", " ", "\u{3000}", "“", "(", ")", "_", ".", "AND", "^2", "~", "\\", "\n"][..],
    );
    let piece = prop_oneof![3 => word.prop_map(str::to_owned), 3 => operator.prop_map(str::to_owned), 1 => "\\PC{0,6}", 1 => any::<char>().prop_map(String::from)];
    prop_oneof![
        8 => prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
        1 => ("\\PC{1,4}", 1..400_usize).prop_map(|(piece, times)| piece.repeat(times)),
    ]
}

#[test]
fn ten_thousand_generated_queries_are_answered() {
    let fixture = Fixture::of(BODIES);
    let config = ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in any_query(), newest in any::<bool>(), limit in 0..200_usize)| {
        let mut query = Query::new(&text);
        query.limit = limit;
        query.sort = if newest { Sort::Newest } else { Sort::Relevance };
        let page = fixture.search(&query);
        prop_assert!(page.hits.len() as u64 <= page.total && page.is_complete);
        prop_assert!(page.hits.iter().all(|hit| hit.score.is_finite() && hit.score >= 0.0));
        prop_assert_eq!(query.is_empty() && page.total > 0, false);
        for number in numbers(&page) {
            query.snippet(BODIES[number as usize]);
        }
    });
}
