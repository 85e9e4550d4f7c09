//! Where mail goes out: what waits goes together, is decided about, has its turn and its place, and is sent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use balcony_domain::CompanyId;
use balcony_event_log::{BoxFuture, EventLog};
use balcony_projector::ReactError;
use balcony_store::{Database, ReadModel, StoreError};
use tokio::sync::{OnceCell, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::leaving::Leaving;
use super::letter::{Item, Letterhead, letter};
use super::letters::{KEEP_EVERY, Letter, Letters, Slot, Turn};
use super::recipients::Recipients;
use super::refusals::Refusals;
use super::server::{CONNECTING_PATIENCE, Refusal, Server, WrongPostOffice};
use super::under_way::UnderWay;

/// Where mail goes out, and where it is looked up who gets it.
pub struct PostOffice {
    head: Letterhead,
    server: Server,
    leaving: Box<MakeLeaving>,
    /// How long a server may take for a letter once it is connected to.
    patience: Duration,
    /// Once the log and the database are open.
    opened: OnceLock<Opened>,
    /// Mail that waits, by company and the tenth second.
    waiting: Mutex<HashMap<Batch, Vec<Waiting>>>,
    /// One for each connection to the server.
    places: Semaphore,
    /// The mails that are on their way to the server now.
    under_way: UnderWay,
    /// What the server goes on not to take.
    refusals: Refusals,
}

/// What mail is made from, each part once it is needed first.
pub(super) struct Opened {
    log: Arc<dyn EventLog>,
    database: Database,
    registry: ReadModel,
    recipients: OnceCell<Recipients>,
    leaving: OnceCell<Leaving>,
    /// The reactor's namespace is there once something is to be sent.
    letters: OnceCell<Letters>,
}

/// Makes what makes the links by which companies leave; says why it cannot.
type MakeLeaving = dyn Fn(Database) -> BoxFuture<'static, Result<Leaving, String>> + Send + Sync;

/// Comments that go out together: of one company, posted within the same slot of time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Batch {
    pub(super) company: Uuid,
    /// Where mail to it goes.
    pub(super) address: String,
    pub(super) number: i64,
}

struct Waiting {
    item: Item,
    done: oneshot::Sender<Result<(), ReactError>>,
}

/// What the reactor is called, beside whose checkpoints the mails are written down.
pub(super) const NAME: &str = "company-mail";
/// How long comments are put together, in milliseconds of their own time.
pub(super) const TOGETHER: i64 = 10_000;
/// How long those who come late, or are delivered again, wait for each other.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// How long a comment waits at the most, whatever its time says.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long the registry is waited for when a comment comes, and may take to be asked again before it is sent.
pub(super) const REGISTRY_PATIENCE: Duration = Duration::from_secs(10);
/// How long another that is sending the same mail is waited for: until it is left to nobody, and some more.
pub(super) const TURN_PATIENCE: Duration = Duration::from_secs(45);
/// How many mails are given to the server at a time, each over a connection of its own: servers take about ten from one
/// client, and refuse what comes beside them.
const CONNECTIONS: usize = 8;
/// How long other mails are waited for that are given to the server.
pub(super) const PLACE_PATIENCE: Duration = Duration::from_mins(2);
/// How often it is looked whether another has sent it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a server may take for a letter once it is connected to: minutes, since a server may think about what it was sent (RFC 5321, section
/// 4.5.3.2).
const SENDING_PATIENCE: Duration = Duration::from_mins(3);
/// For how long, and how often, mail that the server does not take for now is tried again soon: a server that
/// knows nobody asks for some minutes. What takes longer is set aside, lest it takes the place of others. That goes by company, and
/// by mail, since it may be the mail; and by mail alone where the server ends in the middle of it and takes others.
const SOON_FOR: Duration = Duration::from_mins(2);
const SOON_TIMES: i64 = 50;
/// How long it is tried to note that a mail was sent.
const NOTING_PATIENCE: Duration = Duration::from_secs(30);
/// How long what has begun to be sent may take to be sent and noted.
pub(super) const UNDER_WAY_PATIENCE: Duration = Duration::from_secs(
    2 * REGISTRY_PATIENCE.as_secs()
        + CONNECTING_PATIENCE.as_secs()
        + SENDING_PATIENCE.as_secs()
        + NOTING_PATIENCE.as_secs(),
);

