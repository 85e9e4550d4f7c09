//! How a process is told to end.

use tokio::signal::unix::{SignalKind, signal};

/// Comes with SIGTERM or SIGINT, which end the process no longer from now on; a second one then ends it at once. For
/// what runs without a [`Service`](crate::Service), which ends by itself.
///
/// # Errors
/// When the system does not let the process listen for them.
pub fn told_to_end() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
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
