use sqlx::error::DatabaseError;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, busy or full, or two transactions were in each other's way: the same may succeed later.
    /// Nothing of the transaction was kept, or it was kept whole and only the answer is missing.
    #[error("the database is not available: {}", said(.0))]
    Unavailable(sqlx::Error),
    /// A lock was waited for in vain, and this is who holds it: the same may succeed later.
    #[error("{0}")]
    Locked(String),
    /// The database refused the statement or the data; the same will fail again.
    #[error("the database refused: {}", said(.0))]
    Refused(sqlx::Error),
    /// Somebody else has taken the partition over, or the checkpoint is not where this worker left it.
    #[error("another worker has taken over {0}")]
    Fenced(String),
    /// The installation is not as this version needs it.
    #[error("{0}")]
    Misconfigured(String),
    /// The read model of this name has no live generation of the version that was asked for.
    #[error("the read model {0} is not there yet")]
    NotReady(String),
    /// Tables of a live generation are gone, as the database says: it has to be built again.
    #[error("a read model has lost its tables: {0}")]
    Lost(String),
}

impl StoreError {
    /// Whether the same may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Locked(_) | Self::NotReady(_) | Self::Lost(_))
    }

    /// Whether there is no database that this process could write to. Another process may have one.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Database(error)) => {
                is_of_postgres(error.as_ref()) && is_no_session(error.as_ref())
            }
            Self::Unavailable(_) => true,
            _ => false,
        }
    }

    /// Whether a statement named a table that is not there.
    pub fn is_missing_table(&self) -> bool {
        matches!(self, Self::Refused(error) if is_missing_table(error))
    }

    /// Whether PostgreSQL knows the user, the password or the database not: where that was never otherwise, the settings are
    /// wrong.
    pub fn is_entry_refused(&self) -> bool {
        let Self::Unavailable(sqlx::Error::Database(error)) = self else { return false };
        let class = error.code().map(|code| code[..code.len().min(2)].to_owned());
        is_of_postgres(error.as_ref()) && class.is_some_and(|class| matches!(&*class, "28" | "3D"))
    }

    /// The same of a table of a live generation, where it is that one that is not there.
    pub(crate) fn or_lost(self) -> Self {
        match &self {
            Self::Refused(error) if is_missing_table(error) => Self::Lost(said(error)),
            _ => self,
        }
    }

    /// A refusal for a reason that no database has.
    pub fn refusal(reason: impl Into<String>) -> Self {
        Self::Refused(sqlx::Error::InvalidArgument(reason.into()))
    }

    /// Whether a row was refused because another has its key, or another unique value of it.
    pub fn is_unique_violation(&self) -> bool {
        let Self::Refused(error) = self else { return false };
        error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
    }

    /// The database is away, for a reason that no database says.
    pub(crate) fn away(reason: impl Into<String>) -> Self {
        Self::Unavailable(sqlx::Error::Io(std::io::Error::other(reason.into())))
    }

    /// The same for another who waited for the same answer. What the database said of it is a text there.
    pub(crate) fn for_another(&self) -> Self {
        match self {
            Self::Unavailable(error) => Self::away(said(error)),
            Self::Locked(what) => Self::Locked(what.clone()),
            Self::Refused(sqlx::Error::InvalidArgument(reason)) => Self::refusal(reason.clone()),
            Self::Refused(error) => Self::refusal(said(error)),
            Self::Fenced(what) => Self::Fenced(what.clone()),
            Self::Misconfigured(what) => Self::Misconfigured(what.clone()),
            Self::NotReady(name) => Self::NotReady(name.clone()),
            Self::Lost(what) => Self::Lost(what.clone()),
        }
    }

    pub(crate) fn encoding(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self::Refused(sqlx::Error::Encode(error))
    }
}

/// What an error says: a database's own words, without where in its own source they stand.
fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let transient = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(error) => is_transient(error.as_ref()),
            _ => false,
        };
        if transient { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => Self::Misconfigured(format!("the database cannot be migrated: {other}")),
        }
    }
}

fn is_transient(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if is_of_postgres(error) {
        // Classes of SQLSTATE: transaction rollback, resources (a full disk), operator, system. A lock that is not
        // available, and a session that was idle for too long in its transaction, are single in their classes.
        let class = &code[..code.len().min(2)];
        is_no_session(error) || matches!(class, "40" | "53" | "57" | "58") || matches!(&*code, "55P03" | "25P03")
    } else {
        // The primary result code is the low byte: busy, locked, no memory, read-only, interrupted by its limit, I/O,
        // full, cannot open.
        let primary = code.parse::<u32>().unwrap_or(0) & 0xff;
        matches!(primary, 5 | 6 | 7 | 8 | 9 | 10 | 13 | 14)
    }
}

/// Whether PostgreSQL gives this client no session in which it could write: classes of SQLSTATE for the connection,
/// credentials and the database's name, what an operator has shut, and a server that only reads, as one does that another
/// has taken over from.
fn is_no_session(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    let class = &code[..code.len().min(2)];
    matches!(class, "08" | "28" | "3D") || code.starts_with("57P") || matches!(&*code, "55000" | "25006")
}

/// Whether a connection was found to be closed by its other end.
#[cfg(feature = "postgres")]
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind;

    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::UnexpectedEof
        ),
        // The server was shut, or has crashed.
        sqlx::Error::Database(error) => {
            is_of_postgres(error.as_ref()) && error.code().is_some_and(|code| matches!(&*code, "57P01" | "57P02"))
        }
        _ => false,
    }
}

/// Whether a statement of PostgreSQL's waited for a lock for too long.
#[cfg(feature = "postgres")]
pub(crate) fn is_lock_timeout(error: &StoreError) -> bool {
    let StoreError::Unavailable(sqlx::Error::Database(error)) = error else { return false };
    is_of_postgres(error.as_ref()) && error.code().is_some_and(|code| code == "55P03")
}

#[cfg(feature = "postgres")]
fn is_of_postgres(error: &dyn DatabaseError) -> bool {
    error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some()
}

#[cfg(not(feature = "postgres"))]
fn is_of_postgres(_: &dyn DatabaseError) -> bool {
    false
}

/// Whether a statement named a table that is not there.
pub(crate) fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        if is_of_postgres(error) {
            error.code().is_some_and(|code| code == "42P01")
        } else {
            error.message().starts_with("no such table")
        }
    })
}
