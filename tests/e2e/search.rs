//! Comments are found by what they say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_search::{Check, Index, Kept};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{StatusCode, Url};
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Answer, Client};
use crate::crash::{Load, append, assert_all_there};
use crate::deployment::{Deployment, Kind};
use crate::fold::{Fold, equals_a_fold};
use crate::read_models::ReadModels;
use crate::rebuild::{operate, succeeded};

const PATIENCE: Duration = Duration::from_secs(20);

/// The answer to a search with these parameters.
async fn search(client: &Client, parameters: &[(&str, &str)]) -> Answer {
    let url = Url::parse_with_params("http://x/v1/search", parameters).unwrap();
    client.get(&format!("/v1/search?{}", url.query().unwrap())).await
}

/// The ids of what is found.
#[track_caller]
fn ids(answer: &Answer) -> Vec<String> {
    let page = answer.json();
    let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
    items.iter().map(|item| item["comment"]["id"].as_str().unwrap().to_owned()).collect()
}

async fn found(client: &Client, text: &str) -> Vec<String> {
    ids(&search(client, &[("q", text), ("wait", "10s")]).await.expect(StatusCode::OK))
}

pub async fn a_comment_is_found_at_once_with_its_token_and_gone_at_once(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let ana = deployment.user("ana");
    let said = [
        ("The last battle, in the rain", &["battle", "BATTLES", "\"last battle\"", "rai*", "battle -snow"][..]),
        ("東京都の映画館で『セブンサムライ』を見ました。", &["映画館", "サムライ", "東京"]),
        ("Straßenbahnfahrer über Brücken", &["strassenbahn*", "brucken", "Über"]),
        ("这部电影非常好看", &["电影", "好看"]),
        ("🎬 see https://example.com/review?id=7 or call `frame_rate()`", &["🎬", "example.com", "frame_rate"]),
    ];
    for (body, queries) in said {
        let posted = ana.comment(&movie, body).await;
        let reader = ana.clone().having_seen(&posted);
        for query in queries {
            assert_eq!(found(&reader, query).await, [posted.id()], "{query:?} in {body:?}");
        }
        // Others have it a moment later, without any token.
        eventually("it is found without a token", PATIENCE, async || {
            (ids(&search(&deployment.nobody(), &[("q", queries[0])]).await) == [posted.id()]).then_some(())
        })
        .await;
        let deleted = ana.delete(&posted.header("location")).await.expect(StatusCode::NO_CONTENT);
        let reader = ana.clone().having_seen(&deleted);
        assert_eq!(found(&reader, queries[0]).await, Vec::<String>::new());
        let shown = search(&reader, &[("q", queries[0])]).await.json();
        assert_eq!((&shown["total"], &shown["total_is_exact"]), (&json!(0), &json!(true)));
    }
}