impl PostOffice {
    /// A post office that sends through the server at `url`: `smtp://` (`?tls=required` for STARTTLS) or `smtps://`, with a name and a
    /// password where the server wants them. The first mail asks `leaving` for what makes the links by which companies leave, given
    /// the database of the installation.
    ///
    /// # Errors
    /// When `url` is none of these.
    pub fn new<F>(
        url: &str,
        head: Letterhead,
        leaving: impl Fn(Database) -> F + Send + Sync + 'static,
    ) -> Result<Self, WrongPostOffice>
    where
        F: Future<Output = Result<Leaving, String>> + Send + 'static,
    {
        Ok(Self {
            head,
            server: Server::at(url)?,
            leaving: Box::new(move |database| Box::pin(leaving(database))),
            patience: SENDING_PATIENCE,
            opened: OnceLock::new(),
            waiting: Mutex::default(),
            places: Semaphore::new(CONNECTIONS),
            under_way: UnderWay::default(),
            refusals: Refusals::default(),
        })
    }

    /// Has it looked up in the `registry` in `database`, which is made from `log`, who gets what. Before that, nothing is sent.
    pub(super) fn open(&self, log: Arc<dyn EventLog>, database: Database, registry: ReadModel) {
        // Whoever opens it a second time has the same.
        self.opened.get_or_init(|| Opened {
            log,
            database,
            registry,
            recipients: OnceCell::new(),
            leaving: OnceCell::new(),
            letters: OnceCell::new(),
        });
    }

    pub(super) fn opened(&self) -> Result<&Opened, ReactError> {
        self.opened.get().ok_or_else(|| ReactError::Retry("the log and the database are not open".to_owned()))
    }

