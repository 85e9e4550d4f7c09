//! Which comments go out together. **That is decided once and written down before anything is sent**, so whoever is delivered
//! one of them again, after a crash or on another node, sends the same mail under the same id, or finds that it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use balcony_store::{Database, GenerationState, StoreError, Tx, Value, Writer};
use uuid::Uuid;

use super::letter::Item;

/// Where the mails stand: in the namespace of the reactor.
#[derive(Debug)]
pub(super) struct Letters {
    writer: Writer,
    /// The database's clock in SQL.
    clock: &'static str,
}

/// Whose turn it is to send a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Whoever asked sends it, and says every [`KEEP_EVERY`] that it still does.
    Ours,
    /// Somebody else is sending it, or has died over it.
    Theirs,
    /// It was sent.
    Nobodys,
}

/// The comments of a company that were posted within one slot of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) company: Uuid,
    pub(super) number: i64,
}

/// A mail as it was decided.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) slot: Slot,
    /// The mails of a slot are numbered from 0.
    pub(super) part: i64,
    /// All that it is about, in order; without its texts when it was sent.
    pub(super) items: Vec<Item>,
    pub(super) was_sent: bool,
}

/// Comments in one mail.
pub(super) const MOST_TOGETHER: usize = 50;
/// How many slots back it is known what was sent: a month of those of ten seconds.
const KEPT: i64 = 30 * 8_640;
/// How long a mail is left to whoever is sending it, in milliseconds since that one was heard of.
const LEFT_TO_SENDER: i64 = 30_000;
/// How often whoever sends a mail says so.
pub(super) const KEEP_EVERY: Duration = Duration::from_secs(5);
/// How often it is decided where somebody else decides about the same slot at the same time.
const TIMES: usize = 5;
const SCHEMA: &str = include_str!("../../../migrations/company_mail.sql");

impl Letter {
    /// The same whenever the mail is sent, and no other mail's.
    pub(super) fn id(&self) -> Uuid {
        let Self { slot: Slot { company, number }, part, .. } = self;
        let name = [company.as_bytes(), &number.to_be_bytes()[..], &part.to_be_bytes()].concat();
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)
    }

    /// Whether what is delivered under `id` goes out with it.
    pub(super) fn has(&self, id: Uuid) -> bool {
        self.items.iter().any(|item| item.id == id)
    }
}

impl Letters {
    /// Those of the reactor called `name`, whose namespace is there when it is delivered something.
    pub(super) async fn open(database: &Database, name: &str) -> Result<Self, StoreError> {
        let listed = database.generations(Some(name)).await?;
        let live = listed.into_iter().find(|listed| listed.state == GenerationState::Live);
        let live = live.ok_or_else(|| StoreError::NotReady(name.to_owned()))?;
        Self::within(database.durable_writer(&live.generation), database, name).await
    }

    async fn within(writer: Writer, database: &Database, name: &str) -> Result<Self, StoreError> {
        database.add_tables(name, &writer, SCHEMA).await?;
        Ok(Self { writer, clock: database.clock() })
    }

    /// The mails that `items` of `slot` go out with. Those that go with none yet are put in order and cut into mails.
    pub(super) async fn decide(&self, slot: Slot, items: &[&Item]) -> Result<Vec<Letter>, StoreError> {
        let mut times = 1;
        loop {
            match self.try_to_decide(slot, items).await {
                // Another node may have taken the same number.
                Err(error) if error.is_unique_violation() && times < TIMES => times += 1,
                decided => return decided,
            }
        }
    }

