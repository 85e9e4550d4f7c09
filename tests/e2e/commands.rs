//! What commands refuse, and how they say so.

use balcony_http::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::Deployment;

pub async fn what_is_wrong_is_refused_and_named(deployment: Deployment) {
    let (admin, user, nobody) = (deployment.admin(), deployment.user("Mia"), deployment.nobody());
    let movie = admin.register_movie("A movie").await.id();
    let comments = format!("/v1/movies/{movie}/comments");
    let nothing = Uuid::now_v7();

    // Field errors, each named.
    let long = "x".repeat(201);
    for (path, body, pointers) in [
        (comments.as_str(), json!({}), &["#/body"][..]),
        (&comments, json!({"body": " \u{200b} "}), &["#/body"]),
        (&comments, json!({"body": "a\u{7}b", "title": long}), &["#/title", "#/body"]),
        (&comments, json!({"body": "x".repeat(10_001)}), &["#/body"]),
        (&comments, json!({"body": 1}), &["#/body"]),
        (&comments, json!({"body": "x", "stars": 5}), &["#/stars"]),
        ("/v1/movies", json!({"title": ""}), &["#/title"]),
        ("/v1/movies", json!({"title": "x", "company_id": nothing}), &["#/company_id"]),
        (
            "/v1/movies",
            json!({"title": "x", "company_id": "x", "released_on": "soon"}),
            &["#/company_id", "#/released_on"],
        ),
        ("/v1/companies", json!({"name": "x", "contact_email": "nobody"}), &["#/contact_email"]),
        // What shows nothing, where no script needs it.
        (&comments, json!({"body": "a\u{200b}b", "title": "a\u{200b}b"}), &["#/title"]),
        ("/v1/movies", json!({"title": "R\u{2060}an"}), &["#/title"]),
        ("/v1/companies", json!({"name": "Toho\u{200d}", "contact_email": "a@b.example"}), &["#/name"]),
    ] {
        let problem = admin.post(path, &body).await;
        assert_eq!(problem.problem(422), pointers, "{path} {body}");
        assert_eq!(problem.json()["instance"], path);
    }
    let answer =
        user.command(Method::PUT, "/v1/me", Some(&json!({"display_name": "a\nb", "about": "x".repeat(1_001)}))).await;
    assert_eq!(answer.problem(422), ["#/display_name", "#/about"]);
    let answer = user.command(Method::PUT, "/v1/me", Some(&json!({"display_name": "\u{feff}Mia"}))).await;
    assert_eq!(answer.problem(422), ["#/display_name"]);
    for name in ["می\u{200c}خواهم", "क्\u{200d}ष", "Mia 👩\u{200d}🚀"] {
        let answer = user.command(Method::PUT, "/v1/me", Some(&json!({"display_name": name}))).await;
        answer.expect(StatusCode::NO_CONTENT);
    }
    assert_eq!(user.post(&format!("{comments}?x=1"), &json!({"body": "x"})).await.problem(422), ["?x"]);
    let answer = user.clone().with_key("not visible").post(&comments, &json!({"body": "x"})).await;
    assert_eq!(answer.problem(422), ["Idempotency-Key:"]);
    for (body, pointer) in [
        (r#"{"body":"x","body":"y"}"#, "#/body"),
        (r#"{"body":"x","title":1e400}"#, "#/title"),
        (r#"{"body":"x","title":"a\u202eb"}"#, "#/title"),
    ] {
        let url = format!("{}{comments}", user.commands);
        let answer = user.send(Method::POST, url, Some(body.into())).await.unwrap();
        assert_eq!(answer.problem(422), [pointer], "{body}");
    }

    // What is no JSON, or not called so.
    for bytes in [&b"{"[..], b"", b"{\"body\":\"\\ud800\"}", &[b'['; 3_000]] {
        let answer =
            user.send(Method::POST, format!("{}{comments}", user.commands), Some(bytes.to_vec())).await.unwrap();
        answer.problem(400);
    }
    user.clone().with_header("content-type", "text/plain").post(&comments, &json!({"body": "x"})).await.problem(415);

    // Who may.
    let challenge = nobody.post(&comments, &json!({"body": "x"})).await;
    challenge.problem(401);
    assert!(challenge.header("www-authenticate").starts_with("Bearer"));
    for token in ["x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtaWEiLCJleHAiOjk5OTk5OTk5OTl9."] {
        let stranger = nobody.clone().with_token(Some(token));
        stranger.post(&comments, &json!({"body": "x"})).await.problem(401);
        stranger.get("/v1/comments").await.problem(401);
    }
    for role in [Role::User, Role::Moderator] {
        deployment.client("Mia", role).post("/v1/movies", &json!({"title": "x"})).await.problem(403);
    }
    nobody.post("/v1/companies", &json!({"name": "x", "contact_email": "a@b.example"})).await.problem(401);

    // What is not there.
    for movie in [nothing.to_string(), "no-uuid".to_owned()] {
        user.post(&format!("/v1/movies/{movie}/comments"), &json!({"body": "x"})).await.problem(404);
        nobody.command(Method::POST, &format!("/v1/movies/{movie}/views"), None).await.problem(404);
    }
    user.delete(&format!("/v1/comments/{nothing}")).await.problem(404);
    user.put(&format!("/v1/me/favorites/{nothing}")).await.problem(404);
    user.delete("/v1/me/favorites/no-uuid").await.problem(404);
}

pub async fn an_id_is_good_for_its_own_kind_alone(deployment: Deployment) {
    let (admin, mia, bo) = (deployment.admin(), deployment.user("Mia"), deployment.user("Bo"));
    let contact = json!({"name": "A company", "contact_email": "press@company.example"});
    let company = admin.post("/v1/companies", &contact).await.expect(StatusCode::CREATED).id();
    let movie = admin.post("/v1/movies", &json!({"title": "A movie", "company_id": company})).await;
    let movie = movie.expect(StatusCode::CREATED).id();
    let comment = mia.comment(&movie, "x").await.id();
    let user = mia.get("/v1/me").await.json()["id"].as_str().unwrap().to_owned();

    // Each is used as what it is, so that it is known as that.
    bo.put(&format!("/v1/me/favorites/{user}")).await.expect(StatusCode::NO_CONTENT);
    for _ in 0..2 {
        for other in [&company, &user, &comment] {
            bo.post(&format!("/v1/movies/{other}/comments"), &json!({"body": "x"})).await.problem(404);
            bo.command(Method::POST, &format!("/v1/movies/{other}/views"), None).await.problem(404);
        }
        for other in [&company, &movie, &comment] {
            bo.put(&format!("/v1/me/favorites/{other}")).await.problem(404);
            bo.delete(&format!("/v1/me/favorites/{other}")).await.problem(404);
        }
        for other in [&movie, &user, &comment] {
            let refused = admin.post("/v1/movies", &json!({"title": "Another", "company_id": other})).await;
            assert_eq!(refused.problem(422), ["#/company_id"]);
        }
        for other in [&company, &user, &movie] {
            admin.delete(&format!("/v1/comments/{other}")).await.problem(404);
        }
        bo.comment(&movie, "x").await;
    }
}

pub async fn bodies_are_bounded_before_anything_else(deployment: Deployment) {
    let nobody = deployment.nobody();
    let send = async |length: usize| {
        let url = format!("{}/v1/movies/no-uuid/comments", nobody.commands);
        nobody.send(Method::POST, url, Some(vec![b' '; length])).await.unwrap()
    };
    send(64 << 10).await.problem(401);
    send((64 << 10) + 1).await.problem(413);
    send(3 << 20).await.problem(413);
}

pub async fn text_is_stored_trimmed(deployment: Deployment) {
    let movie = deployment.admin().register_movie("\u{3000} Ugetsu \n").await;
    let mia = deployment.user("Mia");
    let body = json!({"title": "  ", "body": "\n\tあの霧。\r\nAgain. \u{2003}"});
    let posted = mia.post(&format!("/v1/movies/{}/comments", movie.id()), &body).await.expect(StatusCode::CREATED);
    let comment = mia.having_seen(&posted).get(&posted.header("location")).await.expect(StatusCode::OK).json();
    assert_eq!(comment["movie"]["title"], "Ugetsu");
    assert_eq!(comment["title"], Value::Null);
    assert_eq!(comment["body"], "あの霧。\r\nAgain.");
}

pub async fn comments_are_never_edited(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let mia = deployment.user("Mia");
    let posted = mia.comment(&movie.id(), "first").await;
    for method in [Method::PUT, Method::PATCH] {
        let answer = mia.command(method, &posted.header("location"), Some(&json!({"body": "second"}))).await;
        answer.problem(405);
        assert!(answer.header("allow").contains("DELETE"));
    }
}

pub async fn only_those_who_may_delete(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let (mia, jonas) = (deployment.user("Mia"), deployment.user("Jonas"));
    let first = mia.comment(&movie.id(), "first").await.header("location");
    let second = mia.comment(&movie.id(), "second").await.header("location");

    deployment.nobody().delete(&first).await.problem(401);
    jonas.delete(&first).await.problem(403);
    mia.delete(&first).await.expect(StatusCode::NO_CONTENT);
    mia.delete(&first).await.expect(StatusCode::NO_CONTENT);
    jonas.delete(&first).await.problem(403);
    let moderator = deployment.client("Vera", Role::Moderator);
    let deleted = moderator.delete(&second).await.expect(StatusCode::NO_CONTENT);
    deployment.nobody().having_seen(&deleted).get(&second).await.problem(410);
}
