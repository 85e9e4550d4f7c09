use sqlx::pool::PoolConnection;

/// A connection for one query outside any transaction. It is closed when the query was left before its answer came,
/// since nobody knows when that will be.
pub(crate) struct Lent<DB: sqlx::Database> {
    /// `None` once it is taken back.
    connection: Option<PoolConnection<DB>>,
    answered: bool,
}

impl<DB: sqlx::Database> Lent<DB> {
    pub(crate) fn new(connection: PoolConnection<DB>) -> Self {
        Self { connection: Some(connection), answered: true }
    }

    /// Asks something and waits for the answer.
    pub(crate) async fn answer<T>(&mut self, ask: impl AsyncFnOnce(&mut DB::Connection) -> T) -> T {
        let connection = self.connection.as_mut().expect("it is taken back by whoever has it");
        self.answered = false;
        let answer = ask(connection).await;
        self.answered = true;
        answer
    }

    /// Takes it back.
    #[cfg(feature = "postgres")]
    pub(crate) fn take(mut self) -> PoolConnection<DB> {
        self.connection.take().expect("it is taken back by whoever has it")
    }
}

impl<DB: sqlx::Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection
            && !self.answered
        {
            connection.close_on_drop();
        }
    }
}