    async fn try_to_decide(&self, slot: Slot, items: &[&Item]) -> Result<Vec<Letter>, StoreError> {
        let Slot { company, number } = slot;
        let mut tx = self.writer.begin().await?;
        let known = parts_of(&mut tx, items).await?;
        let mut new: Vec<&Item> = items.iter().copied().filter(|item| !known.contains_key(&item.id)).collect();
        new.sort_unstable_by_key(|item| (item.at, item.id));
        new.dedup_by_key(|item| item.id);
        let mut parts: BTreeSet<i64> = known.into_values().collect();
        if !new.is_empty() {
            let sql = "SELECT COALESCE(MAX(part), -1) FROM letters WHERE company_id = $1 AND slot = $2";
            let last: Vec<(i64,)> = tx.fetch(sql, &[company.into(), number.into()]).await?;
            let next = last.first().map_or(0, |(last,)| last + 1);
            for (part, together) in (next..).zip(new.chunks(MOST_TOGETHER)) {
                let sql = "INSERT INTO letters (company_id, slot, part) VALUES ($1, $2, $3)";
                tx.execute(sql, &[company.into(), number.into(), part.into()]).await?;
                let rows: Vec<_> = together.iter().map(|item| row(slot, part, item)).collect();
                tx.execute_rows(INSERT_ITEMS, &rows).await?;
                parts.insert(part);
            }
        }
        let mut letters = Vec::with_capacity(parts.len());
        for part in parts {
            letters.push(read(&mut tx, slot, part).await?);
        }
        tx.commit().await?;
        Ok(letters)
    }

    /// Lets `sender` send the mail, unless it was sent or is left to another.
    pub(super) async fn take(&self, letter: &Letter, sender: Uuid) -> Result<Turn, StoreError> {
        let Letter { slot: Slot { company, number }, part, .. } = letter;
        let mut tx = self.writer.begin().await?;
        let now = self.clock;
        let sql = format!(
            "INSERT INTO letter_sending (company_id, slot, part, sender, until) VALUES ($1, $2, $3, $4, {now} + $5)
             ON CONFLICT (company_id, slot, part) DO UPDATE SET sender = excluded.sender, until = excluded.until
             WHERE letter_sending.until < {now}"
        );
        let own = [(*company).into(), (*number).into(), (*part).into(), sender.into(), LEFT_TO_SENDER.into()];
        if tx.execute(sql, &own).await? == 0 {
            return Ok(Turn::Theirs);
        }
        // Whoever sent it has noted that before it let go.
        if was_sent(&mut tx, letter.slot, *part).await? {
            return Ok(Turn::Nobodys);
        }
        tx.commit().await?;
        Ok(Turn::Ours)
    }

    /// Notes that `sender` is still sending the mail.
    pub(super) async fn keep(&self, letter: &Letter, sender: Uuid) -> Result<(), StoreError> {
        self.leave_for(letter, sender, LEFT_TO_SENDER).await
    }

    /// Notes that `sender` has not sent the mail: anybody may.
    pub(super) async fn give_back(&self, letter: &Letter, sender: Uuid) -> Result<(), StoreError> {
        self.leave_for(letter, sender, -1).await
    }

    async fn leave_for(&self, letter: &Letter, sender: Uuid, milliseconds: i64) -> Result<(), StoreError> {
        let Letter { slot: Slot { company, number }, part, .. } = letter;
        let sql = format!(
            "UPDATE letter_sending SET until = {} + $5
             WHERE company_id = $1 AND slot = $2 AND part = $3 AND sender = $4",
            self.clock
        );
        let mut tx = self.writer.begin().await?;
        let own = [(*company).into(), (*number).into(), (*part).into(), sender.into(), milliseconds.into()];
        tx.execute(sql, &own).await?;
        tx.commit().await
    }

