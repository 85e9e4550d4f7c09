//! Starts a program again of which nothing runs any more.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

use super::diagnosis::Diagnosis;
use super::examination::examine;
use crate::installation::try_hold;
use crate::{Application, Deployment, Installation, Settings};

/// How long the program may take until one of its steps is seen.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The command that is left away, and its options.
const DOCTOR: [&str; 4] = ["doctor", "--json", "--watch", "--restart"];

/// Whether nothing runs. An embedded program that has died is known at once, by its folder that nobody holds; another one
/// once it has not been seen for a while.
pub(super) fn has_died(application: &Application, settings: &Settings, diagnosis: &Diagnosis) -> anyhow::Result<bool> {
    match settings.deployment(application)? {
        Deployment::Embedded { data_dir } => Ok(try_hold(&data_dir)?.is_some()),
        Deployment::Distributed { .. } => Ok(diagnosis.nothing_runs().is_some()),
    }
}

/// Starts this program, as it was started itself but without the command, in the background, and waits until one of its
/// steps is seen. What it prints goes to a file in the data folder. Gives the number of its process.
pub(super) async fn restart(
    application: &Application,
    settings: &Settings,
    installation: &Installation,
) -> anyhow::Result<u32> {
    let path = settings.data_dir(application)?.join(format!("{}.log", application.name()));
    let output = || File::options().create(true).append(true).open(&path);
    let (stdout, stderr) = output()
        .and_then(|stdout| Ok((stdout, output()?)))
        .with_context(|| format!("DATA_DIR: {} cannot be written", path.display()))?;
    let arguments: Vec<OsString> =
        std::env::args_os().skip(1).filter(|argument| DOCTOR.iter().all(|own| argument != own)).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    // What ends this command does not end it.
    let mut child = command.process_group(0).spawn().context("the program cannot be started")?;
    let deadline = Instant::now() + PATIENCE;
    while !examine(application, installation).await?.is_seen(child.id()) {
        if let Some(status) = child.try_wait()? {
            bail!("it was started again and ended at once ({status}); {} says why", path.display());
        }
        if Instant::now() > deadline {
            bail!("it was started again as process {} and does nothing yet; {} says why", child.id(), path.display());
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(child.id())
}
