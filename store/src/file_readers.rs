//! Readers of SQLite's files. A query is one piece of work on one thread, from its parameters to its last row.
//!
//! Most queries take less than it costs to wake a thread and to be woken by it. So a query begins on the thread of
//! whoever asks, where it may go [`AT_ONCE`] far. One that goes on begins anew on a thread that is there for such
//! work, and the next ones with its text go there at once. Work waits in the order in which it came, for some seconds at
//! the most; there is never more of it than callers.
//!
//! A connection keeps the statements that it prepared. The connection and the thread that were used last are used first,
//! since what they read last is still in a core's cache.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::Value as Stored;
use rusqlite::{CachedStatement, Connection, OpenFlags};
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::oneshot;

use crate::columns::{Columns, Order};
use crate::sqlite_value::all_stored;
use crate::{Row, StoreError, Value};

/// Queries that run at the same time on threads of their own, and connections that are kept.
const THREADS: usize = 4;
/// How often SQLite's machine comes by [`STEPS_BETWEEN_LOOKS`] for a query on the thread of whoever asks: some hundred
/// microseconds, as writing a page takes. It is counted in steps, since a thread that others keep from its core is no slower.
const AT_ONCE: u32 = 10;
/// How many queries with the text of one that took longer do not begin on the thread of whoever asks.
const LONG_FOR: u16 = 256;
/// How many such texts are known.
const LONG_MAX: usize = 64;
/// Statements that a connection keeps.
const STATEMENTS: usize = 128;
/// Steps of SQLite's machine between two looks at the clock: some ten microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;
/// Pages of each file that a connection keeps, in KiB.
const CACHE: i32 = 16_384;

/// Threads that read, which end when this is dropped.
#[derive(Debug)]
pub(crate) struct FileReaders {
    shared: Arc<Shared>,
}

/// What connections open.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) main: PathBuf,
    /// Files that are attached, under their names, so that plain table names are found in whichever has them.
    pub(crate) attached: Vec<(String, PathBuf)>,
    /// How long another's lock is waited for, and a thread that is free.
    pub(crate) patience: Duration,
    /// How long a query may take.
    pub(crate) limit: Duration,
}

#[derive(Debug)]
struct Shared {
    files: Files,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Work>,
    /// Connections that nobody uses; the one that was used last comes last.
    connections: Vec<Connection>,
    /// Texts of queries that took long, and how many more of each are taken to.
    long: HashMap<String, u16>,
    /// Threads that wait for work; the one that began to last comes last.
    idle: Vec<Thread>,
    threads: usize,
    closed: bool,
}

/// A query on the connection that it is given, which it gives back before it answers; it tells whoever asked why there
/// is none.
type Run = Box<dyn FnOnce(&Shared, Result<Connection, StoreError>) + Send>;

struct Work {
    since: Instant,
    run: Run,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("since", &self.since).finish_non_exhaustive()
    }
}

impl FileReaders {
    /// Readers of `files`, which are opened when the first query comes.
    pub(crate) fn new(files: Files) -> Self {
        Self { shared: Arc::new(Shared { files, state: Mutex::default() }) }
    }

    /// Runs a query. It ends early when this is left.
    pub(crate) async fn fetch<R: Row>(
        &self,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let params = all_stored(params)?;
        match self.shared.at_once(&sql, &params) {
            Some(rows) => rows,
            // Few go this way; the others do not carry its state with them.
            None => Box::pin(self.in_turn(sql, params)).await,
        }
    }

    /// Runs a query on a thread that is there for it.
    async fn in_turn<R: Row>(&self, sql: Cow<'static, str>, params: Vec<Stored>) -> Result<Vec<R>, StoreError> {
        let Files { patience, limit, .. } = self.shared.files;
        let (answer, answered) = oneshot::channel();
        // Dropped with this future.
        let asking = Arc::new(());
        let asked = Arc::downgrade(&asking);
        self.shared.submit(Box::new(move |shared, connection| {
            let rows = connection.and_then(|connection| {
                connection.busy_timeout(patience).map_err(unread)?;
                let deadline = Instant::now() + limit;
                let rows = read(&connection, &sql, &params, move || is_over(deadline, &asked));
                shared.keep(connection);
                rows
            });
            // Whoever asked may be gone.
            let _ = answer.send(rows);
        }))?;
        // Without an answer the query has panicked.
        answered.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }
}