    /// Takes in what is to be sent to a company, and says when that is done.
    pub(super) fn take_in(self: Arc<Self>, batch: Batch, item: Item) -> oneshot::Receiver<Result<(), ReactError>> {
        let (done, is_done) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let together = waiting.entry(batch.clone()).or_default();
        together.push(Waiting { item, done });
        let is_first = together.len() == 1;
        drop(waiting);
        if is_first {
            tokio::spawn(async move {
                tokio::select! {
                    () = sleep(wait(batch.number)) => {}
                    () = self.under_way.is_ending() => {}
                }
                let together = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&batch);
                if let Some(together) = together {
                    self.send(&batch, together).await;
                }
            });
        }
        is_done
    }

    /// Takes the comment that is delivered under `id` out of its mail.
    pub(super) async fn give_up(&self, id: Uuid) -> Result<(), ReactError> {
        self.opened()?.letters().await?.take_out(id, now()).await.map_err(retry)
    }

    /// Lets no mail set out any more, and comes once none is on its way.
    pub(super) async fn end(&self) {
        self.under_way.end().await;
    }

    /// Sends the mails that those who wait go out with, side by side.
    async fn send(self: &Arc<Self>, batch: &Batch, mut together: Vec<Waiting>) {
        // What nobody waits for any more is delivered again, here or elsewhere.
        together.retain(|waiting| !waiting.done.is_closed());
        if together.is_empty() {
            return;
        }
        let letters = match timeout(REGISTRY_PATIENCE, self.decide(batch, &together)).await {
            Ok(Ok(letters)) => letters,
            Ok(Err(error)) => return tell(together, &Err(error)),
            Err(_) => return tell(together, &Err(ReactError::Retry("the database does not answer".to_owned()))),
        };
        let mut sending = JoinSet::new();
        for letter in letters {
            let (own, others) = together.into_iter().partition(|waiting| letter.has(waiting.item.id));
            together = others;
            let (office, batch) = (self.clone(), batch.clone());
            sending.spawn(async move { tell(own, &office.send_once(&batch, &letter).await) });
        }
        while sending.join_next().await.is_some() {}
    }

    /// What goes out together, as it is written down from now on.
    async fn decide(&self, batch: &Batch, together: &[Waiting]) -> Result<Vec<Letter>, ReactError> {
        let items: Vec<&Item> = together.iter().map(|waiting| &waiting.item).collect();
        let slot = Slot { company: batch.company, number: batch.number };
        self.opened()?.letters().await?.decide(slot, &items).await.map_err(retry)
    }

    /// Sends a mail, unless it was sent. **Before that it is written down who sends it**, so that whoever is delivered the same
    /// meanwhile, here or on another node, waits for what becomes of it.
    async fn send_once(&self, batch: &Batch, letter: &Letter) -> Result<(), ReactError> {
        if letter.was_sent {
            return Ok(());
        }
        let letters = self.opened()?.letters().await?;
        let sender = Uuid::now_v7();
        let turn = tokio::select! {
            turn = timeout(TURN_PATIENCE, turn(letters, letter, sender)) => turn.unwrap_or(Ok(Turn::Theirs)),
            () = self.under_way.is_ending() => return Err(ends()),
        };
        match turn.map_err(retry)? {
            Turn::Nobodys => return Ok(()),
            Turn::Theirs => return Err(ReactError::Retry("the mail is being sent by another process".to_owned())),
            Turn::Ours => {}
        }
        let sent = tokio::select! {
            sent = self.send_in_its_place(letters, batch, letter) => sent,
            never = keep(letters, letter, sender) => match never {},
        };
        if sent.is_err() {
            let given_back = timeout(REGISTRY_PATIENCE, letters.give_back(letter, sender)).await;
            // It is left to nobody before long.
            given_back.unwrap_or(Ok(())).unwrap_or_else(|error| tracing::debug!(%error, "a mail is not given back"));
        }
        sent
    }

    /// Sends a mail once there is a place for it. It has patience of its own for that, and the mail is kept meanwhile.
    async fn send_in_its_place(&self, letters: &Letters, batch: &Batch, letter: &Letter) -> Result<(), ReactError> {
        let place = tokio::select! {
            place = timeout(PLACE_PATIENCE, self.places.acquire()) => place,
            () = self.under_way.is_ending() => return Err(ends()),
        };
        let Ok(_place) = place else { return Err(ReactError::Retry("the mail waits for others".to_owned())) };
        let Some(_under_way) = self.under_way.set_out() else { return Err(ends()) };
        self.try_to_send(letters, batch, letter).await
    }

    async fn try_to_send(&self, letters: &Letters, batch: &Batch, letter: &Letter) -> Result<(), ReactError> {
        // What was looked up when the comments came is up to some minutes old.
        let comments: Vec<Uuid> = letter.items.iter().map(|item| item.comment).collect();
        let recipients = self.opened()?.recipients().await;
        let wanted = recipients.still_wanted(batch.company, &batch.address, &comments, REGISTRY_PATIENCE).await?;
        let items: Vec<&Item> = letter.items.iter().filter(|item| wanted.contains(&item.comment)).collect();
        if !items.is_empty() {
            self.post(letters, batch, letter.id(), &items).await?;
        }
        // It has gone out: where that cannot be written down, its deliveries are done all the same.
        if timeout(NOTING_PATIENCE, note(letters, letter, !items.is_empty())).await.is_err() {
            tracing::warn!(mail = %letter.id(), "what became of a mail could not be noted");
        }
        Ok(())
    }

    async fn post(&self, letters: &Letters, batch: &Batch, id: Uuid, items: &[&Item]) -> Result<(), ReactError> {
        let opened = self.opened()?;
        let leaving = opened.leaving.get_or_try_init(|| (self.leaving)(opened.database.clone()));
        let leaving = timeout(REGISTRY_PATIENCE, leaving).await;
        let leaving = leaving.unwrap_or_else(|_| Err("the installation does not give its key".to_owned()));
        let ticket = leaving.map_err(ReactError::Retry)?.ticket(CompanyId(batch.company));
        let message = letter(&self.head, &batch.address, Some(&ticket), id, items);
        let message = message.map_err(|error| ReactError::Refused(error.to_string()))?;
        let sent = self.server.send(message.envelope(), &message.formatted(), self.patience).await;
        match sent {
            Ok(()) => {
                self.refusals.taken(id);
                Ok(())
            }
            Err(Refusal::Away(reason)) => Err(ReactError::Retry(reason)),
            Err(Refusal::CutOff(reason)) => {
                let refused = self.refusals.note(id, Instant::now());
                let is_the_mail = refused.others_are_taken && is_long(refused.time, refused.times);
                Err(if is_the_mail { ReactError::Later(reason) } else { ReactError::Retry(reason) })
            }
            Err(Refusal::ForNow(reason)) => {
                let refused = self.refusals.note(id, Instant::now());
                let of_company = timeout(REGISTRY_PATIENCE, letters.note_refused(batch.company)).await;
                let is_companys = matches!(of_company, Ok(Ok((time, times))) if is_long(time, times));
                let is_later = is_companys || is_long(refused.time, refused.times);
                Err(if is_later { ReactError::Later(reason) } else { ReactError::Retry(reason) })
            }
            Err(Refusal::ForGood(reason)) => {
                self.refusals.forget(id);
                if !matches!(timeout(REGISTRY_PATIENCE, letters.forget_refused(batch.company)).await, Ok(Ok(()))) {
                    tracing::debug!(company = %batch.company, "it is not forgotten since when mail was not taken");
                }
                Err(ReactError::Refused(reason))
            }
        }
    }
}

