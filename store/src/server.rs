//! Read models on a PostgreSQL server: each generation is a schema.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::limits::Limits;
use crate::pool::{Durability, Patience, Pool};
use crate::server_readers::ServerReaders;
use crate::session::{Session, quoted};
use crate::{Namespace, Progress, StoreError, Tx, incarnation, migrations, notify};

/// Connections that read at the same time.
const READERS: u32 = 16;
/// Connections that write one read model: one works, one takes over.
const WRITERS: u32 = 2;
/// How long the server may take to say who builds.
const LEASE_PATIENCE: Duration = Duration::from_secs(10);
/// Connections to this crate's own tables.
const STORE: u32 = 4;

#[derive(Debug)]
pub(crate) struct Server {
    namespace: Namespace,
    options: Box<PgConnectOptions>,
    progress: Arc<Progress>,
    /// Connections to this crate's own tables.
    store: PgPool,
    /// The same, watched over.
    watched: Pool,
}

impl Server {
    pub(crate) fn new(url: &str, namespace: &Namespace, progress: &Arc<Progress>) -> Result<Self, StoreError> {
        // The parser's message may repeat the URL, and with it the password.
        let options: PgConnectOptions = url.parse().map_err(|_| {
            StoreError::Misconfigured(
                "the database's URL is not of the form postgres://user:password@host/database".into(),
            )
        })?;
        if matches!(options.get_ssl_mode(), PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
            return Err(StoreError::Misconfigured(
                "the database's URL asks for TLS by its sslmode, and this build has none: use a proxy that encrypts, or \
                 sslmode=disable on a network of its own"
                    .into(),
            ));
        }
        // A pooler in between would refuse the settings that are sent with the connection by default.
        let options = options.application_name(namespace.as_str()).extra_float_digits(None);
        let session = Session::new(namespace, progress, &[namespace.as_str()], Limits::OWN);
        let store = session.clone().bare_pool(&options, STORE);
        let watched = session.watched(store.clone(), &options);
        let progress = progress.clone();
        Ok(Self { namespace: namespace.clone(), options: Box::new(options), progress, store, watched })
    }

    /// Brings this crate's own tables up to this version.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        let mut tx = self.watched.begin().await?;
        self.lock_generations(&mut tx).await?;
        let schema = quoted(self.namespace.as_str());
        tx.script(format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
        tx.script(incarnation::table(&schema)).await?;
        tx.commit().await?;
        migrations::run(&self.store).await?;
        // This connection was opened when there was no such table yet.
        let mut connection = self.store.acquire().await?;
        self.progress.meet(incarnation::of(&mut connection, &schema).await?);
        Ok(())
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
        self.watched.clone()
    }

    /// Connections that write the generation in `schema`.
    pub(crate) fn writers(&self, schema: &str, durability: Durability, patience: Patience) -> Pool {
        let synchronous_commit = match durability {
            Durability::Full => "on",
            Durability::Relaxed => "off",
        };
        let limits = match patience {
            Patience::Batches => Limits::WRITING,
            Patience::Builds => Limits::BUILDING,
        };
        self.session(&[schema], limits).with("synchronous_commit", synchronous_commit).pool(&self.options, WRITERS)
    }

    /// Connections that read the generations in `schemas`.
    ///
    /// What is read is pages, some milliseconds of work: compiling a query or starting processes for it takes longer.
    pub(crate) fn readers(&self, schemas: &[&str]) -> ServerReaders {
        let session = self.session(schemas, Limits::READING);
        session.with("jit", "off").with("max_parallel_workers_per_gather", "0").readers(&self.options, READERS)
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

    /// Drops `schema` with everything in it, in the transaction. Whoever reads in it is waited for a
    /// second.
    pub(crate) async fn drop_schema(&self, tx: &mut Tx, schema: &str) -> Result<(), StoreError> {
        let schema = quoted(schema);
        let sql = format!(
            "SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '1s'; DROP SCHEMA IF EXISTS {schema} CASCADE"
        );
        tx.script(sql).await
    }

    /// There are no files.
    pub(crate) fn has_file(&self, _schema: &str) -> bool {
        true
    }

    /// Transactions leave nothing behind.
    pub(crate) fn sweep(&self, _known: &[&str]) -> Result<(), StoreError> {
        Ok(())
    }

    /// A connection that holds the right to build `projection`, which ends with it; `None` while another one has it.
    pub(crate) async fn lease(&self, projection: &str) -> Result<Option<PgConnection>, StoreError> {
        let take = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            // By its settings the server learns when the holder's machine is gone.
            self.session(&[], Limits::OWN).begin(&mut connection).await?;
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext($1), hashtext($2))")
                .bind(format!("{}.build", self.namespace))
                .bind(projection)
                .fetch_one(&mut connection)
                .await?;
            Ok(taken.then_some(connection))
        };
        let taken = tokio::time::timeout(LEASE_PATIENCE, take).await;
        taken.unwrap_or_else(|_| Err(StoreError::away("the server does not answer")))
    }

    /// Shares progress with other processes.
    pub(crate) fn share(&self, progress: &Arc<Progress>) {
        let (session, options) = (self.session(&[], Limits::OWN), self.options.clone());
        notify::start(progress, &self.store, move || session.clone().bare_pool(&options, 1), &self.namespace);
    }

    fn session(&self, schemas: &[&str], limits: Limits) -> Session {
        Session::new(&self.namespace, &self.progress, schemas, limits)
    }
}