impl Drop for FileReaders {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.idle.drain(..).for_each(|thread| thread.unpark());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a query on this thread, unless it takes long, or somebody has to be waited for.
    fn at_once<R: Row>(&self, sql: &str, params: &[Stored]) -> Option<Result<Vec<R>, StoreError>> {
        let connection = self.at_hand(sql)?;
        let took_long = Arc::new(AtomicBool::new(false));
        let rows = panic::catch_unwind(AssertUnwindSafe(|| {
            connection.busy_timeout(Duration::ZERO).map_err(unread)?;
            let took_long = took_long.clone();
            let mut looks = 0;
            read(&connection, sql, params, move || {
                looks += 1;
                let is_long = looks > AT_ONCE;
                took_long.fetch_or(is_long, Ordering::Relaxed);
                is_long
            })
        }));
        // A connection on which something panicked is not used again.
        let Ok(rows) = rows else { return Some(Err(sqlx::Error::WorkerCrashed.into())) };
        self.keep(connection);
        if took_long.load(Ordering::Relaxed) {
            self.note_long(sql);
            return None;
        }
        match rows {
            Err(StoreError::Unavailable(_)) => None,
            rows => Some(rows),
        }
    }

    /// A connection that nobody uses, for a query that is not known to take long.
    fn at_hand(&self, sql: &str) -> Option<Connection> {
        let mut state = self.lock();
        if let Some(more) = state.long.get_mut(sql) {
            *more -= 1;
            if *more == 0 {
                state.long.remove(sql);
            }
            return None;
        }
        state.connections.pop()
    }

    fn note_long(&self, sql: &str) {
        let mut state = self.lock();
        if state.long.len() < LONG_MAX {
            state.long.insert(sql.to_owned(), LONG_FOR);
        }
    }

    fn keep(&self, connection: Connection) {
        let mut state = self.lock();
        if state.connections.len() < THREADS {
            state.connections.push(connection);
        }
    }

    /// A connection that nobody uses, or another one.
    fn connect(&self) -> Result<Connection, StoreError> {
        let at_hand = self.lock().connections.pop();
        at_hand.map_or_else(|| self.files.open().map_err(unread), Ok)
    }

    fn submit(self: &Arc<Self>, run: Run) -> Result<(), StoreError> {
        let mut state = self.lock();
        match state.idle.pop() {
            Some(thread) => thread.unpark(),
            None if state.threads < THREADS => {
                let shared = self.clone();
                let spawned = thread::Builder::new().name("store-reader".to_owned()).spawn(move || shared.serve());
                match spawned {
                    Ok(_) => state.threads += 1,
                    // Others take it.
                    Err(_) if state.threads > 0 => {}
                    Err(error) => return Err(sqlx::Error::Io(error).into()),
                }
            }
            None => {}
        }
        state.waiting.push_back(Work { since: Instant::now(), run });
        Ok(())
    }

    /// Does what is to be done, until there will be nothing any more.
    fn serve(&self) {
        while let Some(Work { since, run }) = self.work() {
            let is_late = since.elapsed() > self.files.patience;
            let connection = if is_late { Err(sqlx::Error::PoolTimedOut.into()) } else { self.connect() };
            // What panics takes its connection along, and nothing else.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| run(self, connection)));
        }
    }

    /// Waits for work; `None` when there will be none any more.
    fn work(&self) -> Option<Work> {
        loop {
            let mut state = self.lock();
            // It may have been woken by nobody.
            let this = thread::current();
            state.idle.retain(|idle| idle.id() != this.id());
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            if state.closed {
                return None;
            }
            state.idle.push(this);
            drop(state);
            thread::park();
        }
    }
}

