//! What operators see and do over HTTP.

use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_event_log::{Headers, Message};
use balcony_http::Role;
use balcony_http::cursor::{Key, Scope, encode};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::deployment::Deployment;
use crate::parked::{append, broken, movie};

const PATIENCE: Duration = Duration::from_secs(30);

async fn act(operator: &Client, path: &str) -> Answer {
    operator.send(Method::POST, format!("{}{path}", operator.queries), None).await.unwrap()
}

fn items(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().unwrap().clone()
}

async fn step(operator: &Client, name: &str) -> Value {
    let steps = operator.get("/v1/admin/steps").await.expect(StatusCode::OK).json();
    let steps = steps["projections"].as_array().unwrap().clone();
    steps.into_iter().find(|step| step["name"] == name).unwrap()
}

pub async fn operators_alone_see_the_steps_and_rebuild_them(deployment: Deployment) {
    let (admin, nobody) = (deployment.admin(), deployment.nobody());
    for path in [
        "/v1/admin/steps",
        "/v1/admin/steps/history",
        "/v1/admin/topics",
        "/v1/admin/topics/events/records",
        "/v1/admin/parked",
    ] {
        nobody.get(path).await.problem(401);
        deployment.user("mia").get(path).await.problem(403);
    }
    let movie = admin.register_movie("Ran").await;
    // How the steps were doing is remembered before anybody asks.
    eventually("there is a history", PATIENCE, async || {
        let course = admin.get("/v1/admin/steps/history").await.expect(StatusCode::OK).json();
        let comments = course["steps"].as_array().unwrap().iter().find(|step| step["name"] == "comments")?.clone();
        let looks = course["times"].as_array().unwrap().len();
        for figure in ["state", "generation", "lag_events", "lag_seconds", "events_per_second"] {
            assert_eq!(comments[figure].as_array().unwrap().len(), looks, "{figure}");
        }
        comments["state"].as_array().unwrap().contains(&"running".into()).then_some(())
    })
    .await;
    eventually("all is well", PATIENCE, async || {
        let registry = step(&admin, "registry").await;
        (registry["ill"] == false && registry["state"] == "running" && registry["lag"]["events"] == 0).then_some(())
    })
    .await;

    let before = step(&admin, "comments").await["generation"].as_i64().unwrap();
    let rebuilt = act(&admin, "/v1/admin/steps/comments/rebuild").await.expect(StatusCode::ACCEPTED).json();
    assert_eq!(rebuilt["generation"], before + 1);
    eventually("the new generation is live", PATIENCE, async || {
        (step(&admin, "comments").await["generation"] == before + 1).then_some(())
    })
    .await;
    act(&admin, "/v1/admin/steps/comments/cancel").await.problem(409);
    let back = act(&admin, "/v1/admin/steps/comments/rollback").await.expect(StatusCode::OK).json();
    assert_eq!((&back["live"], &back["retired"]), (&Value::from(before), &Value::from(before + 1)));
    act(&admin, "/v1/admin/steps/nothing/rebuild").await.problem(404);
    act(&admin, "/v1/admin/steps/comments/rebuild?keep=1").await.problem(422);
    act(&deployment.user("mia"), "/v1/admin/steps/comments/rebuild").await.problem(403);

    // What was there is there.
    let reader = nobody.having_seen(&movie);
    reader.get(&format!("/v1/movies/{}", movie.id())).await.expect(StatusCode::OK);
}

/// What stands in the key of a cursor, as somebody forges it.
struct Forged(Vec<u8>);

impl Key for Forged {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.to_vec()))
    }
}

pub async fn a_cursor_with_what_no_database_has_is_refused(deployment: Deployment) {
    let admin = deployment.admin();
    let points = Scope::of("stats").with("stream", "events").with("window", 3_600_000);
    let ranking = Scope::of("top").with("stream", "events").with("minutes", 30);
    for (text, status) in [("a", StatusCode::OK), ("a\0b", StatusCode::UNPROCESSABLE_ENTITY)] {
        let key = |numbers: &[i64]| {
            let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
            Forged(numbers.chain(text.bytes()).collect())
        };
        let parked = json!(["parked None", {"step": "registry", "topic": text, "partition": 0, "offset": 0}]);
        for path in [
            format!("/v1/stats/events?cursor={}", encode(points, &key(&[1]))),
            format!("/v1/stats/events/top?cursor={}", encode(ranking, &key(&[1, 1]))),
            format!("/v1/admin/parked?cursor={}", BASE64_URL_SAFE_NO_PAD.encode(parked.to_string())),
        ] {
            admin.get(&path).await.expect(status);
        }
    }
}

