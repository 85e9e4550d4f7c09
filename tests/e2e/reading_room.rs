//! The web page, as a browser without script reads it.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::deployment::Deployment;

pub async fn the_page_is_read_without_script(deployment: Deployment) {
    let (admin, mia, nobody) = (deployment.admin(), deployment.user("mia"), deployment.nobody());
    let empty = nobody.get("/").await.expect(StatusCode::OK);
    assert!(empty.header("content-type").starts_with("text/html"));
    assert!(empty.text.contains("Nobody has said anything yet."), "{}", empty.text);

    let toho = admin.post("/v1/companies", &json!({"name": "Toho", "contact_email": "a@example.org"})).await;
    let movie = json!({"title": "Ran & <b>more</b>", "company_id": toho.id()});
    let movie = admin.clone().having_seen(&toho).post("/v1/movies", &movie).await.expect(StatusCode::CREATED).id();
    let markup = "<script>alert(1)</script> \" onload='x' & so on";
    let posted = mia.comment(&movie, markup).await;
    let reader = nobody.having_seen(&posted);
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;";
    let me = mia.get("/v1/me").await.json()["id"].as_str().unwrap().to_owned();
    for path in [
        "/".to_owned(),
        format!("/movies/{movie}"),
        format!("/people/{me}"),
        format!("/companies/{}", toho.id()),
        "/search?q=alert".to_owned(),
    ] {
        let page = reader.get(&path).await.expect(StatusCode::OK);
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<b>more"), "{path}: {}", page.text);
        assert!(page.text.contains("alert"), "{path}: {}", page.text);
        assert!(path.starts_with("/search") || page.text.contains(escaped), "{path}: {}", page.text);
        let policy = page.header("content-security-policy");
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert!(!page.text.contains(" style=") && !page.text.contains(" onclick="), "{path}");
    }
    let listed = reader.get("/movies").await.expect(StatusCode::OK);
    assert!(listed.text.contains("Ran &amp; &lt;b&gt;more") && listed.text.contains("1 comment ·"), "{}", listed.text);

    // What happened is told in words.
    let journey = reader.get(&format!("/people/{me}")).await.expect(StatusCode::OK).text;
    assert!(journey.contains("joined") && journey.contains("commented on <a"), "{journey}");

    for missing in ["/movies/nothing", "/people/0198c0de-0000-7000-8000-000000000000"] {
        let page = deployment.nobody().get(missing).await.expect(StatusCode::NOT_FOUND);
        assert!(page.header("content-type").starts_with("text/html"), "{missing}");
    }
    // What is not there is a page for a browser, and a problem document for a program and below /v1.
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let asked = |accept: &str| deployment.nobody().with_header("accept", accept).with_header("accept-language", "ja");
    for missing in ["/nope", "/trending", "/movies/a/b", "/assets/nope.js", "/movies/"] {
        let page = asked(browser).get(missing).await.expect(StatusCode::NOT_FOUND);
        assert!(page.header("content-type").starts_with("text/html"), "{missing}");
        assert!(page.text.contains("<html lang=\"ja\"") && page.text.contains("ページが見つかりません"), "{missing}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        for accept in ["*/*", "application/json", "text/html;q=0.5, application/problem+json"] {
            asked(accept).get(missing).await.problem(404);
        }
        deployment.nobody().command(Method::POST, missing, None).await.problem(404);
    }
    for missing in ["/v1", "/v1/nope", "/v1/movies/a/b/c"] {
        asked(browser).get(missing).await.problem(404);
    }
    let japanese = deployment.nobody().with_header("accept-language", "ja,en;q=0.5").get("/").await;
    assert!(japanese.text.contains("<html lang=\"ja\"") && japanese.text.contains("みんなのコメント"));

    // Favourites are those of whoever's token comes along.
    let fan = deployment.user("noa");
    let made = fan.command(Method::PUT, &format!("/v1/me/favorites/{me}"), None).await.expect(StatusCode::NO_CONTENT);
    let page = fan.having_seen(&made).get("/favorites").await.expect(StatusCode::OK);
    assert!(page.text.contains(escaped) && page.text.contains("mia"), "{}", page.text);
    let page = deployment.nobody().get("/favorites").await.expect(StatusCode::OK);
    assert!(page.text.contains("wants-token") && !page.text.contains(escaped), "{}", page.text);

    for part in empty.text.split('"').filter(|part| part.starts_with("/assets/")) {
        deployment.nobody().get(part).await.expect(StatusCode::OK);
    }
}
