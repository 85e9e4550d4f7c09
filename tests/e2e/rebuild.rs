//! Read models are thrown away and built again while people post and read.

use std::collections::BTreeSet;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_store::GenerationState;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Client;
use crate::crash::{Load, append, assert_all_there};
use crate::deployment::{Deployment, Kind};
use crate::fold::equals_a_fold;
use crate::read_models::ReadModels;
use balcony_test_support::Services;

/// The replica.
const SEARCH: &str = "search";
pub const PROJECTIONS: [&str; 5] = ["registry", "comments", "favorites", "journeys", "statistics"];

/// How long an operator's command may take.
const LONGEST_COMMAND: Duration = Duration::from_secs(180);

/// Runs an operator's command beside the installation.
pub async fn operate(deployment: &Deployment, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(deployment.command(arguments));
    let output = timeout(LONGEST_COMMAND, command.kill_on_drop(true).output()).await;
    output.unwrap_or_else(|_| panic!("`balcony {}` does not end", arguments.join(" "))).unwrap()
}

#[track_caller]
pub fn succeeded(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// People who read, and favour and unfavour, until they are told to stop.
pub struct Readers {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    tasks: JoinSet<usize>,
}

impl Readers {
    /// Lets them begin, at a movie that has a hundred comments.
    pub async fn start(deployment: &Deployment, movie: &str) -> Self {
        Self::of(deployment.user("ana"), deployment.user("reader"), movie).await
    }

    /// The same as these two, at the services that they talk to.
    pub async fn of(ana: Client, reader: Client, movie: &str) -> Self {
        let kept = ana.comment(movie, "this one stays").await;
        let followed = kept_author(&ana.clone().having_seen(&kept), &kept.header("location")).await;
        let favored = reader.put(&format!("/v1/me/favorites/{followed}")).await.expect(StatusCode::NO_CONTENT);
        let reader = reader.having_seen(&favored);
        let (stop, rounds, mut tasks) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for _ in 0..4 {
            let (stop, rounds) = (stop.clone(), rounds.clone());
            tasks.spawn(read_until_stopped(reader.clone(), movie.to_owned(), kept.header("location"), stop, rounds));
        }
        tasks.spawn(favour_until_stopped(ana, followed_by(&reader).await, stop.clone()));
        Self { stop, rounds, tasks }
    }

    /// Waits until they have read some more.
    pub async fn read_on(&self) {
        let wanted = self.rounds.load(Ordering::Relaxed) + 25;
        eventually("they read on", LONGEST_COMMAND, async || {
            (self.rounds.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    /// Tells them to stop; none of them may have met anything that should not be.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let reads: usize = self.tasks.join_all().await.into_iter().sum();
        assert!(reads > 20, "{reads}");
    }
}

pub async fn everything_is_rebuilt_while_people_post_and_read(deployment: Deployment) {
    everything_is_rebuilt(deployment, 2).await;
}

/// Rebuilds every read model so often while people post and read.
async fn everything_is_rebuilt(deployment: Deployment, rounds: usize) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut load = Load::start(&deployment, &movie);
    load.acknowledged(100).await;
    let readers = Readers::start(&deployment, &movie).await;

    for round in 2..2 + rounds {
        for name in PROJECTIONS {
            let output = operate(&deployment, &["rebuild", name]).await;
            let said = succeeded(&output);
            assert!(said.contains(&format!("{name}: generation {round} is live")), "{said}");
        }
    }
    load.catch_up();
    load.acknowledged(100).await;
    readers.stop().await;
    let all = load.stop().await;

    let fold = equals_a_fold(&deployment).await;
    assert_all_there(&fold, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_rebuilt_where_brokers_let_new_groups_wait() {
    let Some(services) = Services::unhurried() else { return };
    everything_is_rebuilt(Deployment::distributed_on(&services).await, 1).await;
}

async fn kept_author(reader: &Client, location: &str) -> String {
    let comment = reader.get(location).await.expect(StatusCode::OK).json();
    comment["author"]["id"].as_str().unwrap().to_owned()
}

async fn followed_by(reader: &Client) -> String {
    reader.get("/v1/me").await.expect(StatusCode::OK).json()["id"].as_str().unwrap().to_owned()
}

/// Reads what is known to be there, and walks through pages: every answer is one, nothing is missing, nothing comes
/// twice. Gives how many times.
async fn read_until_stopped(
    reader: Client,
    movie: String,
    kept: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> usize {
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        rounds += 1;
        reader.get(&kept).await.expect(StatusCode::OK);
        let shown = reader.get(&format!("/v1/movies/{movie}")).await.expect(StatusCode::OK).json();
        assert!(shown["comment_count"].as_i64().unwrap() > 50, "{shown}");
        let favorites = reader.get("/v1/me/favorites").await.expect(StatusCode::OK).items("id");
        assert_eq!(favorites.len(), 1);
        let timeline = reader.get("/v1/me/timeline").await.expect(StatusCode::OK).items("id");
        assert_eq!(timeline.len(), 1);

        let mut seen = BTreeSet::new();
        let mut path = format!("/v1/movies/{movie}/comments?limit=20");
        for _ in 0..3 {
            let page = reader.get(&path).await.expect(StatusCode::OK);
            let ids = page.items("id");
            assert_eq!(ids.len(), 20, "{}", page.text);
            for id in ids {
                assert!(seen.insert(id.clone()), "{id} comes twice");
            }
            let cursor = page.json()["next_cursor"].as_str().unwrap().to_owned();
            path = format!("/v1/movies/{movie}/comments?limit=20&cursor={cursor}");
        }

        let posted = reader.comment(&movie, "mine").await;
        let mine = reader.clone().having_seen(&posted);
        let path = format!("{}?wait=10s", posted.header("location"));
        mine.get(&path).await.expect(StatusCode::OK);
        done.fetch_add(1, Ordering::Relaxed);
    }
    rounds
}

async fn favour_until_stopped(user: Client, other: String, stop: Arc<AtomicBool>) -> usize {
    while !stop.load(Ordering::Relaxed) {
        user.put(&format!("/v1/me/favorites/{other}")).await.expect(StatusCode::NO_CONTENT);
        user.delete(&format!("/v1/me/favorites/{other}")).await.expect(StatusCode::NO_CONTENT);
    }
    0
}

pub async fn going_back_serves_what_was_before_and_catches_up(deployment: Deployment) {
    let ana = deployment.user("ana");
    let movie = deployment.admin().register_movie("A movie").await.id();
    ana.comment(&movie, "one").await;
    let refused = operate(&deployment, &["rollback", "comments"]).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no generation before"), "{refused:?}");

    succeeded(&operate(&deployment, &["rebuild", "comments"]).await);
    let two = ana.comment(&movie, "two").await;
    let said = succeeded(&operate(&deployment, &["rollback", "comments"]).await);
    assert!(said.contains("generation 1 is live again"), "{said}");
    let three = ana.comment(&movie, "three").await;
    for posted in [&two, &three] {
        let reader = ana.clone().having_seen(&three);
        reader.get(&format!("{}?wait=10s", posted.header("location"))).await.expect(StatusCode::OK);
    }
    // What is kept longer is there after the next rebuild.
    let said = succeeded(&operate(&deployment, &["rebuild", "comments", "--keep-old"]).await);
    assert!(said.contains("generation 3 is live"), "{said}");
    let read_models = ReadModels::of(&deployment).await;
    assert_eq!(read_models.generations("comments").await.len(), 3);
    succeeded(&operate(&deployment, &["rebuild", "comments"]).await);
    let left = [(3, GenerationState::Retired), (4, GenerationState::Live)];
    assert_eq!(read_models.generations("comments").await, left);

    for (name, complaint) in [("nonsense", "not a projection"), ("company-mail", "company-mail is a reactor")] {
        for command in ["rebuild", "rollback"] {
            let refused = operate(&deployment, &[command, name]).await;
            assert_eq!(refused.status.code(), Some(1));
            assert!(String::from_utf8_lossy(&refused.stderr).contains(complaint), "{refused:?}");
        }
    }
}

/// A process that dies with the test.
struct Mortal(Child);

impl Mortal {
    fn start(deployment: &Deployment, arguments: &[&str]) -> Self {
        let mut command = deployment.command(arguments);
        command.env("LISTEN", "127.0.0.1:0").stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many processes are killed in each deployment.
const KILLED: usize = 100;

/// Something that never comes, for a random while: whatever the processes are at then is what they are killed at.
async fn a_random_moment(random: &mut StdRng) {
    let while_ = Duration::from_millis(random.random_range(0..300));
    let _ = timeout(while_, std::future::pending::<()>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_rebuilds_survive_a_hundred_kills() {
    let mut deployment = Deployment::embedded().await;
    let movie = deployment.admin().register_movie("A movie").await.id();
    assert!(deployment.process_mut("balcony").terminate().await.success());
    deployment.processes.clear();
    append(deployment.log().await, deployment.topics().facts, 5_000).await;

    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut killed = 0;
    let mut acknowledged = Vec::new();
    while killed < KILLED {
        if random.random_bool(0.1) {
            deployment.start("balcony", &[]).await;
            let mut load = Load::start(&deployment, &movie);
            let rebuild = Mortal::start(&deployment, &["rebuild", "comments"]);
            load.acknowledged(20).await;
            deployment.kill("balcony");
            drop(rebuild);
            acknowledged.extend(load.stop().await);
        } else {
            let mut service = Mortal::start(&deployment, &[]);
            a_random_moment(&mut random).await;
            let mut rebuild =
                Mortal::start(&deployment, &["rebuild", [&PROJECTIONS[..], &[SEARCH]].concat()[killed / 2 % 6]]);
            a_random_moment(&mut random).await;
            let first = if random.random_bool(0.5) { &mut service } else { &mut rebuild };
            first.0.kill().unwrap();
            a_random_moment(&mut random).await;
        }
        killed += 2;
    }

    deployment.start("balcony", &[]).await;
    for name in PROJECTIONS {
        succeeded(&operate(&deployment, &["rebuild", name]).await);
    }
    let fold = equals_a_fold(&deployment).await;
    assert_all_there(&fold, &acknowledged);
    nothing_is_left_over(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn distributed_rebuilds_survive_a_hundred_kills() {
    let Some(services) = Services::shared() else { return };
    let mut deployment = Deployment::distributed_idle(&services).await;
    let log = deployment.log().await;
    append(log.clone(), deployment.topics().facts, 5_000).await;
    let appending = tokio::spawn(append(log, deployment.topics().facts, 20_000));

    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut projectors = [Mortal::start(&deployment, &["projector"]), Mortal::start(&deployment, &["projector"])];
    for killed in 0..KILLED / 2 {
        let mut rebuild = Mortal::start(&deployment, &["rebuild", PROJECTIONS[killed % 5]]);
        a_random_moment(&mut random).await;
        a_random_moment(&mut random).await;
        if random.random_bool(0.5) {
            rebuild.0.kill().unwrap();
        }
        projectors[random.random_range(0..2)] = Mortal::start(&deployment, &["projector"]);
    }
    drop(projectors);
    appending.await.unwrap();

    deployment.start("projector", &["projector"]).await;
    for name in PROJECTIONS {
        succeeded(&operate(&deployment, &["rebuild", name]).await);
    }
    equals_a_fold(&deployment).await;
    nothing_is_left_over(&deployment).await;
}

/// Only generations that can be read or gone back to are there, as rows and as schemas or files.
async fn nothing_is_left_over(deployment: &Deployment) {
    let read_models = ReadModels::of(deployment).await;
    let mut expected = BTreeSet::new();
    for name in PROJECTIONS.into_iter().chain([SEARCH]) {
        for (number, state) in read_models.generations(name).await {
            assert!(!state.is_unfinished(), "{name} {number} is {state}");
            expected.insert(format!("{}_{name}_{number}", deployment.namespace()));
        }
    }
    assert_eq!(read_models.namespaces().await, expected);
}

pub async fn a_record_that_was_never_parked_stops_a_rebuild(mut deployment: Deployment) {
    // Nothing but what the live generation has set aside may be passed over: here its row is taken away.
    let movie = deployment.admin().register_movie("A movie").await.id();
    if let Kind::Embedded { .. } = deployment.kind {
        assert!(deployment.process_mut("balcony").terminate().await.success());
    }
    let junk = balcony_event_log::Message { key: b"junk".to_vec(), payload: b"junk".to_vec(), ..Default::default() };
    deployment.log().await.append(&deployment.topics().facts, junk).await.unwrap();
    if let Kind::Embedded { .. } = deployment.kind {
        deployment.processes.clear();
        deployment.start("balcony", &[]).await;
    }
    let ana = deployment.user("ana");
    let posted = ana.comment(&movie, "one").await;
    let reader = ana.having_seen(&posted);
    reader.get(&posted.header("location")).await.expect(StatusCode::OK);
    let read_models = ReadModels::of(&deployment).await;
    eventually("the junk is parked", Duration::from_secs(20), async || {
        (read_models.execute("comments", "UPDATE parked SET error = error").await == 1).then_some(())
    })
    .await;
    succeeded(&operate(&deployment, &["rebuild", "comments"]).await);

    read_models.execute("comments", "DELETE FROM parked").await;
    let stopped = operate(&deployment, &["rebuild", "comments"]).await;
    assert_eq!(stopped.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&stopped.stderr).into_owned();
    assert!(complaint.contains("never parked") && complaint.contains("--park"), "{complaint}");
    reader.get(&posted.header("location")).await.expect(StatusCode::OK);

    let said = succeeded(&operate(&deployment, &["rebuild", "comments", "--park"]).await);
    assert!(said.contains("generation 3 is live"), "{said}");
    assert_eq!(read_models.execute("comments", "UPDATE parked SET error = error").await, 1);

    // A live generation that lost rows is not what the log says.
    read_models.execute("comments", "DELETE FROM comments").await;
    let stopped = operate(&deployment, &["rebuild", "comments"]).await;
    let complaint = String::from_utf8_lossy(&stopped.stderr).into_owned();
    assert!(complaint.contains("differs") && complaint.contains("--allow-differences"), "{complaint}");
    succeeded(&operate(&deployment, &["rebuild", "comments", "--cancel"]).await);
    succeeded(&operate(&deployment, &["rebuild", "comments", "--allow-differences"]).await);
    eventually("the comment is back", Duration::from_secs(20), async || {
        let answer = reader.get(&posted.header("location")).await;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await;
    let shown = reader.get(&format!("/v1/movies/{movie}")).await.expect(StatusCode::OK).json();
    assert_eq!(shown["comment_count"], json!(1));
}