pub async fn an_operators_request_under_a_key_is_done_once(mut deployment: Deployment) {
    let admin = deployment.admin();
    let keyed = |deployment: &Deployment| deployment.admin().with_key("k");
    eventually("all is well", PATIENCE, async || {
        let comments = step(&admin, "comments").await;
        (comments["ill"] == false && comments["state"] == "running").then_some(())
    })
    .await;
    let before = step(&admin, "comments").await["generation"].as_i64().unwrap();
    let (rebuild, rollback) = ("/v1/admin/steps/comments/rebuild", "/v1/admin/steps/comments/rollback");
    // What is refused does not use up its key.
    let cancel = "/v1/admin/steps/comments/cancel";
    for _ in 0..2 {
        let refused = act(&keyed(&deployment), cancel).await;
        refused.problem(409);
        assert!(refused.json()["detail"].as_str().unwrap().contains("no rebuild"), "{}", refused.text);
    }
    assert_eq!(act(&deployment.admin().with_key("no key"), rebuild).await.problem(422), ["Idempotency-Key:"]);

    let first = act(&keyed(&deployment), rebuild).await.expect(StatusCode::ACCEPTED).json();
    assert_eq!(first["generation"], before + 1);
    eventually("the new generation is live", PATIENCE, async || {
        let comments = step(&admin, "comments").await;
        (comments["generation"] == before + 1 && comments["state"] == "running").then_some(())
    })
    .await;
    assert_eq!(act(&keyed(&deployment), rebuild).await.expect(StatusCode::ACCEPTED).json(), first);
    let other = act(&keyed(&deployment), &format!("{rebuild}?keep_old=true")).await;
    assert_eq!(other.problem(422), ["Idempotency-Key:"]);
    let back = act(&keyed(&deployment), rollback).await.expect(StatusCode::OK).json();
    assert_eq!(back["live"], before);

    // Any instance knows it, after a restart too.
    let (service, arguments) = match admin.commands == admin.queries {
        true => ("balcony", &[][..]),
        false => ("query-api", &["query-api"][..]),
    };
    deployment.kill(service);
    deployment.start(service, arguments).await;
    assert_eq!(act(&keyed(&deployment), rollback).await.expect(StatusCode::OK).json(), back);
    assert_eq!(act(&keyed(&deployment), rebuild).await.expect(StatusCode::ACCEPTED).json(), first);
    let listed = step(&deployment.admin(), "comments").await;
    assert_eq!(listed["generation"], before, "{listed}");

    // The key is the user's own.
    let another = deployment.client("another", Role::Admin).with_key("k");
    assert_eq!(act(&another, rebuild).await.expect(StatusCode::ACCEPTED).json()["generation"], before + 2);
}

pub async fn operators_look_into_the_log(deployment: Deployment) {
    let admin = deployment.admin();
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(admin.register_movie(&format!("Movie {number}")).await.id());
        // Offsets of a topic may have holes.
        let views = format!("/v1/movies/{}/views", ids[number]);
        admin.command(Method::POST, &views, None).await.expect(StatusCode::ACCEPTED);
    }
    let topics = items(&admin.get("/v1/admin/topics").await.expect(StatusCode::OK));
    let names: Vec<&str> = topics.iter().map(|topic| topic["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"events") && names.contains(&"views"), "{names:?}");
    let events = topics.iter().find(|topic| topic["name"] == "events").unwrap();
    // The movies and the admin, who was registered by the first of them.
    assert_eq!(events["records"], 31, "{events}");
    let views = topics.iter().find(|topic| topic["name"] == "views").unwrap();
    assert_eq!(views["records"], 30, "{views}");
    assert_eq!(events["full_name"], &*deployment.topics().facts);

    let newest = items(&admin.get("/v1/admin/topics/events/records?limit=25").await.expect(StatusCode::OK));
    assert_eq!(newest.len(), 25);
    for event in &newest {
        assert_eq!((&event["specversion"], &event["type"]), (&"1.0".into(), &"balcony.movie.registered.v1".into()));
        assert!(event["data"]["title"].is_string() && event["balconyposition"].is_string(), "{event}");
    }
    assert_eq!(newest[0]["data"]["movie_id"], ids[29].as_str());

    let of_key = format!("/v1/admin/topics/{}/records?key={}", deployment.topics().facts, ids[7]);
    let found = items(&admin.get(&of_key).await.expect(StatusCode::OK));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["data"]["title"], "Movie 7");

    // Every record once, page by page, from the beginning and from the end.
    let newest = ids[29].clone();
    ids.sort();
    for from in ["from=0&", ""] {
        let (mut seen, mut page) = (Vec::new(), String::new());
        loop {
            let answer = admin.get(&format!("/v1/admin/topics/events/records?{from}limit=7{page}")).await;
            let answer = answer.expect(StatusCode::OK);
            let ids = items(&answer);
            seen.extend(ids.iter().filter_map(|event| event["data"]["movie_id"].as_str().map(str::to_owned)));
            let Some(cursor) = answer.json()["next_cursor"].as_str().map(str::to_owned) else { break };
            page = format!("&cursor={cursor}");
        }
        if from.is_empty() {
            assert_eq!(seen[0], newest);
        }
        seen.sort();
        assert_eq!(seen, ids, "{from}");
    }

    let since = |time: &str| format!("/v1/admin/topics/events/records?limit=100&since={time}");
    assert_eq!(items(&admin.get(&since("2020-01-01T00:00:00Z")).await.expect(StatusCode::OK)).len(), 31);
    assert_eq!(items(&admin.get(&since("2999-01-01T00:00:00Z")).await.expect(StatusCode::OK)).len(), 0);
    admin.get("/v1/admin/topics/nothing/records").await.problem(404);
    for wrong in ["partition=99", "partition=x", "partition=-1", "from=-1", "from=9223372036854775808"] {
        let parameter = wrong.split('=').next().unwrap();
        let refused = admin.get(&format!("/v1/admin/topics/events/records?{wrong}")).await.problem(422);
        assert_eq!(refused, [format!("?{parameter}")], "{wrong}");
    }
    for wrong in ["from=-1", "from=x", "since=yesterday", "limit=0", "cursor=x", "colour=red"] {
        admin.get(&format!("/v1/admin/topics/events/records?{wrong}")).await.problem(422);
    }
}

