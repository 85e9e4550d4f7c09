//! Statistics of the shop over HTTP.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{HeaderMap, Request};
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog as _, Positions};
use balcony_http::{Client, Consistency, ConsistencyToken};
use balcony_projector::{Projection as _, Projector};
use balcony_statistics::http::{Chart, Drawn, StatisticsApi};
use balcony_statistics::{Statistics, Window, Windows};
use balcony_store::{Reader, Scratch, Uuid};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::forgetting::World;
use crate::sales::{Sale, TOPIC, statistics};

const PATIENCE: Duration = Duration::from_secs(30);
/// Noon of a day.
const NOON: i64 = 1_700_000_000_000 - 1_700_000_000_000 % 86_400_000 + 43_200_000;

/// A shop that counts, and is asked.
struct Shop {
    world: World,
    routes: Router,
    consistency: Consistency,
    _projector: Projector,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

fn counted() -> Statistics<Sale> {
    let hour = Duration::from_secs(3_600);
    let windows = [(Window::seconds(10), Some(2 * hour)), (Window::MINUTE, Some(48 * hour)), (Window::DAY, None)];
    statistics(1).in_windows(Windows::of(windows))
}

impl Shop {
    /// A shop on each database that there is.
    async fn each() -> Vec<Self> {
        let mut scratches = vec![Scratch::sqlite().unwrap()];
        scratches.extend(Scratch::postgres().await.unwrap());
        let mut shops = Vec::new();
        for scratch in scratches {
            shops.push(Self::open(scratch).await);
        }
        shops
    }

    async fn open(scratch: Scratch) -> Self {
        let world = World::open(scratch).await;
        let mut projector = Projector::new(world.log.clone(), world.database.clone(), "test.");
        projector.start(counted());
        let consistency = Consistency::new("the shop's", vec![TOPIC.into()], &[7; 32]);
        let api = StatisticsApi::open(&counted(), &world.database, consistency.clone()).await;
        let (routes, _) = api.bounded_by(world.log.clone()).routes();
        let model = counted().read_model().clone();
        let reader = Reader::open(&world.database, vec![model.clone()]).await;
        eventually("statistics are live", PATIENCE, async || reader.check(&model).await.ok()).await;
        Self { world, routes, consistency, _projector: projector }
    }

    /// Sells, and gives the token of it.
    async fn sell(&self, at: i64, shop: &str, cents: Option<i64>) -> String {
        let sale = Sale { id: Uuid::from_u128(rand::random()), at, shop: shop.to_owned(), cents };
        self.world.log.append(TOPIC, sale.message()).await.unwrap();
        self.consistency.text(&ConsistencyToken(self.world.log.ends(&[TOPIC.into()]).await.unwrap()))
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let (head, body) = self.ask(path, headers).await;
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: head.0, headers: head.1, body }
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> ((u16, HeaderMap), Body) {
        self.ask_as(Client::new(None, None), path, headers).await
    }

    async fn ask_as(&self, client: Client, path: &str, headers: &[(&str, &str)]) -> ((u16, HeaderMap), Body) {
        let mut request = Request::get(path).extension(client);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        ((head.status.as_u16(), head.headers), body)
    }