impl Opened {
    pub(super) async fn recipients(&self) -> &Recipients {
        self.recipients.get_or_init(|| Recipients::open(self.log.clone(), &self.database, self.registry.clone())).await
    }

    async fn letters(&self) -> Result<&Letters, ReactError> {
        self.letters.get_or_try_init(|| Letters::open(&self.database, NAME)).await.map_err(retry)
    }
}

/// Whose turn it is to send the mail; waits for another to be done with it, or to be heard of no more.
async fn turn(letters: &Letters, letter: &Letter, sender: Uuid) -> Result<Turn, StoreError> {
    loop {
        match letters.take(letter, sender).await? {
            Turn::Theirs => sleep(LOOK_EVERY).await,
            turn => return Ok(turn),
        }
    }
}

/// Says again and again that `sender` is sending the mail.
async fn keep(letters: &Letters, letter: &Letter, sender: Uuid) -> Infallible {
    loop {
        sleep(KEEP_EVERY).await;
        if let Err(error) = letters.keep(letter, sender).await {
            tracing::debug!(%error, "it could not be noted that a mail is being sent");
        }
    }
}

/// Notes what became of the mail, and tries again while the database does not take it.
async fn note(letters: &Letters, letter: &Letter, was_sent: bool) {
    loop {
        let noted =
            if was_sent { letters.note_sent(letter, now()).await } else { letters.note_unwanted(letter, now()).await };
        let Err(error) = noted else { return };
        tracing::warn!(%error, mail = %letter.id(), "what became of a mail is not noted yet");
        sleep(LOOK_EVERY).await;
    }
}

/// Whether what was not taken for so long, and so often, is set aside.
fn is_long(time: Duration, times: i64) -> bool {
    time >= SOON_FOR || times > SOON_TIMES
}

fn ends() -> ReactError {
    ReactError::Retry("no mail sets out any more: the process ends".to_owned())
}

/// Says what has become of them. Whoever has left is delivered it again.
fn tell(together: Vec<Waiting>, done: &Result<(), ReactError>) {
    for waiting in together {
        let _ = waiting.done.send(done.clone());
    }
}

/// How long the batch of this number waits for more.
fn wait(number: i64) -> Duration {
    let left = (number + 1).saturating_mul(TOGETHER).saturating_sub(now()).max(0);
    (Duration::from_millis(left.unsigned_abs()) + SHORTEST_WAIT).min(LONGEST_WAIT)
}

/// In milliseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn retry(error: StoreError) -> ReactError {
    ReactError::Retry(error.to_string())
}

#[cfg(test)]
mod tests {
    use balcony_event_log::Topic;
    use balcony_event_log::memory::{Clock, MemoryLog};
    use balcony_event_log::testing::eventually;
    use balcony_store::{Scratch, Value, Writer};
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use balcony_domain::Topics;
    use balcony_projector::Reactor;

    use super::*;
    use crate::{CompanyMail, Registry};

    const LONG: Duration = Duration::from_secs(60);

    /// A post office over a registry that a test writes, and a server that takes no mail.
    struct World {
        office: Arc<PostOffice>,
        server: TcpListener,
        writer: Writer,
        log: Arc<dyn EventLog>,
        registry: ReadModel,
        database: Database,
        _scratch: Scratch,
    }

