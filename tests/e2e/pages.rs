//! A node that keeps pages in memory, beside one that keeps none.

use std::time::Duration;

use balcony_event_log::testing::eventually;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::client::{Answer, Client};
use crate::deployment::Deployment;
use crate::rebuild::{operate, succeeded};
use balcony_test_support::Services;

const PATIENCE: Duration = Duration::from_secs(60);
const STEPS: usize = 80;

/// Asks both nodes for each page, several times, so that it comes from memory where it may. Both give the same bytes.
async fn compare([hot, cold]: &[Client; 2], pages: &[String], what: &str) {
    for page in pages {
        let path = format!("{page}?wait=10s");
        // While the database comes back, there is no answer to compare with.
        let expected = eventually("the node without memory answers", PATIENCE, async || {
            let answer = cold.get(&path).await;
            (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
        })
        .await;
        let shown = |answer: &Answer| (answer.status, answer.text.clone(), answer.headers.get("etag").cloned());
        for _ in 0..3 {
            let answer = eventually("the node with memory answers", PATIENCE, async || {
                let answer = hot.get(&path).await;
                (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
            })
            .await;
            assert_eq!(shown(&answer), shown(&expected), "{page} after {what}");
        }
    }
}

/// How many answers came from memory, as the node counts them.
async fn from_memory(deployment: &Deployment) -> u64 {
    let metrics = deployment.process("query-api").url.clone() + "/metrics";
    let text = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with("balcony_hot_pages_total{found=\"yes\"}")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_and_without_pages_in_memory_answer_alike_whatever_happens() {
    let Some(services) = Services::private() else { return };
    let mut deployment = Deployment::distributed_on(&services).await;
    deployment.start("without memory", &["query-api", "--hot-pages", "0"]).await;
    let url = |name: &str| deployment.process(name).url.clone();
    let (commands, hot, cold) = (url("command-api"), url("query-api"), url("without memory"));
    let mut dice = StdRng::seed_from_u64(7);

    let admin = deployment.admin();
    let movies = [admin.register_movie("One").await.id(), admin.register_movie("Two").await.id()];
    let mut people = [deployment.user("Mia"), deployment.user("Noah")];
    let mut comments = Vec::new();
    for (number, person) in people.iter_mut().enumerate() {
        let posted = person.comment(&movies[number], "first").await;
        *person = person.clone().having_seen(&posted);
        comments.push((number, posted.header("location")));
    }
    let mut ids = Vec::new();
    for person in &people {
        ids.push(person.get("/v1/me").await.expect(StatusCode::OK).id());
    }
    let mut pages: Vec<String> = vec!["/v1/comments".to_owned(), "/v1/me/timeline".to_owned()];
    pages.extend(movies.iter().map(|movie| format!("/v1/movies/{movie}/comments")));
    pages.extend(ids.iter().map(|id| format!("/v1/users/{id}/comments")));

    for step in 0..STEPS {
        let who = dice.random_range(0..2);
        let person = people[who].clone();
        let movie = &movies[dice.random_range(0..2)];
        let (answer, what) = match dice.random_range(0..10) {
            0..4 => {
                let posted = person.comment(movie, &format!("number {step}")).await;
                comments.push((who, posted.header("location")));
                (posted, "a post".to_owned())
            }
            4 if comments.len() > 2 => {
                let (who, location) = comments.swap_remove(dice.random_range(0..comments.len()));
                pages.retain(|page| *page != location);
                pages.push(location.clone());
                (people[who].delete(&location).await.expect(StatusCode::NO_CONTENT), "a deletion".to_owned())
            }
            5 => {
                let profile = json!({"display_name": format!("Name {step}")});
                (person.command(Method::PUT, "/v1/me", Some(&profile)).await, "a new name".to_owned())
            }
            6 => (person.put(&format!("/v1/me/favorites/{}", ids[1 - who])).await, "a favourite".to_owned()),
            7 => (person.delete(&format!("/v1/me/favorites/{}", ids[1 - who])).await, "a favourite less".to_owned()),
            8 if step % 3 == 0 => {
                let name = ["comments", "registry", "favorites"][dice.random_range(0..3)];
                succeeded(&operate(&deployment, &["rebuild", name]).await);
                (person.comment(movie, "rebuilt").await, format!("a rebuild of {name}"))
            }
            8 => {
                // There may be nothing to go back to.
                let rolled_back = operate(&deployment, &["rollback", "comments"]).await;
                (person.comment(movie, "rolled back").await, format!("a rollback: {}", rolled_back.status))
            }
            _ if step % 10 == 9 => {
                let posted = person.comment(movie, "before the crash").await;
                services.kill("postgres");
                services.restart("postgres");
                (posted, "a crash of the database".to_owned())
            }
            _ => (person.comment(movie, "again").await, "a post".to_owned()),
        };
        assert!(answer.status.is_success(), "{what}: {} {}", answer.status, answer.text);
        people[who] = person.having_seen(&answer);
        let reader = &people[who];
        let [hot, cold] = [&hot, &cold].map(|queries| reader.clone().talking_to(&commands, queries));
        compare(&[hot, cold], &pages, &format!("step {step}, {what}")).await;
        pages.truncate(12);
    }
    let hits = from_memory(&deployment).await;
    assert!(hits > STEPS as u64, "only {hits} answers came from memory");
}