    async fn watch(&self, path: &str, headers: &[(&str, &str)]) -> BodyDataStream {
        let ((status, headers), body) = self.ask(path, headers).await;
        assert_eq!((status, &headers["content-type"]), (200, &"text/event-stream".parse().unwrap()));
        body.into_data_stream()
    }
}

/// The next event: its id, its name and its data.
async fn next(stream: &mut BodyDataStream) -> (String, String, Value) {
    let frame = timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    (field("id: "), field("event: "), serde_json::from_str(&field("data: ")).unwrap())
}

fn time(at: i64) -> String {
    balcony_projector::Moment::from_milliseconds(at).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_is_shown_in_the_programs_windows_with_its_measure() {
    for shop in Shop::each().await {
        shop.sell(NOON, "Oslo", Some(524)).await;
        shop.sell(NOON + 1_000, "Oslo", Some(-5)).await;
        shop.sell(NOON + 10_000, "Oslo", None).await;
        let token = shop.sell(NOON + 60_000, "Rome", Some(100)).await;
        let seen = [("consistency-token", token.as_str())];
        let item = |at: i64, value: &str, count: i64, measured: [Value; 3]| {
            let [sum, min, max] = measured;
            json!({"window_start": time(NOON + at), "value": value, "count": count, "sum": sum, "min": min, "max": max})
        };
        let unmeasured = || [Value::Null, Value::Null, Value::Null];
        let tens = [
            item(60_000, "Rome", 1, [json!(1.00), json!(1.00), json!(1.00)]),
            item(10_000, "Oslo", 1, unmeasured()),
            item(0, "Oslo", 2, [json!(5.19), json!(-0.05), json!(5.24)]),
        ];
        let answer = shop.get("/v1/stats/sales?window=10s", &seen).await;
        assert_eq!((answer.status, &answer.body["items"]), (200, &json!(tens)));
        // Where there are no hours, the shortest.
        assert_eq!(shop.get("/v1/stats/sales", &[]).await.body, answer.body);
        let minutes = shop.get("/v1/stats/sales?window=1m&value=Oslo&dimension=shop", &seen).await;
        assert_eq!(minutes.body["items"], json!([item(0, "Oslo", 3, [json!(5.19), json!(-0.05), json!(5.24)])]));
        let part = format!("/v1/stats/sales?window=10s&since={}&until={}", time(NOON + 1), time(NOON + 60_000));
        assert_eq!(shop.get(&part, &[]).await.body["items"], json!([tens[1]]));
        let days = shop.get("/v1/stats/gifts?window=1d", &[]).await;
        let day = json!({"window_start": time(NOON - 43_200_000), "value": "Oslo", "count": 1});
        assert_eq!(days.body["items"], json!([day]), "a stream without a measure shows none");

        let first = shop.get("/v1/stats/sales?limit=2", &[]).await;
        let cursor = first.body["next_cursor"].as_str().unwrap();
        let rest = shop.get(&format!("/v1/stats/sales?limit=2&cursor={cursor}"), &[]).await;
        assert_eq!(rest.body, json!({"items": [tens[2]], "next_cursor": null}));
        assert_eq!(shop.get(&format!("/v1/stats/sales?window=1m&cursor={cursor}"), &[]).await.status, 422);

        let tag = first.headers["etag"].to_str().unwrap();
        assert_eq!(shop.get("/v1/stats/sales?limit=2", &[("if-none-match", tag)]).await.status, 304);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_a_problem_that_says_what_there_is() {
    for shop in Shop::each().await {
        for path in ["/v1/stats/people", "/v1/live/stats/people", "/v1/stats/people?dimension=x"] {
            assert_eq!(shop.get(path, &[]).await.status, 404, "{path}");
        }
        for path in ["/v1/stats/sales", "/v1/live/stats/sales"] {
            let wrong = shop.get(&format!("{path}?window=1h&dimension=who&since=x&limit=0&colour=red"), &[]).await;
            assert_eq!(wrong.status, 422);
            let errors = wrong.body["errors"].as_array().unwrap();
            let said = |name: &str| {
                let error = errors.iter().find(|error| error["parameter"] == name);
                error.unwrap_or_else(|| panic!("{name} is wrong"))["detail"].as_str().unwrap().to_owned()
            };
            assert_eq!(said("window"), "is not one of 10s, 1m, 1d");
            assert_eq!(said("dimension"), "is not one of shop, range");
            assert_eq!((errors.len(), said("colour").is_empty()), (5, false));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_what_its_client_has_seen_and_no_longer_than_it_is_told() {
    for shop in Shop::each().await {
        for number in 1..20 {
            let token = shop.sell(NOON, "Oslo", None).await;
            let answer = shop.get("/v1/stats/sales", &[("consistency-token", &token)]).await;
            assert_eq!(answer.body["items"][0]["count"], number);
        }
        let mut beyond: Positions = shop.world.log.ends(&[TOPIC.into()]).await.unwrap();
        beyond.set(balcony_event_log::TopicPartition::new(TOPIC, 0), 1_000_000);
        let beyond = shop.consistency.text(&ConsistencyToken(beyond));
        for token in [beyond.as_str(), "x"] {
            for path in ["/v1/stats/sales", "/v1/stats/sales?stale=allow", "/v1/live/stats/sales"] {
                assert_eq!(shop.get(path, &[("consistency-token", token)]).await.status, 422, "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_told_when_they_move_and_go_on_from_an_id() {
    for shop in Shop::each().await {
        let path = "/v1/live/stats/sales?window=10s&value=Oslo";
        let mut stream = shop.watch(path, &[]).await;
        let mut last = String::new();
        for count in 1..4 {
            shop.sell(NOON, "Rome", None).await;
            let token = shop.sell(NOON, "Oslo", Some(-150)).await;
            let (id, name, data) = next(&mut stream).await;
            assert_eq!((name.as_str(), &data["items"][0]["count"]), ("stats", &json!(count)));
            assert_eq!(data["items"][0]["min"], json!(-1.5));
            // Whoever is told finds the same.
            let answer = shop.get("/v1/stats/sales?window=10s&value=Oslo", &[("consistency-token", &token)]).await;
            assert_eq!(answer.body, data);
            last = id;
        }
        // Of another installation's id it is told that something may be missing.
        let mut lost = shop.watch(path, &[("last-event-id", "x")]).await;
        let (reset, name, _) = next(&mut lost).await;
        assert_eq!(name, "reset");
        // Whoever has what is shown gets nothing until that changes, on this node, on another and after a restart.
        let ids = [&last, &reset];
        let other = StatisticsApi::open(&counted(), &shop.world.database, shop.consistency.clone()).await.routes().0;
        let (mut others, here) = (Vec::new(), shop.routes.clone());
        for routes in [&here, &other] {
            for id in ids {
                let request = Request::get(path).header("last-event-id", id).body(Body::empty()).unwrap();
                others.push(routes.clone().oneshot(request).await.unwrap().into_body().into_data_stream());
            }
        }
        shop.sell(NOON, "Oslo", None).await;
        for stream in others.iter_mut().chain([&mut stream, &mut lost]) {
            let (_, name, data) = next(stream).await;
            assert_eq!((name.as_str(), &data["items"][0]["count"]), ("stats", &json!(4)));
        }
        // What has moved meanwhile is told at once, and so it is where an id says positions alone, as of before.
        let positions = last.split_once('.').unwrap().0;
        for id in [last.as_str(), positions] {
            let (_, name, data) = next(&mut shop.watch(path, &[("last-event-id", id)]).await).await;
            assert_eq!((name.as_str(), &data["items"][0]["count"]), ("stats", &json!(4)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_have_all_series_and_what_ends_is_there_again_at_once() {
    let shop = Shop::open(Scratch::sqlite().unwrap()).await;
    let path = |series: usize| format!("/v1/live/stats/sales?value=shop{series}");
    let office = Some([192, 0, 2, 1].into());
    let mia = Client::new(Some(Uuid::from_u128(1)), office);
    let open = async |client: Client, series: usize| {
        let ((status, headers), body) = shop.ask_as(client, &path(series), &[]).await;
        (status, headers.contains_key("retry-after"), body.into_data_stream())
    };
    let mut streams = Vec::new();
    for series in 0..20 {
        for _ in 0..2 {
            let (status, _, stream) = open(mia, series).await;
            assert_eq!(status, 200, "the second stream of a series takes no more of them");
            streams.push(stream);
        }
    }
    let (status, retry_after, body) = open(mia, 20).await;
    assert_eq!((status, retry_after), (429, true));
    let problem: Vec<u8> = body.map(|part| part.unwrap().to_vec()).collect::<Vec<_>>().await.concat();
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    let detail = "a user may have 20 series that are watched at a time; end some of them, or try again later";
    assert_eq!(problem["detail"], detail);
    let elsewhere = Client::new(None, Some([192, 0, 2, 2].into()));
    assert_eq!(open(elsewhere, 20).await.0, 200);
    // One of the two streams of the last series, then the other.
    for status in [429, 200] {
        streams.pop();
        assert_eq!(open(mia, 20).await.0, status);
    }
    // One after the other, more than there are at a time.
    for series in 0..300 {
        assert_eq!(open(elsewhere, series).await.0, 200, "{series}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_is_listed_ranked_and_drawn() {
    for shop in Shop::each().await {
        let sales = json!({"name": "sales", "dimensions": ["shop", "range"], "is_measured": true, "windows": ["10s", "1m", "1d"]});
        let gifts =
            json!({"name": "gifts", "dimensions": ["shop"], "is_measured": false, "windows": ["10s", "1m", "1d"]});
        assert_eq!(shop.get("/v1/stats", &[]).await.body, json!({"items": [sales, gifts], "next_cursor": null}));

        // Long ago: nothing is most frequent now, and the chart stands where something was.
        shop.sell(NOON, "Oslo", Some(500)).await;
        shop.sell(NOON, "Oslo", Some(-25)).await;
        let token = shop.sell(NOON - 20_000, "Rome", Some(100)).await;
        let seen = [("consistency-token", token.as_str())];
        assert_eq!(shop.get("/v1/stats/sales/top", &seen).await.body["items"], json!([]));
        let line = |value: &str, drawn: &str, points: Value| {
            let decimals = if drawn == "count" { 0 } else { 2 };
            json!({"value": value, "drawn": drawn, "decimals": decimals, "points": points})
        };
        let drawing =
            |lines: &[Value]| json!({"from": time(NOON - 20_000), "window_seconds": 10, "windows": 3, "lines": lines});
        let answer = shop.get("/v1/stats/sales/chart?window=10s&windows=3", &seen).await;
        let counts = [line("Oslo", "count", json!([0, 0, 2])), line("Rome", "count", json!([1, 0, 0]))];
        assert_eq!((answer.status, answer.body), (200, drawing(&counts)));
        let answer = shop.get("/v1/stats/sales/chart?window=10s&windows=3&drawn=average&value=Oslo", &seen).await;
        assert_eq!(answer.body, drawing(&[line("Oslo", "average", json!([null, null, 2.375]))]));
        // So many windows are ranked by longer ones, where those fit.
        let long = shop.get("/v1/stats/sales/chart?window=10s&windows=500", &seen).await.body;
        let sums = long["lines"].as_array().unwrap().iter().map(|line| {
            (
                line["value"].as_str().unwrap(),
                line["points"].as_array().unwrap().iter().filter_map(Value::as_i64).sum::<i64>(),
            )
        });
        assert_eq!(sums.collect::<Vec<_>>(), [("Oslo", 2), ("Rome", 1)]);
        let answer = shop.get("/v1/stats/gifts/chart?drawn=sum&windows=501&window=2m", &seen).await;
        assert_eq!((answer.status, answer.body["errors"].as_array().unwrap().len()), (422, 3));

        // Now.
        let now =
            i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis())
                .unwrap();
        for (shop_name, times) in [("Oslo", 2), ("Rome", 3), ("大阪", 1)] {
            for _ in 0..times {
                shop.sell(now, shop_name, None).await;
            }
        }
        let token = shop.sell(now, "Rome", None).await;
        let seen = [("consistency-token", token.as_str())];
        let ranked = shop.get("/v1/stats/sales/top?limit=2", &seen).await.body;
        assert_eq!(ranked["items"], json!([{"value": "Rome", "count": 4}, {"value": "Oslo", "count": 2}]));
        let cursor = ranked["next_cursor"].as_str().unwrap();
        let rest = shop.get(&format!("/v1/stats/sales/top?limit=2&cursor={cursor}"), &seen).await.body;
        assert_eq!(rest, json!({"items": [{"value": "大阪", "count": 1}], "next_cursor": null}));
        let days = shop.get("/v1/stats/sales/chart?window=1d", &seen).await.body;
        assert_eq!(days["lines"].as_array().unwrap().len(), 3);
        assert_eq!(days["lines"][0]["points"].as_array().unwrap().iter().filter_map(Value::as_i64).sum::<i64>(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_of_a_page_move_in_one_stream() {
    for mut shop in Shop::each().await {
        let charts = [
            Chart::new("Sales", "sales", "shop", Window::DAY).over(2),
            Chart::new("Prices", "sales", "shop", Window::DAY).of_values(["Oslo"]).drawing([Drawn::Least, Drawn::Most]),
        ];
        let api = StatisticsApi::open(&counted(), &shop.world.database, shop.consistency.clone()).await;
        shop.routes = api.charts(&charts).0;
        let mut stream = shop.watch("/v1/live/charts", &[]).await;
        let mut first = [next(&mut stream).await.2, next(&mut stream).await.2];
        first.sort_by_key(|moved| moved["chart"].as_i64());
        assert_eq!((&first[0]["chart"], &first[0]["drawing"]["lines"]), (&json!(0), &json!([])));
        assert_eq!((&first[1]["chart"], first[1]["drawing"]["lines"].as_array().unwrap().len()), (&json!(1), 2));
        shop.sell(NOON, "Oslo", Some(-524)).await;
        let mut moved = [next(&mut stream).await, next(&mut stream).await];
        moved.sort_by_key(|(_, _, moved)| moved["chart"].as_i64());
        let [(_, name, counts), (_, _, prices)] = moved;
        assert_eq!((name.as_str(), &counts["drawing"]["lines"][0]["points"]), ("chart", &json!([0, 1])));
        assert_eq!(prices["drawing"]["lines"][0]["points"].as_array().unwrap().last(), Some(&json!(-5.24)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_of_what_is_not_counted_is_an_error_of_the_program() {
    for shop in Shop::each().await {
        let api = StatisticsApi::open(&counted(), &shop.world.database, shop.consistency.clone()).await;
        let is_refused =
            |chart: Chart| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| api.charts(&[chart]))).is_err();
        assert!(is_refused(Chart::new("A", "people", "shop", Window::DAY)));
        assert!(is_refused(Chart::new("A", "sales", "who", Window::DAY)));
        assert!(is_refused(Chart::new("A", "sales", "shop", Window::HOUR)));
        assert!(is_refused(Chart::new("A", "gifts", "shop", Window::DAY).drawing([Drawn::Average])));
        assert!(is_refused(Chart::new("A", "sales", "shop", Window::DAY).drawing([])));
        assert!(is_refused(Chart::new("A", "sales", "shop", Window::DAY).over(501)));
        assert!(!is_refused(Chart::new("A", "sales", "shop", Window::DAY).drawing([Drawn::Average])));
    }
}
