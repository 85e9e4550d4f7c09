use std::io::Write as _;

use super::console::Console;
use crate::{Application, Installation, Settings};

/// Makes the topics and tables that are missing; the steps make those of their own.
pub(super) async fn migrate(
    application: &Application,
    settings: &Settings,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let installation = Installation::open(application, settings).await?;
    for listed in installation.database.generations(None).await? {
        let generation = listed.generation;
        writeln!(
            console.output,
            "{} version {} generation {} {}",
            generation.projection, generation.version, generation.number, listed.state
        )?;
    }
    Ok(())
}
