use balcony_search::{Cursor, Page, Query, Sort};

use crate::{Fixture, at, comment, id, numbers};

fn page(fixture: &Fixture, sort: Sort, limit: usize, after: Option<Cursor>) -> Page {
    let mut query = Query::new("film");
    (query.sort, query.limit, query.after) = (sort, limit, after);
    fixture.search(&query)
}

fn all_pages(fixture: &Fixture, sort: Sort, limit: usize, mut between: impl FnMut(u128)) -> Vec<u128> {
    let (mut found, mut after, mut turn) = (Vec::new(), None, 0);
    loop {
        let page = page(fixture, sort, limit, after);
        found.extend(numbers(&page));
        match page.next {
            None => return found,
            next => after = next,
        }
        turn += 1;
        between(turn);
    }
}

/// Thirty comments with scores of several kinds.
fn thirty() -> Fixture {
    let bodies: Vec<String> = (0..30).map(|n| format!("film {}", "other ".repeat(n % 4))).collect();
    Fixture::of(&bodies.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn pages_together_are_everything_in_order() {
    let fixture = thirty();
    for sort in [Sort::Relevance, Sort::Newest] {
        let whole = numbers(&page(&fixture, sort, 100, None));
        assert_eq!(whole.len(), 30);
        for limit in [1, 7, 10, 29, 30, 31] {
            assert_eq!(all_pages(&fixture, sort, limit, |_| ()), whole, "{sort:?} {limit}");
        }
    }
    assert_eq!(all_pages(&fixture, Sort::Newest, 4, |_| ()), (0..30).rev().collect::<Vec<_>>());
}

#[test]
fn pages_do_not_repeat_or_skip_while_others_write() {
    for sort in [Sort::Relevance, Sort::Newest] {
        let fixture = thirty();
        let whole = numbers(&page(&fixture, sort, 100, None));
        let mut writer = fixture.index.writer().expect("a writer");
        let found = all_pages(&fixture, sort, 3, |turn| {
            // Newer, better and longer ones, which move every score.
            for (number, body) in [(0, "film"), (1, "film film film"), (2, &*"film ".repeat(50))] {
                writer.add(&comment(100 + turn * 3 + number, body)).expect("added");
            }
            writer.commit(&at(turn as i64)).expect("committed");
        });
        assert_eq!(found, whole, "{sort:?}");
    }
}

#[test]
fn a_cursor_outlives_the_comment_it_points_at() {
    let fixture = thirty();
    let first = page(&fixture, Sort::Newest, 5, None);
    let mut writer = fixture.index.writer().expect("a writer");
    writer.delete(id(25)).expect("deleted");
    writer.commit(&at(1)).expect("committed");
    assert_eq!(numbers(&page(&fixture, Sort::Newest, 3, first.next)), [24, 23, 22]);
}

#[test]
fn a_cursor_of_a_forgotten_state_goes_on_by_its_key() {
    let fixture = thirty();
    let first = page(&fixture, Sort::Relevance, 10, None);
    let whole = numbers(&page(&fixture, Sort::Relevance, 100, None));
    let other_process =
        balcony_search::Index::open(fixture.index.directory(), balcony_search::Check::Structure).expect("an index");
    let mut query = Query::new("film");
    query.after = first.next.map(|cursor| Cursor { snapshot: cursor.snapshot ^ 1, ..cursor });
    query.limit = 100;
    assert_eq!(numbers(&other_process.search(&query).expect("searched")), whole[10..]);
}

#[test]
fn a_state_has_one_name_in_every_process() {
    let fixture = thirty();
    let other =
        balcony_search::Index::open(fixture.index.directory(), balcony_search::Check::Structure).expect("an index");
    let mut query = Query::new("film");
    query.limit = 1;
    assert_eq!(other.search(&query).expect("searched").next, fixture.search(&query).next);
}

#[test]
fn any_cursor_is_answered() {
    let fixture = thirty();
    for key in [i64::MIN, -1, 0, 1, i64::MAX] {
        for sort in [Sort::Relevance, Sort::Newest] {
            page(&fixture, sort, 5, Some(Cursor { key, id: id(u128::MAX), snapshot: 0 }));
        }
    }
}
