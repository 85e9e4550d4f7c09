//! How a process is told to end.

use tokio::signal::unix::{SignalKind, signal};

/// Comes with SIGTERM or SIGINT. A second one ends the process at once.
///
/// # Errors
/// When the system does not let the process listen for them.
pub(crate) fn told_to_end() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to end; requests under way may finish");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}
