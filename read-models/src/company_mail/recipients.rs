//! Who is mailed what, as the registry has it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use balcony_domain::CompanyId;
use balcony_domain::event::CommentPosted;
use balcony_event_log::{EventLog, Position, Positions, SharedLook};
use balcony_projector::ReactError;
use balcony_store::{Database, ReadModel, Reader, StoreError, Value};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::Subscription;

/// Looks up who is mailed. **That nobody is, because something is not there, is believed only of a registry that was read up to
/// where the log ended when it was asked**: what a comment names was appended before it, but to other partitions, and a registry
/// that has come past the comment may have that still before it.
pub(super) struct Recipients {
    reader: Reader,
    registry: ReadModel,
    log: Arc<dyn EventLog>,
    /// At the log's end.
    looks: SharedLook<Result<Positions, String>>,
}

/// Who is mailed a comment, and what it is called by.
pub(super) struct Recipient {
    pub(super) company: Uuid,
    pub(super) address: String,
    pub(super) movie_title: String,
    pub(super) author_name: String,
}

/// What the registry says of a comment.
enum Found {
    Wanted(Recipient),
    /// The movie is of no company, or the comment was deleted, and neither changes.
    Unwanted,
    /// The comment names what is not there, or the company has unsubscribed, as the registry has it so far.
    Unknown,
}

impl Recipients {
    /// Those that the `registry` in `database` has of what is in `log`.
    pub(super) async fn open(log: Arc<dyn EventLog>, database: &Database, registry: ReadModel) -> Self {
        let reader = Reader::open(database, vec![registry.clone()]).await;
        Self { reader, registry, log, looks: SharedLook::default() }
    }

    /// Who is mailed the comment that stands at `position`; `None` when nobody wants it. May take as long as `patience`.
    pub(super) async fn of(
        &self,
        post: &CommentPosted,
        position: &Position,
        patience: Duration,
    ) -> Result<Option<Recipient>, ReactError> {
        let deadline = Instant::now() + patience;
        match self.having_read(&Positions::after(position), deadline, || self.find(post)).await? {
            Found::Wanted(recipient) => return Ok(Some(recipient)),
            Found::Unwanted => return Ok(None),
            Found::Unknown => {}
        }
        let ends = self.ends(deadline).await?;
        match self.having_read(&ends, deadline, || self.find(post)).await? {
            Found::Wanted(recipient) => Ok(Some(recipient)),
            Found::Unwanted | Found::Unknown => Ok(None),
        }
    }

    /// Which of `comments` are still to be mailed to the address of the company, as it is at the log's end. May take as long as
    /// `patience`.
    pub(super) async fn still_wanted(
        &self,
        company: Uuid,
        address: &str,
        comments: &[Uuid],
        patience: Duration,
    ) -> Result<HashSet<Uuid>, ReactError> {
        if comments.is_empty() {
            return Ok(HashSet::new());
        }
        let deadline = Instant::now() + patience;
        let ends = self.ends(deadline).await?;
        self.having_read(&ends, deadline, || self.standing(company, address, comments)).await
    }

