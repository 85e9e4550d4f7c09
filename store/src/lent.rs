use sqlx::pool::PoolConnection;

/// A connection for one query outside any transaction. It is closed when the query was left before its answer came,
/// since nobody knows when that will be.
pub(crate) struct Lent<DB: sqlx::Database> {
    connection: PoolConnection<DB>,
    answered: bool,
}

impl<DB: sqlx::Database> Lent<DB> {
    pub(crate) fn new(connection: PoolConnection<DB>) -> Self {
        Self { connection, answered: true }
    }

    /// Asks something and waits for the answer.
    pub(crate) async fn answer<T>(&mut self, ask: impl AsyncFnOnce(&mut DB::Connection) -> T) -> T {
        self.answered = false;
        let answer = ask(&mut self.connection).await;
        self.answered = true;
        answer
    }
}

impl<DB: sqlx::Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
    }
}