    /// Notes that the server does not take mail to `company` for now. Says for how long it has not, and how often it has said so.
    pub(super) async fn note_refused(&self, company: Uuid) -> Result<(Duration, i64), StoreError> {
        let now = self.clock;
        let sql = format!(
            "INSERT INTO refused_companies (company_id, since, times) VALUES ($1, {now}, 1)
             ON CONFLICT (company_id) DO UPDATE SET times = refused_companies.times + 1
             RETURNING {now} - since, times"
        );
        let mut tx = self.writer.begin().await?;
        let noted: Vec<(i64, i64)> = tx.fetch(sql, &[company.into()]).await?;
        tx.commit().await?;
        let (milliseconds, times) = noted.first().copied().unwrap_or_default();
        Ok((Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)), times))
    }

    /// Notes that the server is not asked to take mail to `company` again that it did not take.
    pub(super) async fn forget_refused(&self, company: Uuid) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.execute(FORGET_REFUSED, &[company.into()]).await?;
        tx.commit().await
    }

    /// Notes that the mail was sent at the time `now`, in milliseconds since 1970.
    pub(super) async fn note_sent(&self, letter: &Letter, now: i64) -> Result<(), StoreError> {
        let sql = "UPDATE letter_items SET movie_title = '', author_name = '', title = NULL, body = ''
                   WHERE company_id = $1 AND slot = $2 AND part = $3";
        self.done_with(letter, sql, now).await
    }

    /// Notes that nobody wants the mail any more. Its number is no other's all the same: it may have gone out before a crash.
    pub(super) async fn note_unwanted(&self, letter: &Letter, now: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM letter_items WHERE company_id = $1 AND slot = $2 AND part = $3";
        self.done_with(letter, sql, now).await
    }

    /// Takes what is delivered under `id` out of the mail that it was to go out with, unless that was sent. A mail of which nothing
    /// is left is done with at the time `now`; as with one that nobody wants, its number is no other's.
    pub(super) async fn take_out(&self, id: Uuid, now: i64) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        let sql = "SELECT company_id, slot, part FROM letter_items WHERE delivery_id = $1";
        let found: Vec<(Uuid, i64, i64)> = tx.fetch(sql, &[id.into()]).await?;
        let Some((company, number, part)) = found.into_iter().next() else { return Ok(()) };
        let slot = Slot { company, number };
        if was_sent(&mut tx, slot, part).await? {
            return Ok(());
        }
        tx.execute("DELETE FROM letter_items WHERE delivery_id = $1", &[id.into()]).await?;
        let sql = "SELECT COUNT(*) FROM letter_items WHERE company_id = $1 AND slot = $2 AND part = $3";
        let left: Vec<(i64,)> = tx.fetch(sql, &[company.into(), number.into(), part.into()]).await?;
        if left == [(0,)] {
            close(&mut tx, slot, part, now).await?;
        }
        tx.commit().await
    }

    async fn done_with(&self, letter: &Letter, of_items: &'static str, now: i64) -> Result<(), StoreError> {
        let Letter { slot: Slot { company, number }, part, .. } = letter;
        let mut tx = self.writer.begin().await?;
        tx.execute(of_items, &[(*company).into(), (*number).into(), (*part).into()]).await?;
        close(&mut tx, letter.slot, *part, now).await?;
        let oldest = [number.saturating_sub(KEPT).into()];
        let sql = "DELETE FROM letter_items WHERE slot < $1 AND EXISTS (
                       SELECT 1 FROM letters WHERE letters.company_id = letter_items.company_id
                           AND letters.slot = letter_items.slot AND letters.part = letter_items.part
                           AND letters.sent_at IS NOT NULL)";
        tx.execute(sql, &oldest).await?;
        tx.execute("DELETE FROM letters WHERE slot < $1 AND sent_at IS NOT NULL", &oldest).await?;
        tx.commit().await
    }
}

const FORGET_REFUSED: &str = "DELETE FROM refused_companies WHERE company_id = $1";
const INSERT_ITEMS: &str =
    "INSERT INTO letter_items (delivery_id, company_id, slot, part, comment_id, posted_at, movie_id,
                                movie_title, author_name, title, body) VALUES $rows";

fn row(Slot { company, number }: Slot, part: i64, item: &Item) -> [Value<'_>; 11] {
    [
        item.id.into(),
        company.into(),
        number.into(),
        part.into(),
        item.comment.into(),
        item.at.into(),
        item.movie.into(),
        item.movie_title.as_str().into(),
        item.author_name.as_str().into(),
        item.title.as_deref().into(),
        item.body.as_str().into(),
    ]
}

