use std::ops::Deref;

use sqlx::Acquire;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use crate::StoreError;

/// This crate's own tables, one step a file.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/store");

/// Brings the tables up to this version.
pub(crate) async fn run<'a, A>(connections: A) -> Result<(), StoreError>
where
    A: Acquire<'a>,
    <A::Connection as Deref>::Target: Migrate,
{
    MIGRATIONS.run(connections).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) => newer(),
        other => other.into(),
    })
}

/// Checks that the tables, which are there, are of this version.
pub(crate) async fn check(connection: &mut impl Migrate) -> Result<(), StoreError> {
    let applied = connection.list_applied_migrations(&MIGRATIONS.table_name).await?;
    if applied.iter().any(|applied| !MIGRATIONS.version_exists(applied.version)) {
        return Err(newer());
    }
    for known in MIGRATIONS.iter() {
        match applied.iter().find(|applied| applied.version == known.version) {
            None => {
                return Err(StoreError::Misconfigured(
                    "the database's tables are of an older version of this program: start it, or run its `migrate`"
                        .into(),
                ));
            }
            Some(applied) if applied.checksum != known.checksum => {
                return Err(MigrateError::VersionMismatch(known.version).into());
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// No program of this namespace has made its tables here.
pub(crate) fn never_started(place: &str) -> StoreError {
    StoreError::Misconfigured(format!("this program was never started: {place} has no tables of it"))
}

fn newer() -> StoreError {
    StoreError::Misconfigured(
        "the database's tables are of a newer version of this program: run that version".to_owned(),
    )
}
