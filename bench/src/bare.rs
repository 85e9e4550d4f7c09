//! The servers to measure against: the same HTTP server with nothing but the one wait that no design can leave out.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use balcony_command_api::CommandApi;
use balcony_domain::{DERIVED, Topics};
use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::{EventLog, Message, Topic};
use balcony_http::probes::{self, Readiness};
use balcony_http::rate_limit::{Limiter, RateLimit};
use balcony_http::server::{self, Limits, Server};
use balcony_http::service::{self, Edge};
use balcony_http::{Authority, Consistency, Expected, Subjects, telemetry};
use balcony_read_models::Leaving;
use balcony_store::Database;
use clap::{Args, Subcommand};
use futures_util::stream::unfold;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{broadcast, mpsc, oneshot};
use uuid::Uuid;

use crate::events;

/// A server in a process of its own.
#[derive(Args)]
pub(crate) struct Bare {
    #[arg(long, env = "LISTEN")]
    listen: SocketAddr,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Awaits a SQLite commit shared by all who wait for one.
    Sqlite { file: PathBuf },
    /// Answers with the same bytes, from memory.
    Answer { file: PathBuf },
    /// Awaits one delivery to Kafka.
    Kafka { brokers: String, topic: String },
    /// Sends the same bytes to all who watch a movie when somebody posts about it.
    Streams { file: PathBuf },
    /// Balcony's command API on an embedded log, without projections.
    Commands {
        data_dir: PathBuf,
        #[arg(long, env = "JWT_SECRET")]
        jwt_secret: String,
    },
}

/// Commits that wait at the most, and rows that one commit takes.
const WAITING: usize = 4_096;
const GROUP: usize = 1_000;
/// Events that wait for one reader at the most.
const QUEUE: usize = 256;
/// How a comment begins.
const COMMENT_ID: &str = "{\"id\":\"";

impl Bare {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let router = match &self.kind {
            Kind::Sqlite { file } => sqlite(file)?,
            Kind::Answer { file } => answering(std::fs::read(file)?.into()),
            Kind::Kafka { brokers, topic } => kafka(brokers, topic)?,
            Kind::Streams { file } => streaming(&std::fs::read_to_string(file)?)?,
            Kind::Commands { data_dir, jwt_secret } => commands(data_dir, jwt_secret).await?,
        };
        let server = Server::new("balcony", "urn:balcony:problem:", Limits::of_process());
        server.serve(server::listen(self.listen)?, router, std::future::pending()).await;
        Ok(())
    }
}

fn router<S: Clone + Send + Sync + 'static>(handler: axum::routing::MethodRouter<S>, state: S) -> Router {
    Router::new().route("/v1/movies/{id}/comments", handler).route("/readyz", get(async || "ready")).with_state(state)
}

fn created(id: &str) -> Response {
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], format!("{{\"id\":\"{id}\"}}")).into_response()
}

/// Answers whatever is asked with `body`.
fn answering(body: Bytes) -> Router {
    let answer = async move || ([(header::CONTENT_TYPE, "application/json")], body.clone());
    Router::new().fallback(answer)
}

// --- streams ---

#[derive(Clone)]
struct Movies {
    /// By movie.
    watched: Arc<Mutex<HashMap<String, broadcast::Sender<Bytes>>>>,
    /// What stands after a comment's id.
    rest: Arc<str>,
}

impl Movies {
    fn watched(&self, movie: String) -> broadcast::Sender<Bytes> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.entry(movie).or_insert_with(|| broadcast::Sender::new(QUEUE)).clone()
    }
}

/// Every comment is `comment`, in JSON, with another id.
fn streaming(comment: &str) -> anyhow::Result<Router> {
    let rest = comment.get(COMMENT_ID.len() + Uuid::nil().to_string().len()..).context("no comment")?;
    let movies = Movies { watched: Arc::default(), rest: rest.into() };
    Ok(router(post(tell), movies.clone())
        .merge(Router::new().route("/v1/live/movies/{id}", get(watch)).with_state(movies)))
}

async fn tell(State(movies): State<Movies>, UrlPath(movie): UrlPath<String>, _: Bytes) -> Response {
    let (id, rest) = (Uuid::now_v7().to_string(), &movies.rest);
    let frame = format!("id: {id}\nevent: comment.posted\ndata: {COMMENT_ID}{id}{rest}\n\n");
    // Nobody may be there.
    let _ = movies.watched(movie).send(frame.into());
    created(&id)
}

