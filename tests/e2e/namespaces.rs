//! Several installations share one Kafka and one PostgreSQL.

use reqwest::StatusCode;
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::read_models::ReadModels;
use crate::rebuild::{operate, succeeded};
use balcony_test_support::Services;

#[tokio::test(flavor = "multi_thread")]
async fn two_installations_on_one_kafka_and_one_postgresql_never_meet() {
    let Some(services) = Services::shared() else { return };
    let id = Uuid::now_v7().simple().to_string();
    let database = services.new_database().await;
    let database_url = database.url().unwrap();
    let mut installations = Vec::new();
    for name in ["one", "other"] {
        // Namespaces are in the names of topics, which are of all tests.
        let namespace = format!("{name}{}", &id[id.len() - 20..]);
        let mut deployment = Deployment::in_namespace(&services, database_url, &namespace);
        deployment.start_all().await;
        let movie = deployment.admin().register_movie(name).await.id();
        let mia = deployment.user("mia");
        let mut comment = mia.comment(&movie, &format!("a comment in {name}")).await;
        for number in 0..20 {
            comment = mia.clone().having_seen(&comment).comment(&movie, &format!("{number} in {name}")).await;
        }
        installations.push((deployment, name, movie, comment));
    }

    // Read models of the same names are built anew at the same time, each from its own log.
    let rebuilds = installations.iter().flat_map(|(deployment, ..)| {
        ["comments", "registry"].map(|read_model| async move { operate(deployment, &["rebuild", read_model]).await })
    });
    let mut running = Vec::new();
    for rebuild in rebuilds {
        running.push(Box::pin(rebuild));
    }
    let (first, second) = running.split_at_mut(2);
    let [a, b] = first else { unreachable!("two of one") };
    let [c, d] = second else { unreachable!("two of the other") };
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    for output in [a, b, c, d] {
        assert!(succeeded(&output).contains("generation 2 is live"));
    }

    for (deployment, name, movie, comment) in &installations {
        let reader = deployment.nobody().having_seen(comment);
        let titles = reader.get("/v1/movies").await.expect(StatusCode::OK).items("title");
        assert_eq!(titles, [*name]);
        let bodies = reader.get("/v1/comments?limit=100").await.expect(StatusCode::OK).items("body");
        assert_eq!(bodies.len(), 21);
        assert!(bodies.iter().all(|body| body.ends_with(name)), "{bodies:?}");
        let found = reader.get("/v1/search?q=comment").await.expect(StatusCode::OK).json();
        assert_eq!(found["total"], 1, "{found}");
        let seen = reader.get(&format!("/v1/movies/{movie}")).await.expect(StatusCode::OK).json();
        assert_eq!(seen["comment_count"], 21);
        for service in ["command-api", "projector"] {
            let metrics = format!("{}/metrics", deployment.process(service).url);
            let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
            let mut names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
            assert!(names.all(|name| name.starts_with(deployment.namespace())), "{metrics}");
        }
        let doctor = operate(deployment, &["doctor"]).await;
        assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stderr));
    }

    // Each has schemas of its own, and no others.
    let namespaces = ReadModels::of(&installations[0].0).await.namespaces().await;
    for (deployment, ..) in &installations {
        let prefix = format!("{}_", deployment.namespace());
        let own = namespaces.iter().filter(|name| name.starts_with(&prefix)).count();
        // Six read models, two of which have two generations.
        assert_eq!(own, 8, "{namespaces:?}");
    }
    assert_eq!(namespaces.len(), 16, "{namespaces:?}");
    assert!(installations[0].3.header("consistency-token") != installations[1].3.header("consistency-token"));
    let foreign = installations[0].0.nobody().having_seen(&installations[1].3).get("/v1/comments").await;
    foreign.problem(422);
}