    impl World {
        /// One in which the mail of the comment is wanted.
        async fn new() -> Self {
            let scratch = Scratch::sqlite().expect("a folder");
            let database = Database::open(scratch.settings()).await.expect("a database");
            let topics = Topics::with_prefix("t.");
            let model = balcony_projector::Projection::read_model(&Registry::new(&topics)).clone();
            let generation = database.live_or_new(&model).await.expect("a generation");
            let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("smtp://{}", server.local_addr().expect("an address"));
            let head = Letterhead::new("mail.example.org", None, None);
            let office = PostOffice::new(&url, head, leaving).expect("a post office");
            let office = PostOffice { patience: Duration::from_millis(100), ..office };
            let topic = Topic { name: topics.facts.clone(), partitions: 1, replication: 1, retention: None };
            let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new(&[topic], Clock::at(SystemTime::now())));
            office.open(log.clone(), database.clone(), model.clone());
            let reactor = ReadModel::new(
                CompanyMail::NAME,
                1,
                [topics.facts.clone()],
                "CREATE TABLE a (b BIGINT NOT NULL PRIMARY KEY);",
            );
            database.live_or_new(&reactor).await.expect("a namespace");
            let world = Self {
                office: Arc::new(office),
                server,
                writer: database.writer(&generation),
                log,
                registry: model,
                database,
                _scratch: scratch,
            };
            world.register(batch().company, 10).await;
            let post = "INSERT INTO comment_authors (comment_id, author_id) VALUES ($1, $1)";
            world.write(post, &[item().comment.into()]).await;
            world
        }

        /// Another node of the installation.
        async fn node(&self) -> Arc<PostOffice> {
            let url = format!("smtp://{}", self.server.local_addr().expect("an address"));
            let head = Letterhead::new("mail.example.org", None, None);
            let office = PostOffice::new(&url, head, leaving).expect("a post office");
            office.open(self.log.clone(), self.database.clone(), self.registry.clone());
            Arc::new(office)
        }