pub async fn operators_look_at_what_is_parked_and_deal_with_it(mut deployment: Deployment) {
    let broken = broken();
    let behind = Message { key: broken.key.clone(), ..movie("behind") };
    let junk = Message { key: Vec::new(), headers: Headers::new(), payload: vec![0, 159, 146, 150] };
    append(&mut deployment, vec![junk, broken, behind]).await;
    let admin = deployment.admin();
    let listed = async || items(&admin.get("/v1/admin/parked?projection=registry").await.expect(StatusCode::OK));
    let parked =
        eventually("they are parked", PATIENCE, async || Some(listed().await).filter(|parked| parked.len() == 3)).await;
    for page in [1, 2] {
        let first =
            admin.get(&format!("/v1/admin/parked?projection=registry&limit={page}")).await.expect(StatusCode::OK);
        let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
        let rest =
            admin.get(&format!("/v1/admin/parked?projection=registry&cursor={cursor}")).await.expect(StatusCode::OK);
        assert_eq!([items(&first), items(&rest)].concat(), parked);
    }
    let waiting = parked.iter().find(|record| record["waits"] == true).unwrap();
    let first = parked.iter().find(|record| record["key"] == waiting["key"] && record["waits"] == false).unwrap();
    let path = |record: &Value| format!("/v1/admin/parked/{}", record["id"].as_str().unwrap());
    let detail = admin.get(&path(first)).await.expect(StatusCode::OK).json();
    assert_eq!(detail["payload"], "{\"movie_id\":");
    assert_eq!(detail["headers"]["ce_type"], "balcony.movie.registered.v1");

    let again = act(&admin, &format!("{}/retry", path(first))).await.expect(StatusCode::OK).json();
    assert_eq!((&again["applied"], &again["refused"][0]["waiting"]), (&0.into(), &1.into()), "{again}");
    let given_up = act(&admin, &format!("{}/discard", path(first))).await.expect(StatusCode::OK).json();
    assert_eq!((&given_up["discarded"], &given_up["applied"]), (&1.into(), &1.into()), "{given_up}");
    assert_eq!(listed().await.len(), 1);
    act(&admin, &format!("{}/retry", path(first))).await.problem(409);
    act(&admin, "/v1/admin/parked/x/retry").await.problem(404);
    act(&admin, &format!("/v1/admin/parked/{}/discard", uuid::Uuid::nil())).await.problem(404);
    admin.get("/v1/admin/parked?projection=nothing").await.problem(404);
}

pub async fn the_control_room_comes_from_the_binary(deployment: Deployment) {
    let nobody = deployment.nobody();
    let page = nobody.get("/control").await.expect(StatusCode::OK);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.text.contains("http://") && !page.text.contains("https://") && !page.text.contains(" style="));
    for part in page.text.split(['"']).filter(|part| part.starts_with("/assets/")) {
        let asset = nobody.get(part).await.expect(StatusCode::OK);
        let known = nobody.clone().with_header("if-none-match", &asset.header("etag"));
        known.get(part).await.expect(StatusCode::NOT_MODIFIED);
    }
}
