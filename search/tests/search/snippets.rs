use balcony_search::Query;
use proptest::prelude::*;

fn snippet(query: &str, text: &str) -> String {
    Query::new(query).snippet(text)
}

#[test]
fn what_was_found_is_marked_in_the_same_way_as_it_is_found() {
    assert_eq!(
        snippet("films café", "A CAFE of film, cafés"),
        "A <mark>CAFE</mark> of <mark>film</mark>, <mark>cafés</mark>"
    );
    assert_eq!(snippet("\"blade runner\"", "Blade. Runner blade"), "<mark>Blade. Runner</mark> blade");
    assert_eq!(snippet("wor* -bad", "Worlds bad work"), "<mark>Worlds</mark> bad <mark>work</mark>");
    assert_eq!(snippet("foo_bar", "x foo_bar() y"), "x <mark>foo_bar</mark>() y");
}

#[test]
fn japanese_is_marked_inside_sentences_and_through_width() {
    assert_eq!(snippet("映画", "この映画は面白い映画だ"), "この<mark>映画</mark>は面白い<mark>映画</mark>だ");
    assert_eq!(snippet("面白い映画", "面白い映画だ"), "<mark>面白い映画</mark>だ");
    assert_eq!(snippet("ガンダム", "見たｶﾞﾝﾀﾞﾑ!"), "見た<mark>ｶﾞﾝﾀﾞﾑ</mark>!");
    assert_eq!(snippet("영화", "어제 영화를"), "어제 <mark>영화</mark>를");
    assert_eq!(snippet("😂", "so 😂😂"), "so <mark>😂😂</mark>");
}

#[test]
fn a_page_may_show_it() {
    assert_eq!(
        snippet("script b", "<script>alert('b' & \"c\")</script>"),
        "&lt;<mark>script</mark>&gt;alert(&#39;<mark>b</mark>&#39; &amp; &quot;c&quot;)&lt;/<mark>script</mark>&gt;"
    );
    assert_eq!(snippet("mark", "<mark>"), "&lt;<mark>mark</mark>&gt;");
}

#[test]
fn white_space_is_single_spaces() {
    assert_eq!(snippet("b", "  a\n\n\tb \u{3000} c\u{0} "), "a <mark>b</mark> c");
}

#[test]
fn a_long_text_is_cut_around_the_best_part_at_words() {
    let filler = "lorem ipsum dolor sit amet ".repeat(40);
    let text = format!("{filler}blade {filler}here is a blade and a runner too {filler}");
    let snippet = snippet("blade runner", &text);
    assert!(snippet.contains("a <mark>blade</mark> and a <mark>runner</mark> too"), "{snippet}");
    assert!(snippet.starts_with('…') && snippet.ends_with('…'), "{snippet}");
    let plain = snippet.replace("<mark>", "").replace("</mark>", "");
    assert!((150..=202).contains(&plain.chars().count()), "{snippet}");
    for word in plain.trim_matches('…').split(' ') {
        assert!(text.contains(&format!(" {word} ")), "{word:?} in {snippet}");
    }
}

#[test]
fn a_text_without_a_match_is_shown_from_its_beginning() {
    let text = "word ".repeat(100);
    let snippet = snippet("title", &text);
    assert!(snippet.starts_with("word word") && snippet.ends_with("word…"), "{snippet}");
    assert_eq!(Query::new("").snippet("short"), "short");
    assert_eq!(Query::new("x").snippet(""), "");
}

#[test]
fn text_without_words_is_cut_too() {
    assert_eq!(snippet("x", &"!".repeat(1_000)).chars().count(), 201);
    assert!(snippet("猫", &"猫".repeat(1_000)).chars().count() < 230);
}