        async fn write(&self, sql: &'static str, params: &[Value<'_>]) {
            let mut tx = self.writer.begin().await.expect("a transaction");
            tx.execute(sql, params).await.expect("a statement");
            tx.commit().await.expect("a commit");
        }

        /// Registers a company with the address at a time.
        async fn register(&self, company: Uuid, at: i64) {
            let sql = "INSERT INTO companies (id, name, contact_email, mailbox, registered_at)
                       VALUES ($1, 'c', $2, $2, $3)";
            self.write(sql, &[company.into(), batch().address.into(), at.into()]).await;
        }

        async fn send(&self) -> Result<(), ReactError> {
            send_one(&self.office, &batch(), item()).await
        }

        /// Whether the server is turned to, which is tried again. What it is not turned to for is done.
        async fn is_tried(&self) -> bool {
            match (self.send().await, timeout(Duration::ZERO, self.server.accept()).await) {
                (Err(ReactError::Retry(_)), Ok(Ok(_))) => true,
                (Ok(()), Err(_)) => false,
                (sent, connected) => panic!("{sent:?} with {connected:?}"),
            }
        }
    }

    /// Has `node` send the items together, and gives what each is told.
    async fn send(
        node: &Arc<PostOffice>,
        batch: &Batch,
        items: impl IntoIterator<Item = Item>,
    ) -> Vec<Result<(), ReactError>> {
        let waiting = items.into_iter().map(|item| {
            let (done, is_done) = oneshot::channel();
            (Waiting { item, done }, is_done)
        });
        let (together, done): (Vec<_>, Vec<_>) = waiting.unzip();
        timeout(LONG, node.send(batch, together)).await.expect("it ends");
        let mut told = Vec::new();
        for done in done {
            told.push(done.await.expect("it is told"));
        }
        told
    }

    async fn send_one(node: &Arc<PostOffice>, batch: &Batch, item: Item) -> Result<(), ReactError> {
        send(node, batch, [item]).await.remove(0)
    }

    async fn leaving(_: Database) -> Result<Leaving, String> {
        Ok(Leaving::new(&[0; 32]))
    }

    fn batch() -> Batch {
        Batch { company: Uuid::from_u128(3), address: "mail@example.org".to_owned(), number: 0 }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_wants_any_more_at_the_moment_of_sending_is_not_sent() {
        let world = World::new().await;
        assert!(world.is_tried().await, "it is wanted");
        let leave = "INSERT INTO unsubscriptions (company_id, unsubscribed_at) VALUES ($1, 20)";
        world.write(leave, &[batch().company.into()]).await;
        assert!(!world.is_tried().await, "the company has unsubscribed");
        world.register(Uuid::from_u128(5), 30).await;
        assert!(world.is_tried().await, "another was registered with the address");
        let delete = "UPDATE comment_authors SET deleted_at = 40 WHERE comment_id = $1";
        world.write(delete, &[item().comment.into()]).await;
        assert!(!world.is_tried().await, "the comment was deleted");
    }

    fn item() -> Item {
        Item {
            id: Uuid::from_u128(1),
            comment: Uuid::from_u128(4),
            at: 0,
            movie: Uuid::from_u128(2),
            movie_title: "Ran".to_owned(),
            author_name: "Mia".to_owned(),
            title: None,
            body: "Again.".to_owned(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_letter_is_cut_off_when_the_server_does_not_answer() {
        let world = World::new().await;
        assert!(matches!(world.send().await, Err(ReactError::Retry(_))));
        let (mut connection, _) = world.server.accept().await.expect("a connection");
        let mut sent = Vec::new();
        timeout(LONG, connection.read_to_end(&mut sent)).await.expect("it is closed").expect("nothing goes wrong");
    }

    /// What a mail server does with a mail that it has got.
    #[derive(Debug, Clone, Copy)]
    enum Takes {
        It,
        /// It ends without a word, as when a process dies between sending and noting.
        AndIsGone,
    }

    /// A mail server that takes one mail, and gives it.
    async fn takes(server: &TcpListener, takes: Takes) -> String {
        let (mail, mut connection) = gets(server).await;
        if matches!(takes, Takes::It) {
            connection.write_all(b"250 taken\r\n").await.expect("an answer");
        }
        mail
    }

    /// A mail server that gets one mail, and has not answered it yet.
    async fn gets(server: &TcpListener) -> (String, BufReader<TcpStream>) {
        let (connection, _) = server.accept().await.expect("a connection");
        let mut connection = BufReader::new(connection);
        let mut mail = String::new();
        let mut in_mail = false;
        connection.write_all(b"220 here\r\n").await.expect("a greeting");
        loop {
            let mut line = String::new();
            assert_ne!(connection.read_line(&mut line).await.expect("a line"), 0, "it ends before its time: {mail}");
            let answer: &[u8] = match line.trim_end() {
                "." if in_mail => return (mail, connection),
                _ if in_mail => {
                    mail += &line;
                    continue;
                }
                "DATA" => {
                    in_mail = true;
                    b"354 go on\r\n"
                }
                _ => b"250 yes\r\n",
            };
            connection.write_all(answer).await.expect("an answer");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_may_have_gone_out_before_a_crash_goes_out_again_as_the_same_mail_and_then_no_more() {
        let world = World::new().await;
        let items: Vec<Item> = (1..4_u128)
            .map(|number| Item {
                id: Uuid::from_u128(number),
                comment: Uuid::from_u128(10 + number),
                body: format!("number {number}."),
                ..item()
            })
            .collect();
        for item in &items {
            let post = "INSERT INTO comment_authors (comment_id, author_id) VALUES ($1, $1)";
            world.write(post, &[item.comment.into()]).await;
        }
        // Each node is delivered some of them, in an order of its own.
        let send = async |numbers: &[usize]| {
            let node = world.node().await;
            send(&node, &batch(), numbers.iter().map(|number| items[*number].clone())).await
        };
        let (told, first) = tokio::join!(send(&[2, 0, 1]), takes(&world.server, Takes::AndIsGone));
        assert!(told.iter().all(|told| matches!(told, Err(ReactError::Retry(_)))), "{told:?}");
        let (told, second) = tokio::join!(send(&[1]), takes(&world.server, Takes::It));
        assert_eq!(told, [Ok(())]);
        let line = |mail: &str, name: &str| mail.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        assert_eq!(line(&first, "Message-ID:"), line(&second, "Message-ID:"));
        let of = |mail: &str| {
            let begins = mail.find("number 1.").expect("the first");
            let numbers = (1..4).map(|number| mail[begins..].find(&format!("number {number}.")).expect("each"));
            numbers.is_sorted()
        };
        assert!(of(&first) && of(&second), "{second}");

        assert_eq!(send(&[0, 2]).await, [Ok(()), Ok(())]);
        assert!(timeout(Duration::ZERO, world.server.accept()).await.is_err(), "nothing goes out again");
    }

    /// A mail server that answers so to whomever a mail is for, once.
    async fn refuses(server: &TcpListener, refusal: &[u8]) {
        let (connection, _) = server.accept().await.expect("a connection");
        let mut connection = BufReader::new(connection);
        connection.write_all(b"220 here\r\n").await.expect("a greeting");
        let mut line = String::new();
        while connection.read_line(&mut line).await.expect("a line") > 0 {
            let answer = if line.starts_with("RCPT") { refusal } else { b"250 yes\r\n" };
            connection.write_all(answer).await.expect("an answer");
            line.clear();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mail_that_is_not_taken_for_now_is_tried_again_soon_for_a_while_and_then_set_aside() {
        let world = World::new().await;
        let node = world.node().await;
        let send = async |company: u128| {
            let batch = Batch { company: Uuid::from_u128(company), ..batch() };
            send_one(&node, &batch, Item { id: Uuid::from_u128(company), ..item() }).await
        };
        let refused = async |company| tokio::join!(send(company), refuses(&world.server, b"450 busy\r\n")).0;
        for company in [3, 5] {
            if company != 3 {
                world.register(Uuid::from_u128(company), 10).await;
            }
            assert!(matches!(refused(company).await, Err(ReactError::Retry(_))), "it is tried again soon");
        }

        let live = world.database.generations(Some(CompanyMail::NAME)).await.expect("a namespace").remove(0);
        let mut tx = world.database.writer(&live.generation).begin().await.expect("a transaction");
        let sql = "UPDATE refused_companies SET since = since - $1 WHERE company_id = $2";
        let params = [(SOON_FOR.as_millis() as i64).into(), Uuid::from_u128(3).into()];
        assert_eq!(tx.execute(sql, &params).await.expect("a statement"), 1);
        let sql = "UPDATE refused_companies SET times = $1 WHERE company_id = $2";
        assert_eq!(tx.execute(sql, &[SOON_TIMES.into(), Uuid::from_u128(5).into()]).await.expect("a statement"), 1);
        tx.commit().await.expect("a commit");
        for company in [3, 5] {
            assert!(matches!(refused(company).await, Err(ReactError::Later(_))), "{company}");
        }
        // Once it is taken, all is as it was.
        let (told, _) = tokio::join!(send(3), takes(&world.server, Takes::It));
        assert_eq!(told, Ok(()));
        let letters = node.opened().expect("it is open").letters().await.expect("letters");
        assert_eq!(letters.note_refused(Uuid::from_u128(3)).await.expect("noted").1, 1);
        // The same when it is refused for good.
        let (told, ()) = tokio::join!(send(5), refuses(&world.server, b"550 nobody\r\n"));
        assert!(matches!(told, Err(ReactError::Refused(_))));
        assert_eq!(letters.note_refused(Uuid::from_u128(5)).await.expect("noted").1, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mail_that_is_not_taken_is_set_aside_although_others_of_its_company_are_taken() {
        let world = World::new().await;
        let node = world.node().await;
        let send = async |number: u128| {
            let batch = Batch { number: number as i64, ..batch() };
            send_one(&node, &batch, Item { id: Uuid::from_u128(number), ..item() }).await
        };
        for _ in 0..SOON_TIMES {
            let (told, ()) = tokio::join!(send(1), refuses(&world.server, b"450 busy\r\n"));
            assert!(matches!(told, Err(ReactError::Retry(_))));
        }
        assert_eq!(tokio::join!(send(2), takes(&world.server, Takes::It)).0, Ok(()));
        let (told, ()) = tokio::join!(send(1), refuses(&world.server, b"450 busy\r\n"));
        assert!(matches!(told, Err(ReactError::Later(_))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mail_on_which_the_server_hangs_up_is_set_aside_once_the_server_takes_others() {
        let world = World::new().await;
        let node = world.node().await;
        world.register(Uuid::from_u128(5), 10).await;
        let send = async |company: u128| {
            let batch = Batch { company: Uuid::from_u128(company), ..batch() };
            send_one(&node, &batch, Item { id: Uuid::from_u128(company), ..item() }).await
        };
        let hung_up = async || tokio::join!(send(3), takes(&world.server, Takes::AndIsGone)).0;
        for _ in 0..=SOON_TIMES {
            assert!(matches!(hung_up().await, Err(ReactError::Retry(_))), "the server may be away for all");
        }
        assert_eq!(tokio::join!(send(5), takes(&world.server, Takes::It)).0, Ok(()));
        assert!(matches!(hung_up().await, Err(ReactError::Later(_))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn so_many_mails_are_given_to_the_server_at_a_time_and_the_end_waits_for_these() {
        const MAILS: u128 = 3 * CONNECTIONS as u128;
        let world = World::new().await;
        let node = world.node().await;
        let mut told = JoinSet::new();
        for number in 10..10 + MAILS {
            let batch = Batch { company: Uuid::from_u128(number), ..batch() };
            world.register(batch.company, 10).await;
            let (node, item) = (node.clone(), Item { id: Uuid::from_u128(number), ..item() });
            told.spawn(async move { send_one(&node, &batch, item).await });
        }
        let mut connections = Vec::new();
        while connections.len() < CONNECTIONS {
            connections.push(timeout(LONG, gets(&world.server)).await.expect("a mail comes").1);
        }
        eventually("all wait for the server or for a place", LONG, async || {
            let live = world.database.generations(Some(CompanyMail::NAME)).await.expect("a namespace").remove(0);
            let mut tx = world.database.look_at(&live.generation).await.expect("a look");
            let kept: Vec<(i64,)> = tx.fetch("SELECT COUNT(*) FROM letter_sending", &[]).await.expect("a count");
            (kept == [(MAILS as i64,)]).then_some(())
        })
        .await;
        assert!(timeout(Duration::ZERO, world.server.accept()).await.is_err(), "the others wait");
        let mut first = connections.remove(0);
        first.write_all(b"250 taken\r\n").await.expect("an answer");
        drop(first);
        connections.push(timeout(LONG, gets(&world.server)).await.expect("the next comes").1);

        let mut end = Box::pin(node.under_way.end());
        assert!((&mut end).now_or_never().is_none());
        for mut connection in connections {
            connection.write_all(b"250 taken\r\n").await.expect("an answer");
        }
        timeout(LONG, end).await.expect("it ends");
        let told = timeout(LONG, told.join_all()).await.expect("all are told");
        assert_eq!(told.iter().filter(|told| told.is_ok()).count(), CONNECTIONS + 1);
        assert!(told.iter().all(|told| matches!(told, Ok(()) | Err(ReactError::Retry(_)))), "{told:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_an_operator_has_given_up_is_in_no_mail() {
        let world = World::new().await;
        let mail = CompanyMail::new(&Topics::with_prefix("t."), world.node().await);
        let items = [("keep this", 1), ("give this up", 2)].map(|(body, number)| Item {
            id: Uuid::from_u128(number),
            body: body.to_owned(),
            ..item()
        });
        let send = async |items: &[Item]| send(&mail.office, &batch(), items.iter().cloned()).await;
        let (told, ()) = tokio::join!(send(&items), refuses(&world.server, b"550 nobody\r\n"));
        assert!(told.iter().all(|told| matches!(told, Err(ReactError::Refused(_)))), "{told:?}");
        Reactor::give_up(&mail, items[1].id).await.expect("it is given up");
        let (told, mail) = tokio::join!(send(&items[..1]), takes(&world.server, Takes::It));
        assert_eq!(told, [Ok(())]);
        assert!(mail.contains("keep this") && !mail.contains("give this up"), "{mail}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_one_node_is_sending_no_other_sends_and_the_end_waits_for_it() {
        let world = World::new().await;
        let (one, other) = (world.node().await, world.node().await);
        let send = |node: &Arc<PostOffice>| {
            let (node, (done, is_done)) = (node.clone(), oneshot::channel());
            tokio::spawn(async move { node.send(&batch(), vec![Waiting { item: item(), done }]).await });
            is_done
        };
        let first = send(&one);
        let (_, mut connection) = timeout(LONG, gets(&world.server)).await.expect("the mail comes");
        let mut end = Box::pin(one.under_way.end());
        assert!((&mut end).now_or_never().is_none(), "the server has not answered yet");

        // What it finds then, the other has before and after.
        let (done, _) = oneshot::channel();
        let known = other.decide(&batch(), &[Waiting { item: item(), done }]).await.expect("the letter").remove(0);
        let second = send(&other);
        connection.write_all(b"250 taken\r\n").await.expect("an answer");
        timeout(LONG, end).await.expect("it ends");
        let told = timeout(LONG, async { (first.await, second.await) }).await.expect("they are told");
        assert_eq!(told, (Ok(Ok(())), Ok(Ok(()))));
        assert_eq!(other.send_once(&batch(), &known).await, Ok(()));
        assert!(timeout(Duration::ZERO, world.server.accept()).await.is_err(), "it went out once");

        // From where it ended nothing sets out.
        let (late, done) = (Item { id: Uuid::from_u128(9), ..item() }, oneshot::channel());
        one.send(&batch(), vec![Waiting { item: late, done: done.0 }]).await;
        assert!(matches!(done.1.await, Ok(Err(ReactError::Retry(_)))));
        assert!(timeout(Duration::ZERO, world.server.accept()).await.is_err(), "nothing sets out");
    }
}
