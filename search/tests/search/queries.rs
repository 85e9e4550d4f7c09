use std::time::Duration;

use balcony_search::{Query, Sort, TOTAL_MAX};
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