/// The parts that those of `items` go with that go with one.
async fn parts_of(tx: &mut Tx, items: &[&Item]) -> Result<BTreeMap<Uuid, i64>, StoreError> {
    let rows: Vec<_> = items.iter().map(|item| [item.id.into()]).collect();
    let sql = "SELECT delivery_id, part FROM letter_items WHERE delivery_id IN (VALUES $rows)";
    let found: Vec<(Uuid, i64)> = tx.fetch_rows(sql, &rows).await?;
    Ok(found.into_iter().collect())
}

async fn read(tx: &mut Tx, slot: Slot, part: i64) -> Result<Letter, StoreError> {
    let was_sent = was_sent(tx, slot, part).await?;
    let sql =
        "SELECT delivery_id, comment_id, posted_at, movie_id, movie_title, author_name, title, body FROM letter_items
               WHERE company_id = $1 AND slot = $2 AND part = $3";
    type Row = (Uuid, Uuid, i64, Uuid, String, String, Option<String>, String);
    let rows: Vec<Row> = tx.fetch(sql, &[slot.company.into(), slot.number.into(), part.into()]).await?;
    let item = |(id, comment, at, movie, movie_title, author_name, title, body)| Item {
        id,
        comment,
        at,
        movie,
        movie_title,
        author_name,
        title,
        body,
    };
    let mut items: Vec<Item> = rows.into_iter().map(item).collect();
    items.sort_unstable_by_key(|item| (item.at, item.id));
    Ok(Letter { slot, part, items, was_sent })
}

/// Notes that a mail is done with: that nobody is sending it any more, and that its company's mail is taken.
async fn close(tx: &mut Tx, Slot { company, number }: Slot, part: i64, now: i64) -> Result<(), StoreError> {
    let mail = [company.into(), number.into(), part.into()];
    let sql = "UPDATE letters SET sent_at = $4 WHERE company_id = $1 AND slot = $2 AND part = $3";
    tx.execute(sql, &[company.into(), number.into(), part.into(), now.into()]).await?;
    tx.execute("DELETE FROM letter_sending WHERE company_id = $1 AND slot = $2 AND part = $3", &mail).await?;
    tx.execute(FORGET_REFUSED, &[company.into()]).await.map(drop)
}

async fn was_sent(tx: &mut Tx, slot: Slot, part: i64) -> Result<bool, StoreError> {
    let sql = "SELECT COUNT(*) FROM letters WHERE company_id = $1 AND slot = $2 AND part = $3 AND sent_at IS NOT NULL";
    let sent: Vec<(i64,)> = tx.fetch(sql, &[slot.company.into(), slot.number.into(), part.into()]).await?;
    Ok(sent.first().is_some_and(|(count,)| *count > 0))
}

#[cfg(test)]
mod tests {
    use balcony_store::{ReadModel, Scratch};

    use super::*;

    fn item(number: u128) -> Item {
        Item {
            id: Uuid::from_u128(number),
            comment: Uuid::from_u128(1_000 + number),
            at: 1_000 - number as i64,
            movie: Uuid::from_u128(2),
            movie_title: "Ran".to_owned(),
            author_name: "Mia".to_owned(),
            title: None,
            body: format!("number {number}"),
        }
    }

    const SLOT: Slot = Slot { company: Uuid::from_u128(3), number: 7 };

    /// The letters of a reactor, as an earlier version has made its namespace.
    async fn letters(scratch: &Scratch) -> (Database, Letters) {
        let database = Database::open(scratch.settings()).await.expect("a database");
        let schema = "CREATE TABLE delivered (topic TEXT NOT NULL PRIMARY KEY);";
        database
            .live_or_new(&ReadModel::new("mail", 1, [std::sync::Arc::from("t")], schema))
            .await
            .expect("a namespace");
        let letters = Letters::open(&database, "mail").await.expect("letters");
        (database, letters)
    }

    /// The ids of mails with those of what stands in them.
    fn shape(letters: &[Letter]) -> Vec<(Uuid, Vec<u128>)> {
        letters
            .iter()
            .map(|letter| (letter.id(), letter.items.iter().map(|item| item.id.as_u128()).collect()))
            .collect()
    }