pub async fn what_is_found_can_be_narrowed_ordered_and_shown(deployment: Deployment) {
    let admin = deployment.admin();
    let (first, second) = (admin.register_movie("First").await.id(), admin.register_movie("Second").await.id());
    let (ana, ben) = (deployment.user("ana"), deployment.user("ben"));
    let tea = "<script>alert('tea')</script> & tea";
    let one = ana.comment(&first, tea).await;
    let two = ben.comment(&second, "tea, and then nothing of the kind for a long while").await;
    let titled = json!({"title": "On tea", "body": "quite another thing"});
    let three = ben.post(&format!("/v1/movies/{first}/comments"), &titled).await.expect(StatusCode::CREATED);
    let reader = deployment.nobody().having_seen(&three);

    let all = search(&reader, &[("q", "tea"), ("sort", "newest"), ("wait", "10s")]).await.expect(StatusCode::OK);
    assert_eq!(ids(&all), [three.id(), two.id(), one.id()]);
    assert_eq!(ids(&search(&reader, &[("q", "tea")]).await)[0], one.id(), "it says so more often");
    assert!(all.headers.contains_key("etag"));
    assert_eq!(ids(&search(&reader, &[("q", "tea"), ("movie", &second)]).await), [two.id()]);
    let author = all.json()["items"][0]["comment"]["author"]["id"].as_str().unwrap().to_owned();
    let by_ben = search(&reader, &[("q", "tea"), ("author", &author), ("sort", "newest")]).await;
    assert_eq!(ids(&by_ben), [three.id(), two.id()]);
    let at = all.json()["items"][1]["comment"]["posted_at"].as_str().unwrap().to_owned();
    assert!(ids(&search(&reader, &[("q", "tea"), ("since", &at)]).await).contains(&two.id()));
    assert!(!ids(&search(&reader, &[("q", "tea"), ("until", &at)]).await).contains(&two.id()));

    let snippets: Vec<String> = all.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["snippet"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(snippets[0], "On <mark>tea</mark>");
    assert!(
        snippets[2].starts_with("&lt;script&gt;") && snippets[2].contains("&amp; <mark>tea</mark>"),
        "{snippets:?}"
    );

    for (parameters, pointer) in [
        (&[("movie", "x"), ("q", "tea")][..], "?movie"),
        (&[("q", "tea"), ("sort", "oldest")], "?sort"),
        (&[("q", "tea"), ("cursor", "x")], "?cursor"),
        (&[("q", "tea"), ("limit", "0")], "?limit"),
        (&[("limit", "1")], "?q"),
    ] {
        assert_eq!(search(&reader, parameters).await.problem(422), [pointer]);
    }
}

pub async fn pages_of_what_is_found_repeat_and_skip_nothing_while_others_post(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let ana = deployment.user("ana");
    let mut there = BTreeSet::new();
    let mut last = None;
    for number in 0..60 {
        let posted = ana.comment(&movie, &format!("a comment, number {number}")).await;
        there.insert(posted.id());
        last = Some(posted);
    }
    let reader = deployment.nobody().having_seen(&last.unwrap());
    for sort in ["newest", "relevance"] {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut parameters = vec![("q", "comment"), ("sort", sort), ("limit", "7"), ("wait", "10s")];
            parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = search(&reader, &parameters).await.expect(StatusCode::OK);
            seen.extend(ids(&page));
            ana.comment(&movie, "a comment in between").await;
            match page.json()["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        let once: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!(seen.len(), once.len(), "{sort}: nothing comes twice");
        assert!(once.is_superset(&there), "{sort}: nothing is passed over");
    }
}

pub async fn ten_thousand_queries_are_answered(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let ana = deployment.user("ana");
    for body in ["the last battle in the rain", "東京都の映画館で見ました", "foo_bar() at www.example.com", "Straße"]
    {
        ana.comment(&movie, body).await;
    }
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut tasks = JoinSet::new();
    for number in 0..8_u64 {
        let client = deployment.nobody();
        tasks.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed ^ number);
            for _ in 0..1_250 {
                let query = any_query(&mut random);
                let answer = search(&client, &[("q", &query)]).await;
                assert_eq!(answer.status, StatusCode::OK, "{query:?}: {}", answer.text);
            }
        });
    }
    tasks.join_all().await;
}

/// Words, pieces of the language of queries, and characters of every kind.
fn any_query(random: &mut StdRng) -> String {
    let pieces = [
        "\"", "*", "-", "-\"", "(", ")", ":", "AND", "OR", "NOT", "~2", "^3", "[a TO b]", "title:", "\\", "/x/",
        "rain", "battl", "映画", "ーー", "🎬", "é", "ß", "\u{202e}", "\n", " ", "  ",
    ];
    let mut query = String::new();
    for _ in 0..random.random_range(0..30) {
        if random.random_bool(0.7) {
            query.push_str(pieces[random.random_range(0..pieces.len())]);
        } else if let Some(character) = char::from_u32(random.random_range(1..0x11_0000)) {
            query.push(character);
        }
        if random.random_bool(0.4) {
            query.push(' ');
        }
    }
    query
}

pub async fn the_index_is_rebuilt_while_people_search(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let kept = deployment.user("ana").comment(&movie, "this one stays").await;
    let mut load = Load::start(&deployment, &movie);
    load.acknowledged(100).await;
    let reader = deployment.nobody().having_seen(&kept);
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let (reader, id, stop) = (reader.clone(), kept.id(), stop.clone());
        readers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(found(&reader, "stays").await, [id.as_str()]);
            }
        });
    }
    let mut said = String::new();
    for generation in 2..4 {
        said = succeeded(&operate(&deployment, &["rebuild", "search"]).await);
        assert!(said.contains(&format!("search: generation {generation} is live")), "{said}");
    }
    assert!(said.contains("generation 2 is kept"), "{said}");
    let said = succeeded(&operate(&deployment, &["rollback", "search"]).await);
    assert!(said.contains("generation 2 is live again"), "{said}");
    load.acknowledged(100).await;
    let last = deployment.user("ana").comment(&movie, "caught up").await;
    assert_eq!(found(&deployment.nobody().having_seen(&last), "\"caught up\"").await, [last.id()]);
    stop.store(true, Ordering::Relaxed);
    readers.join_all().await;
    load.stop().await;
    if let Kind::Embedded { .. } = deployment.kind {
        eventually("only what can be gone back to is left", PATIENCE, async || {
            (indexes(&deployment).len() == 2).then_some(())
        })
        .await;
    }
}