impl Files {
    /// A connection that only reads. None of the files is made when it is not there.
    pub(crate) fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.main, flags)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // A plan that is made for the values of parameters is made again for every other value, at a third of a list's cost.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "query_only", 1)?;
        for (name, file) in &self.attached {
            connection.execute("ATTACH ?1 AS ?2", (file.to_string_lossy(), name))?;
            connection.pragma_update(Some(name.as_str()), "cache_size", -CACHE)?;
        }
        Ok(connection)
    }
}

/// Whether a query has gone on for too long, or for nobody.
fn is_over(deadline: Instant, asked: &Weak<()>) -> bool {
    Instant::now() >= deadline || asked.strong_count() == 0
}

/// Reads every row, unless `is_over` says that it is to end.
pub(crate) fn read<R: Row>(
    connection: &Connection,
    sql: &str,
    params: &[Stored],
    is_over: impl FnMut() -> bool + Send + 'static,
) -> Result<Vec<R>, StoreError> {
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over)).map_err(unread)?;
    let mut statement = connection.prepare_cached(sql).map_err(unread)?;
    bind(&mut statement, params)?;
    let mut found = statement.raw_query();
    let mut rows = Vec::new();
    let mut order = Order::Other;
    while let Some(row) = found.next().map_err(unread)? {
        let mut columns = Columns::from(row).after(order);
        rows.push(R::read(&mut columns)?);
        order = columns.order();
    }
    Ok(rows)
}

/// Binds the parameters, `$1` being the first: SQLite numbers them as they come in the text. What is bound to none is
/// NULL.
fn bind(statement: &mut CachedStatement<'_>, params: &[Stored]) -> Result<(), StoreError> {
    for index in 1..=statement.parameter_count() {
        let place = match statement.parameter_name(index) {
            Some(name) => name.get(1..).and_then(|number| number.parse().ok()),
            None => Some(index),
        };
        let place: usize = place.ok_or_else(|| StoreError::refusal("a parameter has no number"))?;
        if let Some(value) = place.checked_sub(1).and_then(|place| params.get(place)) {
            statement.raw_bind_parameter(index, value).map_err(unread)?;
        }
    }
    Ok(())
}

/// What SQLite answered, in the form of the driver that writes.
#[derive(Debug, thiserror::Error)]
#[error("(code: {code}) {message}")]
struct Refusal {
    code: i32,
    message: String,
}

impl DatabaseError for Refusal {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// An answer of this driver as one of the other's.
pub(crate) fn unread(error: rusqlite::Error) -> StoreError {
    let (code, message) = match error {
        rusqlite::Error::SqliteFailure(code, message) => (code, message.unwrap_or_else(|| code.to_string())),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error, msg),
        other => return StoreError::refusal(other.to_string()),
    };
    sqlx::Error::from(Refusal { code: code.extended_code, message }).into()
}

#[cfg(test)]
mod tests {
    use balcony_event_log::testing::eventually;
    use rusqlite::StatementStatus;

    use super::*;

    /// Counts for longer than anybody waits.
    const ENDLESS: &str = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT COUNT(*) FROM n";
    const LONG: Duration = Duration::from_hours(1);
    /// How long anything may take that the test waits for.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Readers of a table `main_things` with the numbers 1 and 2, and of a table `things` in a file that is attached.
    fn readers(folder: &tempfile::TempDir, limit: Duration) -> FileReaders {
        let files = ["main", "it's \"attached\""].map(|name| folder.path().join(name));
        for (file, table) in files.iter().zip(["main_things", "things"]) {
            let connection = Connection::open(file).expect("a database");
            let sql =
                format!("PRAGMA journal_mode = WAL; CREATE TABLE {table} (n); INSERT INTO {table} VALUES (1), (2)");
            connection.execute_batch(&sql).expect("a table");
        }
        let [main, attached] = files;
        FileReaders::new(Files { main, attached: vec![("other".to_owned(), attached)], patience: LONG, limit })
    }

    async fn fetch<R: Row>(readers: &FileReaders, sql: &'static str) -> Result<Vec<R>, StoreError> {
        readers.fetch(sql.into(), &[]).await
    }