async fn watch(State(movies): State<Movies>, UrlPath(movie): UrlPath<String>) -> Response {
    let frames = unfold(movies.watched(movie).subscribe(), |mut frames| async move {
        let frame = frames.recv().await.ok()?;
        Some((Ok::<_, Infallible>(frame), frames))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(frames)).into_response()
}

// --- Kafka ---

#[derive(Clone)]
struct Producer {
    producer: FutureProducer,
    topic: Arc<str>,
    headers: OwnedHeaders,
    message: Arc<Message>,
}

/// The producer's settings are those of Balcony's log.
fn kafka(brokers: &str, topic: &str) -> anyhow::Result<Router> {
    let producer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("partitioner", "murmur2_random")
        .create()?;
    let message = events::message(0, events::body());
    let headers = message
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let state = Producer { producer, topic: topic.into(), headers, message: Arc::new(message) };
    Ok(router(post(deliver), state))
}

async fn deliver(State(state): State<Producer>, _: Bytes) -> Response {
    let key = Uuid::now_v7().to_string();
    let record =
        FutureRecord::to(&state.topic).key(&key).payload(&state.message.payload).headers(state.headers.clone());
    let delivered = match state.producer.send_result(record) {
        Ok(delivery) => delivery.await.is_ok_and(|delivered| delivered.is_ok()),
        Err(_) => false,
    };
    if delivered { created(&key) } else { StatusCode::SERVICE_UNAVAILABLE.into_response() }
}

// --- SQLite ---

#[derive(Clone)]
struct Group {
    commits: mpsc::Sender<(String, oneshot::Sender<()>)>,
}

fn sqlite(file: &Path) -> anyhow::Result<Router> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.execute_batch(
        "CREATE TABLE records (id INTEGER PRIMARY KEY, key BLOB NOT NULL, headers BLOB NOT NULL, payload BLOB NOT NULL)",
    )?;
    let (commits, receiver) = mpsc::channel(WAITING);
    thread::Builder::new().name("commits".to_owned()).spawn(move || {
        if let Err(error) = commit(connection, receiver) {
            eprintln!("the commits failed: {error}");
        }
    })?;
    Ok(router(post(commit_one), Group { commits }))
}

/// Commits everything that waits, again and again.
fn commit(
    mut connection: Connection,
    mut receiver: mpsc::Receiver<(String, oneshot::Sender<()>)>,
) -> rusqlite::Result<()> {
    let message = events::message(0, events::body());
    let headers: Vec<u8> = message.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value].concat()).collect();
    let mut group = Vec::with_capacity(GROUP);
    while receiver.blocking_recv_many(&mut group, GROUP) > 0 {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO records (key, headers, payload) VALUES (?1, ?2, ?3)")?;
            for (key, _) in &group {
                insert.execute(params![key.as_bytes(), headers, message.payload])?;
            }
        }
        transaction.commit()?;
        for (_, answer) in group.drain(..) {
            // Whoever stopped waiting does not want to know.
            let _ = answer.send(());
        }
    }
    Ok(())
}

async fn commit_one(State(group): State<Group>, _: Bytes) -> Response {
    let key = Uuid::now_v7().to_string();
    let (answer, answered) = oneshot::channel();
    let waiting = group.commits.send((key.clone(), answer)).await.is_ok();
    if waiting && answered.await.is_ok() { created(&key) } else { StatusCode::SERVICE_UNAVAILABLE.into_response() }
}

// --- Balcony's command API alone ---

/// What `balcony` assembles, without a projector and without queries.
async fn commands(data_dir: &Path, jwt_secret: &str) -> anyhow::Result<Router> {
    let topics = Topics::with_prefix("balcony.");
    let topic = |name: &Arc<str>| Topic { name: name.clone(), partitions: 1, replication: 1, retention: None };
    let log = EmbeddedLog::open(&data_dir.join("log.db"), &[topic(&topics.facts), topic(&topics.views)])?;
    let log: Arc<dyn EventLog> = Arc::new(log);
    let place = balcony_store::DatabasePlace::Sqlite { directory: data_dir.join("read-models") };
    let settings = balcony_store::Settings { namespace: "balcony".parse()?, place };
    let database = Database::open(&settings).await?;
    let names = vec![topics.facts.clone(), topics.views.clone()];
    let consistency = Consistency::new(&log.identity().await?, names, &[0; 32]);
    let edge = Edge {
        authority: Authority::new(jwt_secret.as_bytes(), "balcony", Subjects::derived_in(DERIVED), Expected::default()),
        limiter: Limiter::new(RateLimit::Off),
        cors_origins: Vec::new(),
        telemetry: telemetry::install("balcony")?,
        problem_types: "urn:balcony:problem:".into(),
    };
    let commands = CommandApi::open(log, &database, topics, consistency, Leaving::new(&[0; 32]), None).await;
    let (routes, openapi) = commands.routes();
    let probes = probes::public(&Readiness::new(commands.checks()));
    Ok(service::service(routes, openapi, probes, &edge))
}