/// The folders of indexes.
fn indexes(deployment: &Deployment) -> Vec<PathBuf> {
    let (_, data_dir) = deployment.settings.iter().find(|(name, _)| *name == "DATA_DIR").unwrap();
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    };
    let logs = entries(&Path::new(data_dir).join("search"));
    logs.iter().flat_map(|log| entries(log)).flat_map(|process| entries(&process)).collect()
}

/// Checks that an index that nobody writes holds what a fold does.
async fn index_holds(index: &Path, fold: &Fold) {
    let (index, fold) = (index.to_owned(), fold.comments.clone());
    let checked = tokio::task::spawn_blocking(move || {
        let writer = Index::open(&index, Check::Checksums).unwrap().writer().unwrap();
        for (id, (_, author, deleted)) in fold {
            let expected = if deleted { Kept::Deleted } else { Kept::Comment { author } };
            assert_eq!(writer.find(id).unwrap(), Some(expected), "{id}");
        }
    });
    checked.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_survives_kill_9_and_damage() {
    let mut deployment = Deployment::embedded().await;
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut all = Vec::new();
    for round in 0..6 {
        let mut load = Load::start(&deployment, &movie);
        load.acknowledged(50 + 100 * round).await;
        deployment.kill("balcony");
        all.extend(load.stop().await);
        if round == 4 {
            let index = indexes(&deployment).pop().unwrap();
            let entries = std::fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
            for file in entries.filter(|path| path.extension().is_some_and(|extension| extension == "idx")) {
                std::fs::write(file, "not what it was").unwrap();
            }
        }
        deployment.start("balcony", &[]).await;
    }
    let last = deployment.user("writer 0").comment(&movie, "the very last one").await;
    assert_eq!(found(&deployment.nobody().having_seen(&last), "very").await, [last.id()]);
    let fold = equals_a_fold(&deployment).await;
    assert_all_there(&fold, &all);
    assert!(deployment.process_mut("balcony").terminate().await.success());
    let [index] = &indexes(&deployment)[..] else { panic!("one index") };
    index_holds(index, &fold).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_api_has_its_own_index_and_is_ready_when_that_has_caught_up() {
    let Some(mut deployment) = Deployment::distributed().await else { return };
    let movie = deployment.admin().register_movie("A movie").await.id();
    append(deployment.log().await, deployment.topics().facts, 5_000).await;
    let posted = deployment.user("ana").comment(&movie, "quite unlike the others").await;

    // The same data folder, and a new node: ready is what starting waits for.
    let second = deployment.start("query-api", &["query-api"]).await;
    let other = deployment.nobody();
    let other = other.clone().talking_to(&other.commands, &deployment.processes[second].url);
    assert_eq!(ids(&search(&other, &[("q", "unlike")]).await), [posted.id()], "ready is ready");
    assert_eq!(indexes(&deployment).len(), 2);

    // A node that was away goes on where it was; a rebuild is done by all.
    deployment.kill("query-api");
    let third = deployment.start("query-api", &["query-api"]).await;
    let said = succeeded(&operate(&deployment, &["rebuild", "search"]).await);
    assert!(said.contains("generation 2 is live"), "{said}");
    for node in [second, third].map(|node| node - 1) {
        let node = other.clone().talking_to(&other.commands, &deployment.processes[node].url);
        assert_eq!(found(&node.having_seen(&posted), "unlike").await, [posted.id()]);
    }
    let fold = equals_a_fold(&deployment).await;
    let read_models = ReadModels::of(&deployment).await;
    let ends = deployment.log().await.ends(&[deployment.topics().facts]).await.unwrap();
    read_models.caught_up(&["search"], &ends).await;
    eventually("both nodes have the new index", PATIENCE, async || {
        let new = indexes(&deployment).into_iter().filter(|index| index.ends_with("balcony_search_2"));
        (new.count() == 2).then_some(())
    })
    .await;
    for index in indexes(&deployment) {
        // Its node may be a moment behind the one that writes down how far it is.
        eventually("the index holds the log", PATIENCE, async || {
            let index = Index::open(&index, Check::Structure).ok()?;
            (index.directory().ends_with("balcony_search_1") || index.positions().covers(&ends)).then_some(())
        })
        .await;
    }
    for process in &mut deployment.processes {
        if process.name == "query-api" {
            assert!(process.terminate().await.success());
        }
    }
    for index in indexes(&deployment).into_iter().filter(|index| index.ends_with("balcony_search_2")) {
        index_holds(&index, &fold).await;
    }
}
