use std::sync::Arc;
use std::time::Duration;

use balcony_domain::{Event, Topics};
use balcony_event_log::{EventLog, Record};
use balcony_projector::{Delivery, DeliveryPolicy, Publisher, ReactError, Reactor, Start};
use balcony_store::{Database, ReadModel};
use uuid::Uuid;

pub use self::leaving::{LEAVING_PATH, Leaving};
use self::letter::Item;
pub use self::letter::Letterhead;
pub use self::office::PostOffice;
use self::office::{
    Batch, LONGEST_WAIT, NAME, PLACE_PATIENCE, REGISTRY_PATIENCE, TOGETHER, TURN_PATIENCE, UNDER_WAY_PATIENCE,
};
use self::recipients::Recipient;
pub use self::server::WrongPostOffice;
use crate::{Logged, Registry};

mod leaving;
mod letter;
mod letters;
mod office;
mod recipients;
mod refusals;
mod server;
mod under_way;

/// Mails a company what is said of its movies: one mail for one comment, a digest when many come. **A comment waits for
/// others for some ten seconds**, by its own time. What goes out together is written down before it does, so that what is
/// delivered again after a crash, or on another node, is the same mail.
pub struct CompanyMail {
    topics: Vec<Arc<str>>,
    registry: ReadModel,
    office: Arc<PostOffice>,
}

/// How long a delivery may take: to be looked up, to wait for others, to be decided about, to have its turn and its place, and to
/// be sent.
const DELIVERY_PATIENCE: Duration = Duration::from_mins(9);
const _: () = assert!(
    2 * REGISTRY_PATIENCE.as_secs()
        + LONGEST_WAIT.as_secs()
        + TURN_PATIENCE.as_secs()
        + PLACE_PATIENCE.as_secs()
        + UNDER_WAY_PATIENCE.as_secs()
        < DELIVERY_PATIENCE.as_secs()
);

impl CompanyMail {
    /// The name of the reactor.
    pub const NAME: &'static str = NAME;

    /// The reactor to the facts in `topics`.
    pub fn new(topics: &Topics, office: Arc<PostOffice>) -> Self {
        let registry = balcony_projector::Projection::read_model(&Registry::new(topics)).clone();
        Self { topics: vec![topics.facts.clone()], registry, office }
    }
}

impl Reactor for CompanyMail {
    type Event = Logged;

    fn name(&self) -> &str {
        Self::NAME
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn start(&self) -> Start {
        Start::Now
    }

    /// A server that is away is tried for as long as it takes. What it does not take for now is set aside before long.
    fn policy(&self) -> DeliveryPolicy {
        DeliveryPolicy {
            in_flight: 1_000,
            attempts: u32::MAX,
            patience: DELIVERY_PATIENCE,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            grace: UNDER_WAY_PATIENCE,
            ..DeliveryPolicy::default()
        }
    }

    fn open(&self, log: &Arc<dyn EventLog>, database: &Database) {
        self.office.open(log.clone(), database.clone(), self.registry.clone());
    }

    fn wants(&self, record: &Record) -> bool {
        record.headers.get("ce_type").is_some_and(|name| name.starts_with(b"balcony.comment.posted."))
    }

    async fn react(&self, delivery: &Delivery<Logged>, _: &Publisher) -> Result<(), ReactError> {
        let Some((batch, item)) = self.look_up(delivery).await? else { return Ok(()) };
        let done = self.office.clone().take_in(batch, item);
        done.await.unwrap_or_else(|_| Err(ReactError::Retry("the mail was not sent".to_owned())))
    }

    /// The comment is in no mail from then on.
    async fn give_up(&self, id: Uuid) -> Result<(), String> {
        self.office.give_up(id).await.map_err(|error| error.to_string())
    }

    /// What waits for others is left to the next process; what is on its way gets there, and that is noted.
    async fn end(&self) {
        self.office.end().await;
    }
}

impl CompanyMail {
    /// To whom the comment goes, and as what; `None` when nobody wants it.
    async fn look_up(&self, delivery: &Delivery<Logged>) -> Result<Option<(Batch, Item)>, ReactError> {
        let Event::CommentPosted(post) = &delivery.event.event else { return Ok(None) };
        let recipients = self.office.opened()?.recipients().await;
        let found = recipients.of(post, &delivery.position, REGISTRY_PATIENCE).await?;
        let Some(Recipient { company, address, movie_title, author_name }) = found else { return Ok(None) };
        let at = delivery.event.time.milliseconds();
        let item = Item {
            id: delivery.id,
            comment: post.comment_id.0,
            at,
            movie: post.movie_id.0,
            movie_title,
            author_name,
            title: post.title.clone(),
            body: post.body.clone(),
        };
        Ok(Some((Batch { company, address, number: at.div_euclid(TOGETHER) }, item)))
    }
}
