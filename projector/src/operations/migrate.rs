use super::terminal::Terminal;
use crate::{Application, Installation, Settings};

/// Makes the topics and tables that are missing; the steps make those of their own.
pub(super) async fn migrate(
    application: &Application,
    settings: &Settings,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let installation = Installation::open(application, settings).await?;
    for listed in installation.database.generations(None).await? {
        let generation = listed.generation;
        let (name, version, number) = (generation.projection, generation.version, generation.number);
        terminal.tell(format_args!("{name} version {version} generation {number} {}", listed.state))?;
    }
    Ok(())
}
