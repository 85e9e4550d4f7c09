//! What is trending, statistics, recommendations, and views of one's own.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::deployment::Deployment;

async fn view(client: &Client, movie: &str) -> Answer {
    let answer = client.command(Method::POST, &format!("/v1/movies/{movie}/views"), None).await;
    answer.expect(StatusCode::ACCEPTED)
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.expect(StatusCode::OK).json()["items"].as_array().unwrap().clone()
}

pub async fn what_is_viewed_trends_and_is_counted(deployment: Deployment) {
    let admin = deployment.admin();
    let (one, other) = (admin.register_movie("One").await.id(), admin.register_movie("Other").await.id());
    let mut nobody = deployment.nobody();
    for movie in [&one, &other, &other] {
        nobody = nobody.clone().having_seen(&view(&nobody, movie).await);
    }
    let trends = json!([
        {"movie": {"id": other, "title": "Other"}, "views": 2},
        {"movie": {"id": one, "title": "One"}, "views": 1},
    ]);
    for window in ["30m", "1h", "24h"] {
        assert_eq!(json!(items(&nobody, &format!("/v1/movies/trending?window={window}")).await), trends, "{window}");
    }
    for window in ["1m", "1h", "1d"] {
        // The minute may end between two views.
        let path = format!("/v1/stats/views?dimension=movie&value={other}&window={window}");
        let counts = items(&nobody, &path).await;
        assert_eq!(counts.iter().map(|item| item["count"].as_i64().unwrap()).sum::<i64>(), 2, "{window}");
        assert!(counts.iter().all(|item| item["value"] == other && item["window_start"].is_string()));
    }
    let mia = deployment.user("Mia");
    let posted = mia.comment(&one, "hello").await;
    let counts = items(&mia.having_seen(&posted), "/v1/stats/comments?dimension=author&window=1d").await;
    assert_eq!(counts.iter().map(|item| item["count"].as_i64().unwrap()).sum::<i64>(), 1);
    nobody.get("/v1/stats/people").await.problem(404);
    assert_eq!(nobody.get("/v1/stats/views?dimension=type").await.problem(422).len(), 1);

    let recommended = items(&nobody, "/v1/recommendations").await;
    assert_eq!(recommended[0]["movie"]["title"], "Other");
    assert_eq!(recommended[0]["reason"], "Trending: viewed 2 times in the last 24 hours");
}

pub async fn what_one_viewed_is_in_ones_own_journey_and_not_recommended(deployment: Deployment) {
    let admin = deployment.admin();
    let (one, other) = (admin.register_movie("One").await.id(), admin.register_movie("Other").await.id());
    let (mia, jonas) = (deployment.user("Mia"), deployment.user("Jonas"));
    let by_jonas = jonas.comment(&other, "hello").await;
    let viewed = view(&mia.clone().having_seen(&by_jonas), &one).await;
    let mia = mia.having_seen(&viewed);
    let him = jonas.having_seen(&by_jonas).get("/v1/me").await.expect(StatusCode::OK).id();
    let favorited = mia.put(&format!("/v1/me/favorites/{him}")).await.expect(StatusCode::NO_CONTENT);
    let mia = mia.having_seen(&favorited);

    let recommended = items(&mia, "/v1/recommendations").await;
    let movie = json!({"id": other, "title": "Other"});
    let reason = "Jonas, a favourite of yours, commented on it lately";
    assert_eq!(
        json!(recommended),
        json!([{
            "movie": movie, "reason": reason, "views": 0, "favorites": [{"id": him, "display_name": "Jonas"}], "favorite_count": 1
        }])
    );

    let path = format!("/v1/users/{}/journey", mia.get("/v1/me").await.expect(StatusCode::OK).id());
    assert_eq!(mia.get(&path).await.items("type"), ["user.favorited", "registered", "movie.viewed"]);
    let seen = deployment.nobody().having_seen(&favorited);
    assert_eq!(seen.get(&path).await.items("type"), ["user.favorited", "registered"]);
}
