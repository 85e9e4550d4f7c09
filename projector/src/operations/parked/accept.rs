use anyhow::{Context as _, bail};
use balcony_store::{BuildOptions, GenerationState, ListedGeneration};

use crate::Installation;
use crate::accepting::accept;
use crate::catalogue::Step;
use crate::operations::terminal::Terminal;

/// Parks what fails of the projection called `name` up to the log's end, and lets it go on.
pub(super) async fn run(installation: &Installation, name: &str, terminal: &mut Terminal<'_>) -> anyhow::Result<()> {
    let projection = match installation.catalogue.find(name)? {
        Step::Projection(projection) => projection,
        Step::Replica { .. } => bail!("{name} parks what it cannot read, and does not stop at it"),
        Step::Reactor(_) => bail!(
            "{name} is a reactor: what is refused for good is parked without end and does not stop it. What stopped it \
             failed at every attempt: mend that and start the process again, and have the parked ones delivered by \
             `parked retry`"
        ),
    };
    let (database, model) = (&installation.database, projection.read_model());
    let mut listed = database.generations(Some(name)).await?;
    listed.retain(|listed| listed.generation.version == i64::from(model.version));
    let in_state = |state| listed.iter().find(move |listed: &&ListedGeneration| listed.state == state);
    let failed = in_state(GenerationState::Failed);
    let accepting = failed.or(in_state(GenerationState::Live));
    let accepting = &accepting.with_context(|| format!("{name} has no generation to go on with"))?.generation;
    let taken = accept(projection, installation.log.as_ref(), database, accepting).await?;
    if failed.is_some() {
        let park = BuildOptions { park_failures: true, ..BuildOptions::default() };
        database.begin_build(model, park).await?;
    }
    terminal.tell(format_args!("{name}: {taken} parked, up to where the log ended; it goes on from there"))
}
