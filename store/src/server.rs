//! Read models on a PostgreSQL server: each generation is a schema.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::pool::{Durability, Pool};
use crate::{Namespace, Progress, StoreError, Tx, migrations, notify};

/// How long a connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read at the same time.
const READERS: u32 = 16;
/// Connections that write one read model: one works, one takes over.
const WRITERS: u32 = 2;

#[derive(Debug)]
pub(crate) struct Server {
    namespace: Namespace,
    options: Box<PgConnectOptions>,
    /// Connections to this crate's own tables.
    store: PgPool,
}

impl Server {
    pub(crate) fn new(url: &str, namespace: &Namespace) -> Result<Self, StoreError> {
        // The parser's message may repeat the URL, and with it the password.
        let options: PgConnectOptions = url.parse().map_err(|_| {
            StoreError::Misconfigured(
                "the database's URL is not of the form postgres://user:password@host/database".into(),
            )
        })?;
        let options = options.application_name(namespace.as_str());
        let store = pool(&options, &quoted(namespace.as_str()), 4);
        Ok(Self { namespace: namespace.clone(), options: Box::new(options), store })
    }

    /// Brings this crate's own tables up to this version.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        let mut tx: Tx = self.store.begin().await?.into();
        self.lock_generations(&mut tx).await?;
        tx.script(format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(self.namespace.as_str()))).await?;
        tx.commit().await?;
        migrations::run(&self.store).await
    }

    /// Checks that they are of this version.
    pub(crate) async fn check_tables(&self) -> Result<(), StoreError> {
        let mut connection = self.store.acquire().await?;
        let found: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
            .bind(format!("{}._sqlx_migrations", quoted(self.namespace.as_str())))
            .fetch_one(&mut *connection)
            .await?;
        if found.is_none() {
            return Err(migrations::never_started("the database"));
        }
        migrations::check(&mut *connection).await
    }

    /// Connections to this crate's own tables.
    pub(crate) fn store(&self) -> Pool {
        Pool::Postgres(self.store.clone())
    }

    /// Connections that write the generation in `schema`.
    pub(crate) fn writers(&self, schema: &str, durability: Durability) -> Pool {
        let synchronous_commit = match durability {
            Durability::Full => "on",
            Durability::Relaxed => "off",
        };
        let options = (*self.options).clone().options([("synchronous_commit", synchronous_commit)]);
        Pool::Postgres(pool(&options, &quoted(schema), WRITERS))
    }

    /// Connections that read the generations in `schemas`.
    ///
    /// What is read is pages, some milliseconds of work: compiling a query or starting processes for it takes longer.
    pub(crate) fn readers(&self, schemas: &[&str]) -> Pool {
        let options = (*self.options).clone().options([("jit", "off"), ("max_parallel_workers_per_gather", "0")]);
        let search_path: Vec<String> = schemas.iter().map(|schema| quoted(schema)).collect();
        Pool::Postgres(pool(&options, &search_path.join(","), READERS))
    }

    /// Begins a transaction that only reads the generation in `schema`.
    pub(crate) async fn look_at(&self, schema: &str) -> Result<Tx, StoreError> {
        let mut tx = self.store().snapshot().await?;
        tx.script(format!("SET LOCAL search_path = {}", quoted(schema))).await?;
        Ok(tx)
    }

    /// Waits until no other process changes the set of generations, until the transaction ends.
    pub(crate) async fn lock_generations(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let lock = format!("{}.generations", self.namespace);
        tx.execute("SELECT pg_advisory_xact_lock(hashtext($1))", &[lock.into()]).await?;
        Ok(())
    }

    /// Makes `schema` with what `scripts` make, in the transaction, and looks for plain names in it until it ends.
    pub(crate) async fn create(&self, tx: &mut Tx, schema: &str, scripts: &[&str]) -> Result<(), StoreError> {
        let schema = quoted(schema);
        tx.script(format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}")).await?;
        for script in scripts {
            tx.schema_statement(script).await?;
        }
        Ok(())
    }

    /// Drops `schema` with everything in it, in the transaction. Whoever reads in it is not waited for long, because
    /// others wait for the transaction.
    pub(crate) async fn drop_schema(&self, tx: &mut Tx, schema: &str) -> Result<(), StoreError> {
        let schema = quoted(schema);
        let sql = format!(
            "SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '1s'; DROP SCHEMA IF EXISTS {schema} CASCADE"
        );
        tx.script(sql).await
    }

    /// There are no files.
    pub(crate) fn remove_file(&self, _schema: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Transactions leave nothing behind.
    pub(crate) fn sweep(&self, _known: &[&str]) -> Result<(), StoreError> {
        Ok(())
    }

    /// A connection that holds the right to build `projection`, which ends with it; `None` while another one has it.
    pub(crate) async fn lease(&self, projection: &str) -> Result<Option<PgConnection>, StoreError> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext($1), hashtext($2))")
            .bind(format!("{}.build", self.namespace))
            .bind(projection)
            .fetch_one(&mut connection)
            .await?;
        Ok(taken.then_some(connection))
    }

    /// Shares progress with other processes.
    pub(crate) fn share(&self, progress: &Arc<Progress>) {
        notify::start(progress, &self.store, &self.namespace);
    }
}

fn pool(options: &PgConnectOptions, search_path: &str, connections: u32) -> PgPool {
    let options = options.clone().options([("search_path", search_path)]);
    PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options)
}

/// A name that may be a word of SQL. Namespaces and schemas have no quotes in them.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