    #[tokio::test]
    async fn plain_names_are_found_in_every_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, LONG);
        let sql = "SELECT things.n, main_things.n FROM things JOIN main_things USING (n) ORDER BY 1";
        assert_eq!(fetch::<(i64, i64)>(&readers, sql).await.expect("rows"), [(1, 1), (2, 2)]);
    }

    #[tokio::test]
    async fn parameters_go_by_their_numbers() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, LONG);
        let params = ["one".into(), "two".into()];
        let rows: Vec<(String, String, String)> =
            readers.fetch("SELECT $2, $1, $2".into(), &params).await.expect("rows");
        assert_eq!(rows, [("two".to_owned(), "one".to_owned(), "two".to_owned())]);
        let rows: Vec<(Option<String>,)> = readers.fetch("SELECT $3".into(), &params).await.expect("rows");
        assert_eq!(rows, [(None,)]);
    }

    #[tokio::test]
    async fn columns_are_found_in_any_order() {
        crate::row! {
            struct Found { first: i64, second: String }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, LONG);
        for sql in [
            "SELECT 1 AS first, 'a' AS second UNION ALL SELECT 2, 'b'",
            "SELECT 'a' AS second, NULL AS third, 1 AS first UNION ALL SELECT 'b', NULL, 2",
            "SELECT 1 AS first, NULL AS third, 'a' AS second UNION ALL SELECT 2, NULL, 'b'",
        ] {
            let rows: Vec<Found> = fetch(&readers, sql).await.expect("rows");
            let rows: Vec<_> = rows.iter().map(|row| (row.first, row.second.as_str())).collect();
            assert_eq!(rows, [(1, "a"), (2, "b")]);
        }
        for sql in ["SELECT 1 AS first", "SELECT 1 AS first, NULL AS second", "SELECT 1 AS first, 2 AS second"] {
            let error = fetch::<Found>(&readers, sql).await.map(|rows| rows.len()).expect_err("it is refused");
            assert!(matches!(&error, StoreError::Refused(_)) && error.to_string().contains(['1', 's']), "{error}");
        }
        let error = fetch::<(i64, i64)>(&readers, "SELECT 1").await.expect_err("it is refused");
        assert!(matches!(error, StoreError::Refused(sqlx::Error::ColumnIndexOutOfBounds { index: 1, len: 1 })));
    }

    #[test]
    fn other_values_do_not_make_another_plan() {
        let folder = tempfile::tempdir().expect("a folder");
        let main = folder.path().join("main");
        let things = "CREATE TABLE things (n, of, gone); CREATE INDEX there ON things (of, n) WHERE gone IS NULL";
        Connection::open(&main).expect("a database").execute_batch(things).expect("a table");
        let files = Files { main, attached: Vec::new(), patience: LONG, limit: LONG };
        let connection = files.open().expect("a connection");
        let sql = "SELECT n FROM things WHERE gone IS NULL AND of = $1 AND n < $2 ORDER BY n DESC LIMIT $3";
        for number in 1..10 {
            let params = [number, number, number].map(Stored::Integer);
            read::<(i64,)>(&connection, sql, &params, || false).expect("no rows");
        }
        let statement = connection.prepare_cached(sql).expect("a statement");
        assert_eq!(
            (statement.get_status(StatementStatus::RePrepare), statement.get_status(StatementStatus::Run)),
            (0, 9)
        );
    }

    #[tokio::test]
    async fn nothing_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, LONG);
        let error = fetch::<(i64,)>(&readers, "DELETE FROM things RETURNING n").await.expect_err("it is refused");
        assert!(error.to_string().contains("readonly"), "{error}");
    }

    #[tokio::test]
    async fn a_table_that_is_not_there_is_told_from_a_file_that_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let there = readers(&folder, LONG);
        let error = fetch::<(i64,)>(&there, "SELECT n FROM nowhere").await.expect_err("it is refused");
        assert!(error.is_missing_table(), "{error:?}");
        let gone = folder.path().join("gone");
        let attached = vec![("gone".to_owned(), gone.clone())];
        let files = Files { main: folder.path().join("main"), attached, patience: LONG, limit: LONG };
        let error = fetch::<(i64,)>(&FileReaders::new(files), "SELECT 1").await.expect_err("it is refused");
        assert!(error.is_transient() && !gone.exists(), "{error}");
    }

    #[tokio::test]
    async fn a_query_that_takes_too_long_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, Duration::from_millis(20));
        let error = fetch::<(i64,)>(&readers, ENDLESS).await.expect_err("it is refused");
        assert!(matches!(&error, StoreError::Unavailable(_)) && error.to_string().contains("interrupted"), "{error}");
        assert_eq!(fetch::<(i64,)>(&readers, "SELECT 1").await.expect("rows"), [(1,)]);
    }

    #[tokio::test]
    async fn a_query_that_nobody_waits_for_any_more_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = Arc::new(readers(&folder, LONG));
        let begin = |_| {
            tokio::spawn({
                let readers = readers.clone();
                async move { fetch::<(i64,)>(&readers, ENDLESS).await }
            })
        };
        let left: Vec<_> = (0..2 * THREADS).map(begin).collect();
        let all_wait = async || (readers.shared.lock().waiting.len() >= THREADS).then_some(());
        eventually("every thread has a query, and as many wait", PATIENCE, all_wait).await;
        left.iter().for_each(|task| task.abort());
        assert_eq!(fetch::<(i64,)>(&readers, "SELECT 1").await.expect("rows"), [(1,)]);
    }

    /// The thread on which a row was read.
    struct ReadOn(thread::ThreadId);

    impl Row for ReadOn {
        fn read(_: &mut Columns<'_>) -> Result<Self, StoreError> {
            Ok(Self(thread::current().id()))
        }
    }

    #[tokio::test]
    async fn a_short_query_runs_on_the_thread_of_whoever_asks_and_a_long_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, LONG);
        // Opens a connection.
        fetch::<(i64,)>(&readers, "SELECT 1").await.expect("rows");
        let this = thread::current().id();
        let [ReadOn(thread)] = fetch(&readers, "SELECT 1").await.expect("rows")[..] else { panic!("one row") };
        assert_eq!(thread, this);
        let long =
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 1000000) SELECT COUNT(*) FROM n";
        for _ in 0..3 {
            let [ReadOn(thread)] = fetch(&readers, long).await.expect("rows")[..] else { panic!("one row") };
            assert_ne!(thread, this);
        }
        // It began on this thread once.
        assert_eq!(readers.shared.lock().long.get(long), Some(&(LONG_FOR - 2)));
    }

    #[tokio::test]
    async fn texts_of_long_queries_are_forgotten_and_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, LONG);
        fetch::<(i64,)>(&readers, "SELECT 1").await.expect("rows");
        for number in 0..2 * LONG_MAX {
            readers.shared.note_long(&format!("SELECT {number}"));
        }
        assert_eq!(readers.shared.lock().long.len(), LONG_MAX);
        for _ in 0..LONG_FOR {
            assert!(readers.shared.at_hand("SELECT 0").is_none());
        }
        assert!(readers.shared.at_hand("SELECT 0").is_some());
    }

    #[tokio::test]
    async fn what_panics_ends_alone() {
        struct Panics;
        impl Row for Panics {
            fn read(_: &mut Columns<'_>) -> Result<Self, StoreError> {
                panic!("this is what the test wants")
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, LONG);
        for _ in 0..2 * THREADS {
            assert!(fetch::<Panics>(&readers, "SELECT 1").await.is_err_and(|error| error.is_transient()));
            let in_turn = readers.in_turn::<Panics>("SELECT 1".into(), Vec::new()).await;
            assert!(in_turn.is_err_and(|error| error.is_transient()));
        }
        assert_eq!(fetch::<(i64,)>(&readers, "SELECT 1").await.expect("rows"), [(1,)]);
    }

    #[tokio::test]
    async fn threads_end_with_their_readers() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder, LONG);
        fetch::<(i64,)>(&readers, "SELECT 1").await.expect("rows");
        let shared = Arc::downgrade(&readers.shared);
        drop(readers);
        let has_ended = async || (shared.strong_count() == 0).then_some(());
        eventually("every thread has ended", PATIENCE, has_ended).await;
    }
}
