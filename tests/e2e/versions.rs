//! A changed projection is deployed beside the old one.

use std::time::Duration;

use balcony_domain::{Event, Topics};
use balcony_event_log::testing::eventually;
use balcony_http::probes::{self, Readiness};
use balcony_http::rate_limit::{Limiter, RateLimit};
use balcony_http::server::{Limits, Server};
use balcony_http::service::{self, Edge};
use balcony_http::{Consistency, telemetry};
use balcony_projector::{AnyReplica, Catalogue, Projection, Projector, Received, ReplicaFolder, Serving};
use balcony_query_api::QueryApi;
use balcony_read_models::{Comments, Favorites, Journeys, Logged, Registry, Search, Statistics};
use balcony_store::{GenerationState, ReadModel, Reader, StoreError, Tx, Value};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::crash::{Load, assert_all_there};
use crate::deployment::{Deployment, authority};
use crate::fold::equals_a_fold;
use crate::read_models::ReadModels;
use crate::rebuild::{Readers, operate, succeeded};

/// The comments as the next version of the program has them: it knows the length of each, too.
struct Next {
    comments: Comments,
    model: ReadModel,
}

impl Next {
    fn new(topics: &Topics) -> Self {
        let comments = Comments::new(topics);
        let added = "CREATE TABLE comment_lengths (id UUID NOT NULL PRIMARY KEY, length BIGINT NOT NULL);";
        let before = comments.read_model();
        let schema = format!("{}\n{added}", before.schema);
        let model = ReadModel::new(before.name.clone(), 2, before.topics.iter().cloned(), schema);
        Self { comments, model }
    }
}

impl Projection for Next {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut lengths: Vec<[Value<'_>; 2]> = Vec::new();
        for received in events {
            if let Event::CommentPosted(post) = &received.event {
                let length = i64::try_from(post.body.chars().count()).unwrap();
                lengths.push([post.comment_id.0.into(), length.into()]);
            }
        }
        tx.insert_new("comment_lengths", &["id"], ["id", "length"], &lengths).await?;
        self.comments.apply(events, tx).await
    }
}

/// A node of the next version of the program, as far as the log and the database are concerned: a projector and a query
/// API.
struct NextNode {
    projector: Projector,
    /// Where its query API is.
    url: String,
    lengths: Reader,
    stop: oneshot::Sender<()>,
    _folder: TempDir,
    served: JoinHandle<()>,
}

impl NextNode {
    async fn start(deployment: &Deployment, read_models: &ReadModels) -> Self {
        let topics = deployment.topics();
        // With all topics, since these are what tokens are made for.
        let (log, database) = (deployment.log_beside().await.unwrap(), read_models.database.clone());
        let group_prefix = deployment.topics().facts.strip_suffix("events").unwrap().to_owned();
        let mut projector = Projector::new(log.clone(), database.clone(), group_prefix);
        projector.start(Next::new(&topics));
        let serving = Serving::default();
        let folder = tempfile::tempdir().unwrap();
        let search = AnyReplica::serving(Search::new(&topics), serving.clone());
        projector.start_replica(search, ReplicaFolder::hold(folder.path()).unwrap());

        let catalogue = Catalogue::new()
            .with_projection(Registry::new(&topics))
            .with_projection(Next::new(&topics))
            .with_projection(Favorites::new(&topics))
            .with_projection(Journeys::new(&topics))
            .with_projection(Statistics::new(&topics))
            .with_replica(Search::new(&topics), "query API");
        let names = vec![topics.facts.clone(), topics.views.clone()];
        let consistency =
            Consistency::new(&log.identity().await.unwrap(), names, &authority().key_for("consistency token").unwrap());
        let queries = QueryApi::open(&database, &catalogue, consistency, serving).await;
        let (routes, openapi) = queries.routes();
        let edge = Edge {
            authority: authority(),
            limiter: Limiter::new(RateLimit::Off),
            cors_origins: Vec::new(),
            telemetry: telemetry::install("balcony").unwrap(),
            problem_types: "urn:balcony:problem:".into(),
        };
        let probes = probes::public(&Readiness::new(queries.checks()));
        let router = service::service(routes, openapi, probes, &edge);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::new("balcony", "urn:balcony:problem:", Limits::of_process());
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            server.serve(listener, router, stopped).await
        });
        let lengths = Reader::open(&database, vec![Next::new(&topics).model]).await;
        Self { projector, url, lengths, stop, _folder: folder, served }
    }

    /// How many comments have a length.
    async fn lengths(&self) -> Result<i64, StoreError> {
        let counted: Vec<(i64,)> = self.lengths.fetch("SELECT COUNT(*) FROM comment_lengths", &[]).await?;
        Ok(counted[0].0)
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
        self.projector.stop().await;
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_built_beside_the_old_one_and_both_are_read() {
    let Some(deployment) = Deployment::distributed().await else { return };
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut load = Load::start(&deployment, &movie);
    load.acknowledged(100).await;
    let old_readers = Readers::start(&deployment, &movie).await;

    let read_models = ReadModels::of(&deployment).await;
    let next = NextNode::start(&deployment, &read_models).await;
    eventually("the new version is live beside the old one", PATIENCE, async || {
        let live = [(1, GenerationState::Live), (2, GenerationState::Live)];
        (read_models.generations("comments").await == live).then_some(())
    })
    .await;
    eventually("the new node is ready", PATIENCE, async || {
        let answer = reqwest::get(format!("{}/readyz", next.url)).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let at_next = |name: &str| {
        let client = deployment.user(name);
        let commands = client.commands.clone();
        client.talking_to(&commands, &next.url)
    };
    let new_readers = Readers::of(at_next("new-ana"), at_next("new-reader"), &movie).await;
    load.acknowledged(200).await;
    assert!(next.lengths().await.unwrap() >= 200);

    // The old program works on as if nothing were there.
    let url = format!("{}/projections", deployment.process("projector").url);
    let states: serde_json::Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    let comments = states.as_array().unwrap().iter().find(|state| state["name"] == "comments").unwrap();
    assert!(comments["state"] == "running" && comments["generation"] == 1, "{comments}");
    new_readers.read_on().await;
    new_readers.stop().await;

    // And back, while the new program still runs, which then keeps off.
    let said = succeeded(&operate(&deployment, &["rollback", "comments"]).await);
    assert!(said.contains("generation 1 is live again"), "{said}");
    load.acknowledged(100).await;
    eventually("the new program keeps off", PATIENCE, async || {
        let states = next.projector.states();
        let complaint = states.iter().find(|state| state.name == "comments")?.last_error.clone()?;
        complaint.contains("rolled back").then_some(())
    })
    .await;
    eventually("nothing is read of what was taken back", PATIENCE, async || {
        matches!(next.lengths().await, Err(StoreError::NotReady(_))).then_some(())
    })
    .await;
    next.stop().await;
    old_readers.stop().await;
    let all = load.stop().await;
    let fold = equals_a_fold(&deployment).await;
    assert_all_there(&fold, &all);
}
