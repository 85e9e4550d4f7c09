//! The operators' commands of a program of its own: `shop`, with events of its own, a projection and a reactor that
//! publishes to a second topic.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_event_log::{Headers, Message, Record};
use balcony_projector::operations::{Command, Terminal};
use balcony_projector::{
    Application, Catalogue, Decode, Delivery, DeliveryPolicy, Installation, Projection, Projector, Publisher,
    ReactError, Reactor, Received, Settings, Start, TopicSpec,
};
use balcony_store::{BuildOptions, GenerationState, ReadModel, StoreError, Tx};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

/// A shop.
#[derive(Parser)]
#[command(name = "shop")]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Sells.
    Serve,
    #[command(flatten)]
    Operations(Command),
}

/// A sale of something.
struct Sale(String);

impl Decode for Sale {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        if record.headers.get("ce_type") != Some(b"shop.sold.v1") {
            return Ok(None);
        }
        serde_json::from_slice(&record.payload).map(|what| Some(Self(what))).map_err(|error| error.to_string())
    }
}

/// What nobody can deal with until it is mended.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<BTreeSet<&'static str>>>);

impl Faults {
    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().contains(what)
    }
}

fn model(version: u32, topics: &[Arc<str>]) -> ReadModel {
    let schema = "CREATE TABLE sales (what TEXT NOT NULL PRIMARY KEY, count BIGINT NOT NULL);";
    ReadModel::new("sales", version, topics.iter().cloned(), schema)
}

/// How often each thing was sold.
struct Sales {
    model: ReadModel,
    faults: Faults,
}

impl Projection for Sales {
    type Event = Sale;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Sale>], tx: &mut Tx) -> Result<(), StoreError> {
        for Sale(what) in events.iter().map(|event| &**event) {
            if self.faults.has(what) {
                return Err(StoreError::refusal(format!("{what} has no price")));
            }
            let sql = "INSERT INTO sales VALUES ($1, 1) ON CONFLICT (what) DO UPDATE SET count = sales.count + 1";
            tx.execute(sql, &[what.as_str().into()]).await?;
        }
        Ok(())
    }
}

/// Sends a parcel for each sale, and publishes that it did.
struct Courier {
    topics: [Arc<str>; 1],
    sent: Arc<str>,
    start: Start,
    faults: Faults,
}

impl Reactor for Courier {
    type Event = Sale;

