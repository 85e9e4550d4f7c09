use balcony_search::{Comment, Query, Sort};
use uuid::Uuid;

use crate::{Fixture, comment, id, numbers, second};

#[test]
fn every_word_has_to_be_there_in_any_order() {
    let fixture = Fixture::of(&["the quiet night train", "night of the living", "a train at night"]);
    assert_eq!(fixture.find("train"), [2, 0]);
    let mut both = fixture.find("night train");
    both.sort_unstable();
    assert_eq!(both, [0, 2]);
    assert_eq!(fixture.find("night boat"), []);
}

#[test]
fn the_word_itself_counts_more_than_another_form_of_it() {
    let fixture = Fixture::of(&["she runs away", "she is running away", "they run away", "nobody moves"]);
    assert_eq!(fixture.find("running")[0], 1);
    assert_eq!(fixture.find("runs")[0], 0);
    assert_eq!(fixture.find("run")[0], 2);
    assert_eq!(fixture.find("run").len(), 3);
}

#[test]
fn what_is_said_more_often_or_in_fewer_words_is_better() {
    let fixture =
        Fixture::of(&["robots and a very long story about many other things besides them", "robots robots", "other"]);
    assert_eq!(fixture.find("robots"), [1, 0]);
}

#[test]
fn quoted_words_follow_each_other_in_their_own_form() {
    let fixture = Fixture::of(&["a blade runner story", "the runner had a blade", "blade runners"]);
    assert_eq!(fixture.find("\"blade runner\""), [0]);
    assert_eq!(fixture.find("\"Runner  BLADE\""), []);
}

#[test]
fn a_phrase_does_not_reach_from_the_title_into_the_body() {
    let fixture = Fixture::empty();
    let mut writer = fixture.index.writer().expect("a writer");
    let titled = Comment { title: Some("Silent ocean"), ..comment(1, "deep water") };
    writer.add(&titled).expect("added");
    writer.commit(&crate::at(1)).expect("committed");
    assert_eq!(fixture.find("ocean deep"), [1]);
    assert_eq!(fixture.find("\"silent ocean\""), [1]);
    assert_eq!(fixture.find("\"ocean deep\""), []);
}

#[test]
fn unwanted_words_and_phrases_must_not_be_there() {
    let fixture = Fixture::of(&["good film", "good bad film", "good but bad luck"]);
    assert_eq!(fixture.find("good -bad"), [0]);
    assert_eq!(fixture.find("good -\"bad luck\"").len(), 2);
    assert_eq!(fixture.find("-bad"), []);
}

#[test]
fn a_prefix_finds_every_word_that_begins_so() {
    let fixture = Fixture::of(&["wonderful", "wonders of the world", "wander"]);
    assert_eq!(fixture.find("wonder*").len(), 2);
    assert_eq!(fixture.find("wor*"), [1]);
    assert_eq!(fixture.find("xyz*"), []);
    assert_eq!(fixture.find("w* -wander").len(), 2);
}

#[test]
fn german_umlauts_fold_and_compounds_are_found_by_their_beginning() {
    let fixture = Fixture::of(&["Ein schöner Abend im Müllerkino", "Straßenfilme sind toll", "Über alle Maßen"]);
    assert_eq!(fixture.find("schoner"), [0]);
    assert_eq!(fixture.find("SCHÖNER"), [0]);
    assert_eq!(fixture.find("müller*"), [0]);
    assert_eq!(fixture.find("strassen*"), [1]);
    assert_eq!(fixture.find("uber massen"), [2]);
}

#[test]
fn accents_do_not_count() {
    let fixture = Fixture::of(&["Un café à Paris", "cafe\u{301} noir", "coffee"]);
    assert_eq!(fixture.find("cafe").len(), 2);
    assert_eq!(fixture.find("CAFÉ").len(), 2);
}

#[test]
fn a_japanese_word_is_found_inside_a_sentence() {
    let fixture = Fixture::of(&["この映画はとても面白かったです", "音楽が最高でした", "猫の恩返しを見て泣いた"]);
    assert_eq!(fixture.find("映画"), [0]);
    assert_eq!(fixture.find("面白かった"), [0]);
    assert_eq!(fixture.find("最高"), [1]);
    assert_eq!(fixture.find("猫"), [2]);
    assert_eq!(fixture.find("猫の恩返し"), [2]);
    assert_eq!(fixture.find("とても"), [0]);
    assert_eq!(fixture.find("映画 最高"), []);
}

#[test]
fn what_no_japanese_dictionary_knows_is_found() {
    let fixture = Fixture::of(&[
        "昨日ゴルベドーザが出てきた",
        "剛力彩芽さんの演技",
        "アメイジングスパイダーマンシリーズ完結",
        "それなやばたにえんすぎ",
        "東京特許許可局局長",
    ]);
    assert_eq!(fixture.find("ゴルベドーザ"), [0]);
    assert_eq!(fixture.find("彩芽"), [1]);
    assert_eq!(fixture.find("剛力彩芽"), [1]);
    assert_eq!(fixture.find("スパイダーマン"), [2]);
    assert_eq!(fixture.find("パイダー"), [2]);
    assert_eq!(fixture.find("シリーズ"), [2]);
    assert_eq!(fixture.find("やばたにえん"), [3]);
    assert_eq!(fixture.find("許可局"), [4]);
    assert_eq!(fixture.find("ｽﾊﾟｲﾀﾞｰﾏﾝ"), [2]);
}

#[test]
fn a_word_counts_more_than_the_same_characters_across_words() {
    let fixture = Fixture::of(&["東京都の話です", "京都の話ですよ"]);
    assert_eq!(fixture.find("京都"), [1, 0]);
}