    /// What `look` gives of a registry that has read everything below `wanted`.
    async fn having_read<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        wanted: &Positions,
        deadline: Instant,
        look: impl Fn() -> F,
    ) -> Result<T, ReactError> {
        let read = || async {
            if !self.reader.wait_for(&self.registry, wanted, deadline).await? {
                return Ok(None);
            }
            look().await.map(Some)
        };
        let read = timeout_at(deadline, self.reader.undisturbed(read)).await;
        let read = read.map_err(|_| ReactError::Retry("the registry does not answer".to_owned()))?;
        let read = read.map_err(|error: StoreError| ReactError::Retry(error.to_string()))?;
        read.ok_or_else(|| ReactError::Retry("the registry is behind".to_owned()))
    }

    /// Where the log ends.
    async fn ends(&self, deadline: Instant) -> Result<Positions, ReactError> {
        let look = async || self.log.ends(&self.registry.topics).await.map_err(|error| error.to_string());
        let ends = timeout_at(deadline, self.looks.now(look)).await;
        ends.unwrap_or_else(|_| Err("the log does not answer".to_owned())).map_err(ReactError::Retry)
    }

    async fn find(&self, post: &CommentPosted) -> Result<Found, StoreError> {
        let sql = "SELECT movies.title, movies.company_id, users.display_name,
                       comment_authors.comment_id, comment_authors.deleted_at
                   FROM (SELECT 1 AS one) AS comment
                   LEFT JOIN movies ON movies.id = $1
                   LEFT JOIN users ON users.id = $2
                   LEFT JOIN comment_authors ON comment_authors.comment_id = $3";
        type Row = (Option<String>, Option<Uuid>, Option<String>, Option<Uuid>, Option<i64>);
        let params = [post.movie_id.0.into(), post.author_id.0.into(), post.comment_id.0.into()];
        let rows: Vec<Row> = self.reader.fetch(sql, &params).await?;
        let Some((movie_title, company, author_name, comment, deleted_at)) = rows.into_iter().next() else {
            return Ok(Found::Unknown);
        };
        if deleted_at.is_some() || (movie_title.is_some() && company.is_none()) {
            return Ok(Found::Unwanted);
        }
        let (Some(movie_title), Some(company), Some(author_name), Some(_)) =
            (movie_title, company, author_name, comment)
        else {
            return Ok(Found::Unknown);
        };
        Ok(match Subscription::of(CompanyId(company), &self.reader).await? {
            Some(subscription) if subscription.is_on() => {
                Found::Wanted(Recipient { company, address: subscription.address, movie_title, author_name })
            }
            _ => Found::Unknown,
        })
    }

    async fn standing(&self, company: Uuid, address: &str, comments: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        let subscription = Subscription::of(CompanyId(company), &self.reader).await?;
        if !subscription.is_some_and(|found| found.is_on() && found.address == address) {
            return Ok(HashSet::new());
        }
        let numbers: Vec<String> = (1..=comments.len()).map(|number| format!("${number}")).collect();
        let sql = format!(
            "SELECT comment_id FROM comment_authors WHERE comment_id IN ({}) AND deleted_at IS NULL",
            numbers.join(", ")
        );
        let params: Vec<Value<'_>> = comments.iter().map(|comment| (*comment).into()).collect();
        let standing: Vec<(Uuid,)> = self.reader.fetch(sql, &params).await?;
        Ok(standing.into_iter().map(|(comment,)| comment).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use balcony_domain::{CommentId, MovieId, Topics, UserId};
    use balcony_event_log::memory::{Clock, MemoryLog};
    use balcony_event_log::{Message, Topic, TopicPartition};
    use balcony_projector::Projection as _;
    use balcony_store::{Scratch, Writer};

    use super::*;
    use crate::Registry;

    const MOVIE: Uuid = Uuid::from_u128(1);
    const AUTHOR: Uuid = Uuid::from_u128(2);
    const COMMENT: Uuid = Uuid::from_u128(3);
    const COMPANY: Uuid = Uuid::from_u128(4);
    /// How long what is not there is waited for.
    const PATIENCE: Duration = Duration::from_millis(50);

    /// A log of two partitions, in the first of which a comment is, and a registry that a test writes.
    struct World {
        recipients: Recipients,
        writer: Writer,
        comment: Position,
        /// Where something stands in the other partition.
        other: Position,
        _scratch: Scratch,
    }

    impl World {
        /// One whose registry knows the comment.
        async fn on(scratch: Scratch) -> Self {
            let topics = Topics::with_prefix("t.");
            let topic = Topic { name: topics.facts.clone(), partitions: 2, replication: 1, retention: None };
            let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new(&[topic], Clock::at(SystemTime::now())));
            let mut first = None;
            let (comment, other) = loop {
                let message = Message { key: Uuid::now_v7().as_bytes().to_vec(), ..Message::default() };
                let position = log.append(&topics.facts, message).await.expect("it is appended");
                match &first {
                    None => first = Some(position),
                    Some(first) if first.partition != position.partition => break (first.clone(), position),
                    Some(_) => {}
                }
            };
            let database = Database::open(scratch.settings()).await.expect("a database");
            let registry = Registry::new(&topics).read_model().clone();
            let generation = database.live_or_new(&registry).await.expect("a generation");
            let recipients = Recipients::open(log, &database, registry).await;
            let writer = database.writer(&generation);
            let world = Self { recipients, writer, comment, other, _scratch: scratch };
            world
                .write("INSERT INTO comment_authors (comment_id, author_id) VALUES ($1, $2)", &[COMMENT, AUTHOR])
                .await;
            let ends = world.recipients.log.ends(&[topics.facts]).await.expect("its ends");
            world.read_to(&world.comment.partition, ends.next_offset(&world.comment.partition)).await;
            world
        }

        async fn write(&self, sql: &'static str, ids: &[Uuid]) {
            let mut tx = self.writer.begin().await.expect("a transaction");
            let params: Vec<Value<'_>> = ids.iter().map(|id| (*id).into()).collect();
            tx.execute(sql, &params).await.expect("a statement");
            tx.commit().await.expect("a commit");
        }

        /// Lets the registry have read the partition so far.
        async fn read_to(&self, partition: &TopicPartition, next_offset: i64) {
            let mut tx = self.writer.begin().await.expect("a transaction");
            let claim = tx.claim(std::slice::from_ref(partition)).await.expect("a claim");
            let reached = [(partition.clone(), next_offset)].into_iter().collect();
            tx.advance(&claim, &reached).await.expect("the checkpoint moves");
            tx.commit().await.expect("a commit");
        }

        async fn read_to_the_end(&self) {
            self.read_to(&self.other.partition, self.other.offset + 1).await;
        }

        /// Who is mailed a comment on the movie.
        async fn mailed(&self, movie: Uuid) -> Result<Option<String>, ReactError> {
            let post = CommentPosted {
                comment_id: CommentId(COMMENT),
                movie_id: MovieId(movie),
                author_id: UserId(AUTHOR),
                title: None,
                body: "Again.".to_owned(),
            };
            let found = self.recipients.of(&post, &self.comment, PATIENCE).await?;
            Ok(found.map(|Recipient { address, movie_title, author_name, .. }| {
                format!("{author_name} on {movie_title} to {address}")
            }))
        }

        async fn still_wanted(&self) -> Result<bool, ReactError> {
            let wanted = self.recipients.still_wanted(COMPANY, "a@b.example", &[COMMENT], PATIENCE).await?;
            Ok(!wanted.is_empty())
        }
    }

    const REGISTER: &str = "INSERT INTO companies (id, name, contact_email, mailbox, registered_at)
                            VALUES ($1, 'c', 'a@b.example', 'a@b.example', 1)";
    /// One whose address is spelled otherwise.
    const REGISTER_OTHER: &str = "INSERT INTO companies (id, name, contact_email, mailbox, registered_at)
                                  VALUES ($1, 'd', 'a@B.example', 'a@b.example', 1)";

    fn is_behind<T: std::fmt::Debug>(found: Result<T, ReactError>) {
        assert_eq!(found.expect_err("it waits"), ReactError::Retry("the registry is behind".to_owned()));
    }

    async fn what_is_unknown_is_waited_for(world: World) {
        is_behind(world.mailed(MOVIE).await);
        let free = Uuid::from_u128(9);
        world.write("INSERT INTO movies (id, title, registered_at) VALUES ($1, 'Free', 1)", &[free]).await;
        assert_eq!(world.mailed(free).await, Ok(None), "a movie of no company needs nothing else");
        let movie = "INSERT INTO movies (id, title, company_id, registered_at) VALUES ($1, 'Ran', $2, 1)";
        world.write(movie, &[MOVIE, COMPANY]).await;
        is_behind(world.mailed(MOVIE).await);
        let author = "INSERT INTO users (id, display_name, display_name_key, registered_at) VALUES ($1, 'Mia', $2, 1)";
        let mut tx = world.writer.begin().await.expect("a transaction");
        tx.execute(author, &[AUTHOR.into(), b"Mia".as_slice().into()]).await.expect("a statement");
        tx.commit().await.expect("a commit");
        is_behind(world.mailed(MOVIE).await);
        is_behind(world.still_wanted().await);
        world.write(REGISTER, &[COMPANY]).await;
        assert_eq!(world.mailed(MOVIE).await, Ok(Some("Mia on Ran to a@b.example".to_owned())));

        // It may have unsubscribed: that is looked up at the log's end before anything is sent.
        is_behind(world.still_wanted().await);
        world.read_to_the_end().await;
        assert_eq!(world.still_wanted().await, Ok(true));
        let other = Uuid::from_u128(8);
        world.write(REGISTER_OTHER, &[other]).await;
        world.write("INSERT INTO unsubscriptions (company_id, unsubscribed_at) VALUES ($1, 2)", &[other]).await;
        assert_eq!((world.mailed(MOVIE).await, world.still_wanted().await), (Ok(None), Ok(false)));
    }

    async fn nobody_is_mailed_what_names_what_never_was(world: World) {
        is_behind(world.mailed(MOVIE).await);
        is_behind(world.still_wanted().await);
        world.read_to_the_end().await;
        assert_eq!((world.mailed(MOVIE).await, world.still_wanted().await), (Ok(None), Ok(false)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_registry_does_not_know_is_waited_for_up_to_the_logs_end() {
        what_is_unknown_is_waited_for(World::on(Scratch::sqlite().expect("a folder")).await).await;
        nobody_is_mailed_what_names_what_never_was(World::on(Scratch::sqlite().expect("a folder")).await).await;
        if let Some(scratch) = Scratch::postgres().await.expect("a database") {
            what_is_unknown_is_waited_for(World::on(scratch).await).await;
        }
    }
}