    fn name(&self) -> &str {
        "courier"
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn start(&self) -> Start {
        self.start.clone()
    }

    fn policy(&self) -> DeliveryPolicy {
        DeliveryPolicy { attempts: 1, ..DeliveryPolicy::default() }
    }

    async fn react(&self, delivery: &Delivery<Sale>, publisher: &Publisher) -> Result<(), ReactError> {
        let Sale(what) = &delivery.event;
        if self.faults.has(what) {
            return Err(ReactError::Refused(format!("{what} does not fit")));
        }
        let mut headers = Headers::new();
        for (name, value) in [("ce_specversion", "1.0"), ("ce_source", "/shop"), ("ce_type", "shop.sent.v1")] {
            headers.push(name, value.as_bytes());
        }
        let message = Message { key: b"parcels".to_vec(), headers, payload: serde_json::to_vec(what).unwrap() };
        publisher.publish(&self.sent, message).await.map(drop)
    }
}

/// An embedded installation of the shop.
struct Shop {
    application: Application,
    sales: Faults,
    courier: Faults,
    folder: Arc<TempDir>,
}

/// What a command said.
struct Said {
    failed: Option<String>,
    output: String,
    messages: String,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Shop {
    fn new() -> Self {
        Self::of_version(1, Arc::new(tempfile::tempdir().unwrap()))
    }

    /// The next version of the program, on the same installation.
    fn next(&self) -> Self {
        Self::of_version(2, self.folder.clone())
    }

    fn of_version(version: u32, folder: Arc<TempDir>) -> Self {
        Self::of(version, Some(Start::Beginning), folder)
    }

    /// With a courier that starts somewhere, or is off.
    fn of(version: u32, courier_starts: Option<Start>, folder: Arc<TempDir>) -> Self {
        let (sales, courier) = (Faults::default(), Faults::default());
        let faults = (sales.clone(), courier.clone());
        let topics = [TopicSpec::forever("sold"), TopicSpec::forever("sent"), TopicSpec::forever("returned")];
        let application = Application::new("shop", topics, move |topics| {
            let (read, sent) = ([topics.get("sold").clone()], topics.get("sent").clone());
            let catalogue =
                Catalogue::new().with_projection(Sales { model: model(version, &read), faults: faults.0.clone() });
            match courier_starts.clone() {
                Some(start) => catalogue.with_reactor(Courier { topics: read, sent, start, faults: faults.1.clone() }),
                None => catalogue.with_reactor_off("courier", "nobody drives"),
            }
        });
        Self { application, sales, courier, folder }
    }

    fn data_dir(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn parse(&self, arguments: &[&str]) -> Cli {
        let data_dir = self.data_dir();
        let arguments = [&["shop", "--data-dir", &data_dir], arguments].concat();
        // Whatever the environment says: these are tests of an embedded installation.
        let command = Cli::command().mut_args(|argument| argument.env(None));
        Cli::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let cli = self.parse(arguments);
        let Action::Operations(command) = cli.action else { panic!("{arguments:?} is no operators' command") };
        let (mut output, mut messages) = (Vec::new(), Vec::new());
        let ended = {
            let mut terminal = Terminal::new(input.as_bytes(), &mut output, &mut messages);
            timeout(PATIENCE, command.run_on(&self.application, &cli.settings, &mut terminal)).await.unwrap()
        };
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { failed: ended.err().map(|e| format!("{e:#}")), output: text(output), messages: text(messages) }
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "").await
    }

    /// What a command that goes well writes.
    #[track_caller]
    fn well(said: Said) -> String {
        assert_eq!(said.failed, None, "{}", said.output);
        said.output
    }

    /// Why a command fails.
    #[track_caller]
    fn failure(said: Said) -> String {
        said.failed.unwrap_or_else(|| panic!("it goes well: {}", said.output))
    }

    async fn serve(&self) -> Served {
        let cli = self.parse(&["serve"]);
        let installation = Installation::open(&self.application, &cli.settings).await.unwrap();
        let projector = installation.start().unwrap();
        Served { installation, projector }
    }

    async fn parked(&self) -> Vec<Value> {
        serde_json::from_str(&Self::well(self.run(&["parked", "list", "--json"]).await)).unwrap()
    }

    /// The id of what is parked in `step` at the place `place` of the log.
    async fn parked_id(&self, step: &str, place: usize) -> String {
        let parked = self.parked().await;
        let mut of_step = parked.iter().filter(|record| record["projection"] == step);
        of_step.nth(place).unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the doctor finds every step caught up, and gives what it says.
    async fn examined(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        let examined = async {
            loop {
                looks.tick().await;
                let said = self.run(&["doctor", "--json"]).await;
                let diagnosis: Value =
                    serde_json::from_str(&said.output).unwrap_or_else(|_| panic!("{:?}", said.failed));
                let steps = diagnosis["projections"].as_array().unwrap();
                if steps.iter().all(|one| one["state"] == "running" && one["lag"]["events"] == 0) && is_so(&diagnosis) {
                    return diagnosis;
                }
            }
        };
        timeout(PATIENCE, examined).await.expect("it comes to pass")
    }
}

/// A process of the shop.
struct Served {
    installation: Installation,
    projector: Projector,
}

impl Served {
    /// Sells things, each to the customer before the colon.
    async fn sell(&self, sales: &[&str]) {
        for sale in sales {
            let (customer, what) = sale.split_once(':').unwrap();
            let message = sold(customer, &serde_json::to_string(what).unwrap());
            self.installation.log.append(self.installation.topics.get("sold"), message).await.unwrap();
        }
    }

    async fn stop(self) {
        self.projector.stop().await;
    }
}

fn sold(customer: &str, payload: &str) -> Message {
    let id = Uuid::now_v7().to_string();
    let mut headers = Headers::new();
    for (name, value) in
        [("ce_specversion", "1.0"), ("ce_id", &*id), ("ce_source", "/shop"), ("ce_type", "shop.sold.v1")]
    {
        headers.push(name, value.as_bytes());
    }
    Message { key: customer.into(), headers, payload: payload.into() }
}

fn parked_in(diagnosis: &Value, step: &str) -> i64 {
    let steps = diagnosis["projections"].as_array().unwrap();
    steps.iter().find(|one| one["name"] == step).unwrap()["parked"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_spoken_to_in_the_programs_name() {
    let shop = Shop::new();
    for arguments in [&["doctor"][..], &["parked", "list"], &["export"], &["rebuild", "sales"], &["rollback", "sales"]]
    {
        let failure = Shop::failure(shop.run(arguments).await);
        assert!(failure.starts_with("DATA_DIR: there is no installation in "), "{arguments:?}: {failure}");
    }
    assert!(!Path::new(&shop.data_dir()).exists(), "none is made");

    assert_eq!(Shop::well(shop.run(&["migrate"]).await), "");
    assert_eq!(Shop::failure(shop.run(&["doctor"]).await), "nothing is running; start shop");
    let served = shop.serve().await;
    let well = shop.examined(|diagnosis| diagnosis["projections"].as_array().unwrap().len() == 2).await;
    let kinds: Vec<_> =
        well["projections"].as_array().unwrap().iter().map(|one| (&one["name"], &one["kind"])).collect();
    let (sales, courier) = (("sales".into(), "projection".into()), ("courier".into(), "reactor".into()));
    assert_eq!(kinds, [(&sales.0, &sales.1), (&courier.0, &courier.1)]);
    assert!(Shop::well(shop.run(&["doctor"]).await).contains("courier  reactor"));
    let failure = Shop::failure(shop.run(&["migrate"]).await);
    assert!(failure.starts_with("DATA_DIR: another process holds "), "{failure}");

    let failure = Shop::failure(shop.run(&["rebuild", "others"]).await);
    assert_eq!(failure, "\"others\" is not a projection of shop; there are sales");
    let failure = Shop::failure(shop.run(&["parked", "retry", "--all", "--projection", "others"]).await);
    assert_eq!(failure, "--projection: \"others\" is not a step of shop; there are sales, courier");
    for action in ["rebuild", "rollback"] {
        let failure = Shop::failure(shop.run(&[action, "courier"]).await);
        assert!(failure.starts_with("courier is a reactor: "), "{failure}");
    }
    served.stop().await;
    assert_eq!(
        Shop::well(shop.run(&["migrate"]).await),
        "courier version 1 generation 1 live\nsales version 1 generation 1 live\n"
    );
    assert!(Shop::failure(shop.run(&["doctor"]).await).starts_with("nothing is running"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_is_rebuilt_and_rolled_back_beside_the_program_and_without_it() {
    let shop = Shop::new();
    let served = shop.serve().await;
    served.sell(&["mia:bread", "jon:milk", "mia:bread"]).await;
    shop.examined(|_| true).await;
    let rebuilt = Shop::well(shop.run(&["rebuild", "sales"]).await);
    assert!(rebuilt.starts_with("sales: generation 2 is live (version 1, "), "{rebuilt}");
    assert!(rebuilt.ends_with("generation 1 is kept; shop rollback sales goes back to it\n"), "{rebuilt}");
    let rolled_back = Shop::well(shop.run(&["rollback", "sales"]).await);
    assert_eq!(rolled_back, "sales: generation 1 is live again, and 2 is retired\n");
    served.stop().await;

    assert!(Shop::well(shop.run(&["rebuild", "sales"]).await).starts_with("sales: generation 3 is live"));
    let failure = Shop::failure(shop.run(&["rebuild", "sales", "--cancel"]).await);
    assert_eq!(failure, "no rebuild of sales is under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_nobody_of_its_version_keeps_up_to_date_is_said_to_wait_and_stays() {
    let shop = Shop::new();
    let served = shop.serve().await;
    served.sell(&["mia:bread"]).await;
    shop.examined(|_| true).await;
    // A generation of the next version that is built, and has fallen behind the older one.
    let database = served.installation.database.clone();
    let topics = [served.installation.topics.get("sold").clone()];
    let built = database.begin_build(&model(2, &topics), BuildOptions::default()).await.unwrap();
    database.build_stands_at(&built, GenerationState::Following).await.unwrap();

    let next = shop.next();
    let failure = Shop::failure(next.run(&["rebuild", "sales"]).await);
    for part in
        ["generation 2 of sales is built", "no projector of version 2 is running", "shop rebuild sales --cancel"]
    {
        assert!(failure.contains(part), "{part} in {failure}");
    }
    let listed = database.generations(Some("sales")).await.unwrap().pop().unwrap();
    assert_eq!((listed.generation, listed.state), (built, GenerationState::Following), "it is not lost");
    let said = next.run(&["rebuild", "sales", "--cancel"]).await;
    assert!(said.messages.contains("the first of version 2"), "{}", said.messages);
    assert_eq!(Shop::well(said), "sales: the rebuild of generation 2 is given up\n");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_versions_operators_have_what_their_own_generation_parked() {
    let shop = Shop::new();
    shop.sales.0.lock().unwrap().extend(["tea", "coal"]);
    let served = shop.serve().await;
    served.sell(&["mia:tea", "jon:coal"]).await;
    shop.examined(|diagnosis| parked_in(diagnosis, "sales") == 2).await;
    let (tea, coal) = (shop.parked_id("sales", 0).await, shop.parked_id("sales", 1).await);
    // The next version inherits both, and stands beside the older one.
    let next = shop.next();
    let topics = [served.installation.topics.get("sold").clone()];
    let sales = Sales { model: model(2, &topics), faults: next.sales.clone() };
    let database = served.installation.database.clone();
    let mut projector = Projector::new(served.installation.log.clone(), database.clone(), "shop.");
    projector.start(sales);
    eventually("the next version is live", PATIENCE, async || {
        let listed = database.generations(Some("sales")).await.unwrap().pop()?;
        ((listed.generation.version, listed.state) == (2, GenerationState::Live)).then_some(())
    })
    .await;

    let generation = async |shop: &Shop, id: &str| {
        let shown = Shop::well(shop.run(&["parked", "show", id]).await);
        shown.lines().find_map(|line| line.strip_prefix("projection  sales, generation ")).unwrap().to_owned()
    };
    assert_eq!((generation(&shop, &tea).await, generation(&next, &tea).await), ("1".to_owned(), "2".to_owned()));
    assert_eq!(Shop::well(next.run(&["parked", "retry", &tea]).await), "1 applied\n");
    assert_eq!(Shop::well(shop.run(&["parked", "discard", &coal]).await), "1 discarded, 0 applied\n");
    let left = async |shop: &Shop| {
        shop.parked().await.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((left(&shop).await, left(&next).await), (vec![tea], vec![coal]));
    assert_eq!(Shop::well(next.run(&["parked", "retry", "--all"]).await), "1 applied\n");
    assert_eq!(left(&shop).await.len(), 1);
    projector.stop().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_stopped_goes_on_past_what_failed_when_it_is_accepted() {
    let shop = Shop::new();
    shop.sales.0.lock().unwrap().insert("coal");
    let served = shop.serve().await;
    served.sell(&["mia:milk"]).await;
    shop.examined(|_| true).await;
    let sales: Vec<String> = (0..130).map(|number| format!("c{number}:coal")).collect();
    served.sell(&sales.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let state = |diagnosis: &Value| diagnosis["projections"][0]["state"].as_str().unwrap().to_owned();
    eventually("it stops", PATIENCE, async || {
        let diagnosis: Value = serde_json::from_str(&shop.run(&["doctor", "--json"]).await.output).unwrap();
        let advice = diagnosis["projections"][0]["complaints"].to_string();
        (state(&diagnosis) == "stopped" && advice.contains("parked accept")).then_some(())
    })
    .await;
    let said = Shop::well(shop.run(&["parked", "accept", "sales"]).await);
    assert_eq!(said, "sales: 30 parked, up to where the log ended; it goes on from there\n");
    served.sell(&["mia:bread"]).await;
    shop.examined(|diagnosis| parked_in(diagnosis, "sales") == 130).await;
    let failure = Shop::failure(shop.run(&["parked", "accept", "courier"]).await);
    assert!(failure.starts_with("courier is a reactor"), "{failure}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_whose_tables_are_lost_is_one_that_is_ill_until_it_is_rebuilt() {
    let shop = Shop::new();
    shop.courier.0.lock().unwrap().insert("tea");
    let served = shop.serve().await;
    served.sell(&["mia:tea"]).await;
    // That it is set aside is known by the tables alone.
    let broken = sold("jon", "no JSON");
    served.installation.log.append(served.installation.topics.get("sold"), broken).await.unwrap();
    shop.examined(|diagnosis| (parked_in(diagnosis, "courier"), parked_in(diagnosis, "sales")) == (2, 1)).await;
    let schema =
        served.installation.database.generations(Some("sales")).await.unwrap()[0].generation.schema().to_owned();
    served.stop().await;
    let read_models = shop.folder.path().join("data").join("read-models");
    for suffix in ["db", "db-wal", "db-shm"] {
        let _ = std::fs::remove_file(read_models.join(format!("{schema}.{suffix}")));
    }

    let served = shop.serve().await;
    eventually("it is ill, and the other is not", PATIENCE, async || {
        let diagnosis: Value = serde_json::from_str(&shop.run(&["doctor", "--json"]).await.output).ok()?;
        let [sales, courier] = &diagnosis["projections"].as_array()?[..] else { return None };
        let is_lost =
            sales["complaints"][0] == "the tables of generation 1 are lost: shop rebuild sales makes them anew";
        (is_lost && sales["state"] == "failed" && courier["state"] == "running").then_some(())
    })
    .await;
    let said = shop.run(&["parked", "list", "--json"]).await;
    assert_eq!(serde_json::from_str::<Vec<Value>>(&said.output).unwrap().len(), 2, "the courier's");
    assert!(said.failed.unwrap().contains("sales: the tables are lost; rebuild it"));
    let said = Shop::well(shop.run(&["rebuild", "sales"]).await);
    assert!(said.starts_with("sales: generation 2 is live") && !said.contains("is kept"), "{said}");
    shop.examined(|diagnosis| parked_in(diagnosis, "sales") == 1).await;
    served.stop().await;
}

/// Something that has stopped reading.
struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_done_though_nobody_reads_that_it_was() {
    let shop = Shop::new();
    let done = async |arguments: &[&str]| {
        let cli = shop.parse(arguments);
        let Action::Operations(command) = cli.action else { panic!("it is one") };
        let mut terminal = Terminal::new(&b""[..], Closed, Closed);
        command.run_on(&shop.application, &cli.settings, &mut terminal).await.unwrap();
    };
    done(&["migrate"]).await;
    let served = shop.serve().await;
    shop.examined(|_| true).await;
    served.stop().await;
    for arguments in [&["migrate"][..], &["rebuild", "sales"], &["rollback", "sales"]] {
        done(arguments).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_projection_parked_is_listed_shown_retried_and_discarded() {
    let shop = Shop::new();
    shop.sales.0.lock().unwrap().extend(["tea", "coal"]);
    let served = shop.serve().await;
    served.sell(&["mia:tea", "mia:bread", "jon:coal", "jon:milk"]).await;
    let ill = shop.examined(|diagnosis| parked_in(diagnosis, "sales") == 4).await;
    assert_eq!(ill["projections"][0]["complaints"][0], "4 parked: shop parked list --projection sales");
    let (tea, coal) = (shop.parked_id("sales", 0).await, shop.parked_id("sales", 2).await);
    let shown = Shop::well(shop.run(&["parked", "show", &tea]).await);
    for part in ["projection  sales, generation 1", "tea has no price", "\"tea\"", "1 wait behind it"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }

    let said = shop.run(&["parked", "retry", &tea]).await;
    assert_eq!(said.failed, Some(format!("still parked: {tea}")));
    assert!(said.output.starts_with("0 applied, 2 still parked\n"), "{}", said.output);
    shop.sales.0.lock().unwrap().remove("tea");
    assert_eq!(Shop::well(shop.run(&["parked", "retry", &tea]).await), "2 applied\n");
    let said = shop.run(&["parked", "retry", "--all", "--projection", "sales"]).await;
    assert_eq!(said.failed.as_deref(), Some("2 still parked"));
    assert_eq!(Shop::well(shop.run(&["parked", "discard", &coal]).await), "1 discarded, 1 applied\n");
    assert_eq!(Shop::well(shop.run(&["parked", "list"]).await), "nothing is parked\n");
    served.stop().await;
}

/// The payloads in the topic that the courier publishes to, with the ids.
async fn sent(shop: &Shop) -> Vec<(String, String)> {
    let exported = Shop::well(shop.run(&["export"]).await);
    let lines = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sent = lines.filter(|line| line["type"] == "shop.sent.v1");
    sent.map(|line| (line["data"].as_str().unwrap().to_owned(), line["id"].as_str().unwrap().to_owned())).collect()
}

fn payloads(sent: &[(String, String)]) -> Vec<&str> {
    sent.iter().map(|(payload, _)| payload.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reactor_parked_is_listed_shown_retried_and_discarded() {
    let shop = Shop::new();
    shop.courier.0.lock().unwrap().extend(["tea", "coal"]);
    let served = shop.serve().await;
    served.sell(&["mia:tea", "mia:bread", "jon:coal", "jon:milk"]).await;
    shop.examined(|diagnosis| parked_in(diagnosis, "courier") == 4).await;
    let (tea, bread) = (shop.parked_id("courier", 0).await, shop.parked_id("courier", 1).await);
    let coal = shop.parked_id("courier", 2).await;
    let table = Shop::well(shop.run(&["parked", "list", "--projection", "courier"]).await);
    assert!(table.lines().count() == 5 && table.contains("tea does not fit"), "{table}");
    let shown = Shop::well(shop.run(&["parked", "show", &bread]).await);
    assert!(shown.contains("projection  courier, generation 1") && shown.contains("it waits behind"), "{shown}");

    let said = shop.run(&["parked", "retry", &bread]).await;
    assert_eq!(said.failed, Some(format!("still parked: {bread}")));
    assert!(said.output.contains(&format!("{tea} failed again: tea does not fit (1 more wait behind it)")));

    // Beside the process that has the log nothing can be published, and the record stays as it was.
    shop.courier.0.lock().unwrap().clear();
    let failure = Shop::failure(shop.run(&["parked", "retry", &tea]).await);
    assert!(failure.starts_with("courier publishes to the log, and only the process"), "{failure}");
    assert_eq!(shop.parked().await.len(), 4);
    let said = Shop::well(shop.run(&["parked", "discard", &coal]).await);
    assert!(said.starts_with("1 discarded, 0 applied, 1 still parked\n") && said.contains("publishes to the log"));
    assert_eq!(payloads(&sent(&shop).await), [""; 0]);
    served.stop().await;

    // When nothing runs, it can: in the order of the key.
    assert_eq!(Shop::well(shop.run(&["parked", "retry", "--all"]).await), "3 applied\n");
    let after = sent(&shop).await;
    assert_eq!(payloads(&after), ["tea", "bread", "milk"]);
    let ids: BTreeSet<_> = after.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(Shop::well(shop.run(&["parked", "list"]).await), "nothing is parked\n");

    let served = shop.serve().await;
    served.sell(&["mia:salt", "jon:rice"]).await;
    shop.examined(|_| true).await;
    let finally = sent(&shop).await;
    assert_eq!(finally[..3], after[..], "nothing was repeated");
    assert_eq!(payloads(&finally)[3..].iter().copied().collect::<BTreeSet<_>>(), ["rice", "salt"].into());
    served.stop().await;
}

/// Started once with nothing in its log.
async fn started_once(courier_starts: Option<Start>) -> Arc<TempDir> {
    let shop = Shop::of(1, courier_starts, Arc::new(tempfile::tempdir().unwrap()));
    let served = shop.serve().await;
    shop.examined(|_| true).await;
    served.stop().await;
    shop.folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_imported_only_where_no_reactor_takes_it_for_news() {
    let shop = Shop::new();
    let served = shop.serve().await;
    served.sell(&["mia:a book", "jonas:a chair"]).await;
    shop.examined(|_| true).await;
    served.stop().await;
    let lines = Shop::well(shop.run(&["export"]).await);

    let folder = started_once(Some(Start::Now)).await;
    // The command may be set otherwise than the process was.
    for courier_starts in [Some(Start::Now), None] {
        let other = Shop::of(1, courier_starts, folder.clone());
        for arguments in [&["import"][..], &["import", "--resume"]] {
            let failure = Shop::failure(other.run_with(arguments, &lines).await);
            assert!(failure.starts_with("courier has begun in this installation"), "{failure}");
            assert!(failure.ends_with("before it is first started with courier"), "{failure}");
        }
        assert_eq!(Shop::well(other.run(&["export"]).await), "", "nothing was appended");
    }
    for courier_starts in [None, Some(Start::Beginning)] {
        let folder = started_once(courier_starts.clone()).await;
        let other = Shop::of(1, courier_starts, folder);
        Shop::well(other.run_with(&["import"], &lines).await);
        assert_eq!(Shop::well(other.run(&["export"]).await).lines().count(), lines.lines().count());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_any_topics_is_exported_and_imported_whole() {
    let (shop, other) = (Shop::new(), Shop::new());
    let served = shop.serve().await;
    served.sell(&["mia:tea", "jon:coal"]).await;
    let junk = Message { key: vec![255], payload: vec![0, 159], ..Message::default() };
    let returned = served.installation.topics.get("returned").clone();
    served.installation.log.append(&returned, junk).await.unwrap();
    shop.examined(|_| true).await;
    let exported = shop.run(&["export"]).await;
    let (summary, lines) = (exported.messages.clone(), Shop::well(exported));
    assert!(summary.starts_with("5 events, SHA-256 "), "{summary}");
    let wrapped: Value = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|line: &Value| line["type"] == "shop.log.record.v1")
        .unwrap();
    assert!(wrapped["shopposition"].as_str().unwrap().starts_with("returned/0/") && wrapped["source"] == "/shop");

    for (wrong, part) in [
        (
            lines.replace("returned/0/", "views/0/"),
            "\"views\" is not a topic of this program; there are sold, sent, returned",
        ),
        (lines.replacen("\"shopposition\"", "\"position\"", 1), "line 1: does not say which topic"),
    ] {
        let failure = Shop::failure(other.run_with(&["import"], &wrong).await);
        assert!(failure.contains(part), "{failure}");
    }
    let sha256 = summary.trim_end().rsplit(' ').next().unwrap();
    let imported = other.run_with(&["import", "--expect", sha256], &lines).await;
    assert_eq!((imported.failed, imported.messages), (None, summary.clone()));
    assert_eq!(other.run(&["export"]).await.messages, summary);
    let failure = Shop::failure(other.run_with(&["import"], &lines).await);
    assert!(failure.starts_with("the log is not empty") && failure.ends_with("by `shop import --resume`"), "{failure}");
    let failure = Shop::failure(shop.run_with(&["import"], &lines).await);
    assert!(failure.starts_with("DATA_DIR: another process holds"), "{failure}");
    served.stop().await;
}