#[test]
fn japanese_words_typed_together_need_not_stand_together_but_had_better() {
    let fixture = Fixture::of(&["映画はとても面白い", "面白い映画でした", "面白い本"]);
    assert_eq!(fixture.find("面白い映画"), [1, 0]);
    assert_eq!(fixture.find("\"面白い映画\""), [1]);
    assert_eq!(fixture.find("面白い -映画"), [2]);
}

#[test]
fn chinese_korean_and_thai_words_are_found_inside_sentences() {
    let fixture = Fixture::of(&[
        "我昨天看了一部很好的电影",
        "어제 본 영화가 재미있었어요",
        "ภาพยนตร์เรื่องนี้สนุกมาก",
        "王家卫的花样年华",
        "책을 읽고 BTS의 노래를 들었다",
        "ก้องภพแสดงได้ดี",
    ]);
    assert_eq!(fixture.find("电影"), [0]);
    assert_eq!(fixture.find("花样年华"), [3]);
    assert_eq!(fixture.find("家卫"), [3]);
    assert_eq!(fixture.find("영화"), [1]);
    assert_eq!(fixture.find("재미"), [1]);
    assert_eq!(fixture.find("책"), [4]);
    assert_eq!(fixture.find("bts"), [4]);
    assert_eq!(fixture.find("\"본 영화가\""), [1]);
    assert_eq!(fixture.find("ภาพยนตร์"), [2]);
    assert_eq!(fixture.find("สนุก"), [2]);
    assert_eq!(fixture.find("ก้องภพ"), [5]);
}

#[test]
fn scripts_may_be_mixed() {
    let fixture = Fixture::of(&["iPhoneで撮ったBlade Runner風の映画", "Runner風", "iPhoneの映画"]);
    assert_eq!(fixture.find("iphone 映画").len(), 2);
    assert_eq!(fixture.find("iPhoneで撮った"), [0]);
    assert_eq!(fixture.find("\"Blade Runner風\""), [0]);
    assert_eq!(fixture.find("映画 -\"Blade Runner風\""), [2]);
    assert_eq!(fixture.find("映画 -iPhoneで撮った"), [2]);
}

#[test]
fn emoji_are_found() {
    let fixture = Fixture::of(&["so funny 😂😂😂", "I love it ❤️", "thumbs 👍🏽 up", "🤷‍♀️ whatever", "nothing"]);
    assert_eq!(fixture.find("😂"), [0]);
    assert_eq!(fixture.find("😂😂"), [0]);
    assert_eq!(fixture.find("❤"), [1]);
    assert_eq!(fixture.find("👍"), [2]);
    assert_eq!(fixture.find("🤷‍♀️"), [3]);
    assert_eq!(fixture.find("🤷"), [3]);
}

#[test]
fn addresses_and_code_are_found_by_their_words() {
    let fixture = Fixture::of(&[
        "see https://www.example.com/films/blade-runner?x=1 for more",
        "call foo_bar() twice",
        "a std::vec of foo and bar",
        "#nofilter @somebody",
    ]);
    assert_eq!(fixture.find("example.com"), [0]);
    assert_eq!(fixture.find("www.example.com"), [0]);
    assert_eq!(fixture.find("https://www.example.com/films"), [0]);
    assert_eq!(fixture.find("runner"), [0]);
    assert_eq!(fixture.find("foo_bar()"), [1]);
    assert_eq!(fixture.find("foo bar").len(), 2);
    assert_eq!(fixture.find("std::vec"), [2]);
    assert_eq!(fixture.find("vec"), [2]);
    assert_eq!(fixture.find("nofilter"), [3]);
    assert_eq!(fixture.find("@somebody"), [3]);
}

#[test]
fn filters_narrow_and_do_not_change_scores() {
    let fixture = Fixture::of(&["film one", "film two", "film three", "film four", "film five", "film six"]);
    let all = fixture.search(&Query::new("film"));
    let with = |change: fn(&mut Query)| {
        let mut query = Query::new("film");
        change(&mut query);
        let page = fixture.search(&query);
        assert!(page.hits.iter().all(|hit| all.hits.contains(hit)));
        let mut found = numbers(&page);
        found.sort_unstable();
        found
    };
    assert_eq!(with(|query| query.movie = Some(Uuid::from_u128(1))), [1, 4]);
    assert_eq!(with(|query| query.author = Some(Uuid::from_u128(2))), [2, 5]);
    assert_eq!(with(|query| query.since = Some(second(4))), [4, 5]);
    assert_eq!(with(|query| query.until = Some(second(2))), [0, 1]);
    assert_eq!(with(|query| (query.since, query.until) = (Some(second(1)), Some(second(3)))), [1, 2]);
    assert_eq!(with(|query| (query.since, query.until) = (Some(second(3)), Some(second(1)))), [0; 0]);
    assert_eq!(with(|query| (query.movie, query.since) = (Some(Uuid::from_u128(0)), Some(second(1)))), [3]);
    assert_eq!(with(|query| query.movie = Some(Uuid::from_u128(9))), [0; 0]);
}

#[test]
fn newest_first_has_the_same_comments_and_scores() {
    let fixture = Fixture::of(&["film film", "a film", "another film of films", "nothing"]);
    let mut query = Query::new("film");
    let best = fixture.search(&query);
    query.sort = Sort::Newest;
    let newest = fixture.search(&query);
    assert_eq!(numbers(&newest), [2, 1, 0]);
    assert!(newest.hits.iter().all(|hit| best.hits.contains(hit)), "{newest:?} {best:?}");
}

#[test]
fn equal_comments_are_ordered_by_id() {
    let fixture = Fixture::of(&["same", "same", "same"]);
    assert_eq!(fixture.find("same"), [2, 1, 0]);
    assert_eq!(fixture.search(&Query::new("same")).hits[0].id, id(2));
}