#[test]
fn marks_do_not_cut_what_a_reader_sees_as_one_character() {
    assert_eq!(snippet("\"กา\"", "ดูกา\u{E49}ตัว"), "ดู<mark>กา\u{E49}</mark>ตัว");
    assert_eq!(snippet("葛", "葛\u{E0100}城"), "<mark>葛\u{E0100}</mark>城");
    assert_eq!(snippet("か", "か\u{301}く"), "<mark>か\u{301}</mark>く");
    assert_eq!(snippet("1", "1\u{FE0F}\u{20E3} x"), "<mark>1\u{FE0F}\u{20E3}</mark> x");
    assert_eq!(snippet("👍", "👍🏽!"), "<mark>👍🏽</mark>!");
    assert_eq!(snippet("👧", "a 👨\u{200D}👩\u{200D}👧 b"), "a <mark>👨\u{200D}👩\u{200D}👧</mark> b");
    assert_eq!(snippet("cafe", "cafe\u{301}"), "<mark>cafe\u{301}</mark>");
}

#[test]
fn a_short_prefix_is_marked_in_scripts_without_spaces() {
    assert_eq!(snippet("ส*", "นี้สนุกมาก"), "นี้<mark>สนุก</mark>มาก");
    assert_eq!(snippet("ｽ*", "この映画スパイダー"), "この映画<mark>スパイダー</mark>");
}

#[test]
fn when_the_time_is_up_a_text_is_shown_from_its_beginning() {
    let query = Query::new("blade");
    let mut snippets = query.snippets(Some(std::time::Instant::now()));
    let text = format!("{}blade", "word ".repeat(100));
    assert!(snippets.of(&text).starts_with("word word"));
    assert_eq!(snippets.of("a <blade>"), "a &lt;blade&gt;");
    let mut snippets = query.snippets(None);
    assert_eq!(snippets.of("a <blade>"), "a &lt;<mark>blade</mark>&gt;");
}

/// Where `text` may be cut.
fn boundaries(text: &str) -> Vec<usize> {
    icu_segmenter::GraphemeClusterSegmenter::new().segment_str(text).collect()
}

proptest! {
    #[test]
    fn marks_and_ends_stand_between_grapheme_clusters(
        pieces in prop::collection::vec(prop::sample::select(&[
            "👨\u{200D}👩\u{200D}👧", "👍🏽", "1\u{FE0F}\u{20E3}", "กา\u{E49}", "葛\u{E0100}", "e\u{301}", "각", "a", "の", "𓀀\u{301}",
        ][..]), 1..300),
        wanted in prop::sample::select(&["👩", "👍", "1", "กา", "葛", "e", "각", "a", "の"][..]),
    ) {
        let text = pieces.concat();
        let snippet = snippet(wanted, &text);
        // A number before each piece would tell places apart; without, any place where it stands will do.
        let (mut plain, mut marks) = (String::new(), Vec::new());
        let inner = snippet.trim_matches('…');
        for part in inner.split_inclusive('>') {
            let tag = part.find('<').unwrap_or(part.len());
            plain.push_str(&part[..tag]);
            if tag < part.len() {
                marks.push(plain.len());
            }
        }
        let of_text = boundaries(&text);
        let stands = |at: usize| {
            let is_boundary = |byte: usize| of_text.binary_search(&byte).is_ok();
            is_boundary(at) && is_boundary(at + plain.len()) && marks.iter().all(|mark| is_boundary(at + mark))
        };
        prop_assert!(text.match_indices(&plain).any(|(at, _)| stands(at)), "{} of {}", snippet, text);
    }

    #[test]
    fn any_snippet_is_short_and_safe(query in "\\PC{0,20}|[a-c猫犬\"*\\- ]{0,12}", text in "\\PC{0,400}|[a-c猫犬ｶﾞ<>&\"' \n]{0,600}") {
        let snippet = snippet(&query, &text);
        let plain = snippet.replace("<mark>", "").replace("</mark>", "");
        prop_assert!(!plain.contains(['<', '>', '"', '\'', '\n']), "{}", snippet);
        prop_assert_eq!(snippet.matches("<mark>").count(), snippet.matches("</mark>").count());
        let read = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&");
        prop_assert!(read.chars().count() <= 202, "{}", snippet);
        let squeezed: String = text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
        let shown: String = read.trim_matches('…').chars().filter(|c| !c.is_whitespace()).collect();
        prop_assert!(squeezed.contains(&shown), "{:?} in {:?}", shown, squeezed);
    }
}