    async fn on(scratch: Scratch) {
        let (database, letters) = letters(&scratch).await;
        let items: Vec<Item> = (0..120).map(item).collect();
        let all: Vec<&Item> = items.iter().collect();
        let decided = letters.decide(SLOT, &all).await.expect("mails");
        // In order of time, whatever the order in which they came, and then cut.
        let numbers: Vec<u128> =
            decided.iter().flat_map(|letter| &letter.items).map(|item| item.id.as_u128()).collect();
        assert_eq!(numbers, (0..120).rev().collect::<Vec<_>>());
        assert_eq!(decided.iter().map(|letter| letter.items.len()).collect::<Vec<_>>(), [50, 50, 20]);

        // Another node gets some of them again after a crash, some that nobody has had, and in other groups.
        let other = Letters::open(&database, "mail").await.expect("letters");
        let some: Vec<&Item> = items.iter().step_by(7).collect();
        assert_eq!(shape(&other.decide(SLOT, &some).await.expect("mails")), shape(&decided));
        assert_eq!(other.decide(SLOT, &some).await.expect("mails")[0].items[0].body, "number 119");
        let (late, last) = (item(500), item(0));
        let with_late = other.decide(SLOT, &[&late, &last]).await.expect("mails");
        assert_eq!(shape(&with_late)[0], shape(&decided)[2]);
        assert_eq!((with_late.len(), with_late[1].part, with_late[1].items.len()), (2, 3, 1));

        // What was sent is known to be, and its texts are gone.
        letters.note_sent(&decided[0], 1).await.expect("noted");
        let again = other.decide(SLOT, &all).await.expect("mails");
        assert_eq!(shape(&again), shape(&decided));
        assert_eq!(again.iter().map(|letter| letter.was_sent).collect::<Vec<_>>(), [true, false, false]);
        assert!(again[0].items.iter().all(|item| item.body.is_empty()) && !again[1].items[0].body.is_empty());

        // After a month nothing of it is left, but what was not sent.
        let later = Slot { number: SLOT.number + KEPT + 1, ..SLOT };
        let recent = item(900);
        let recent = other.decide(later, &[&recent]).await.expect("mails");
        assert_ne!(recent[0].id(), decided[0].id());
        other.note_sent(&recent[0], 2).await.expect("noted");
        let mut tx = letters.writer.begin().await.expect("a transaction");
        let left: Vec<(i64, i64)> = tx
            .fetch("SELECT (SELECT COUNT(*) FROM letters), (SELECT COUNT(*) FROM letter_items)", &[])
            .await
            .expect("counts");
        assert_eq!(left, [(4, 72)]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_goes_out_together_is_decided_once_and_sent_under_one_id() {
        on(Scratch::sqlite().expect("a folder")).await;
        if let Some(scratch) = Scratch::postgres().await.expect("a database") {
            on(scratch).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_given_up_is_in_no_mail_and_a_mail_of_nothing_else_is_done_with() {
        let mut scratches = vec![Scratch::sqlite().expect("a folder")];
        scratches.extend(Scratch::postgres().await.expect("a database"));
        for scratch in scratches {
            let (_database, letters) = letters(&scratch).await;
            let items = [1, 2, 3].map(item);
            let all: Vec<&Item> = items.iter().collect();
            let letter = letters.decide(SLOT, &all).await.expect("mails").remove(0);
            letters.take_out(items[1].id, 1).await.expect("it is taken out");
            letters.take_out(Uuid::from_u128(99), 1).await.expect("it is in none");
            let some = [&items[0], &items[2]];
            let left = letters.decide(SLOT, &some).await.expect("mails");
            assert_eq!(shape(&left), [(letter.id(), vec![3, 1])]);
            letters.note_refused(SLOT.company).await.expect("noted");
            for item in some {
                letters.take_out(item.id, 2).await.expect("it is taken out");
            }
            assert_eq!(letters.take(&letter, Uuid::from_u128(1)).await.expect("looked up"), Turn::Nobodys);
            assert_eq!(letters.note_refused(SLOT.company).await.expect("noted").1, 1, "of other mail");
            let mut tx = letters.writer.begin().await.expect("a transaction");
            let items: Vec<(i64,)> = tx.fetch("SELECT COUNT(*) FROM letter_items", &[]).await.expect("a count");
            drop(tx);
            assert_eq!(items, [(0,)]);
            // What comes later has a number of its own, and stays where it is once it was sent.
            let late = item(7);
            let next = letters.decide(SLOT, &[&late]).await.expect("mails").remove(0);
            assert_ne!(next.id(), letter.id());
            letters.note_sent(&next, 3).await.expect("noted");
            letters.take_out(late.id, 4).await.expect("nothing is done");
            assert!(letters.decide(SLOT, &[&late]).await.expect("mails")[0].was_sent);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mail_is_sent_by_one_node_at_a_time_and_by_another_once_that_is_not_heard_of() {
        let mut scratches = vec![Scratch::sqlite().expect("a folder")];
        scratches.extend(Scratch::postgres().await.expect("a database"));
        for scratch in scratches {
            let (database, letters) = letters(&scratch).await;
            let other = Letters::open(&database, "mail").await.expect("letters");
            let (one, two, three) = (item(1), item(2), item(3));
            let letter = letters.decide(SLOT, &[&one, &two, &three]).await.expect("mails").remove(0);
            let senders = [1, 2, 3].map(Uuid::from_u128);
            let take = async |letters: &Letters, sender: usize| {
                letters.take(&letter, senders[sender]).await.expect("it is looked up")
            };
            assert_eq!(take(&letters, 0).await, Turn::Ours);
            assert_eq!((take(&other, 1).await, take(&letters, 2).await), (Turn::Theirs, Turn::Theirs));
            letters.keep(&letter, senders[0]).await.expect("kept");
            assert_eq!(take(&other, 1).await, Turn::Theirs);
            // What somebody else says of it changes nothing.
            other.give_back(&letter, senders[1]).await.expect("nothing is given back");
            assert_eq!(take(&other, 1).await, Turn::Theirs);
            letters.give_back(&letter, senders[0]).await.expect("given back");
            assert_eq!(take(&other, 1).await, Turn::Ours);

            // Its time passes.
            let mut tx = letters.writer.begin().await.expect("a transaction");
            tx.execute("UPDATE letter_sending SET until = until - $1", &[LEFT_TO_SENDER.into()]).await.expect("passed");
            tx.commit().await.expect("a commit");
            assert_eq!(take(&letters, 2).await, Turn::Ours);
            // The server does not take it at first.
            let refused = async || other.note_refused(SLOT.company).await.expect("noted").1;
            assert_eq!((refused().await, refused().await), (1, 2));
            letters.note_sent(&letter, 1).await.expect("noted");
            assert_eq!(refused().await, 1);
            assert_eq!((take(&other, 1).await, take(&letters, 0).await), (Turn::Nobodys, Turn::Nobodys));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nodes_that_decide_at_the_same_time_send_nothing_in_two_mails() {
        let mut scratches = vec![Scratch::sqlite().expect("a folder")];
        scratches.extend(Scratch::postgres().await.expect("a database"));
        for scratch in scratches {
            let (database, _) = letters(&scratch).await;
            let mut nodes = tokio::task::JoinSet::new();
            for node in 0..4_u128 {
                let database = database.clone();
                nodes.spawn(async move {
                    let letters = Letters::open(&database, "mail").await.expect("letters");
                    // Each has some that another has, too.
                    let items: Vec<Item> = (node * 10..node * 10 + 20).map(item).collect();
                    shape(&letters.decide(SLOT, &items.iter().collect::<Vec<_>>()).await.expect("mails"))
                });
            }
            let mails: BTreeMap<Uuid, Vec<u128>> = nodes.join_all().await.into_iter().flatten().collect();
            let mut numbers: Vec<u128> = mails.into_values().flatten().collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..50).collect::<Vec<_>>());
        }
    }
}
