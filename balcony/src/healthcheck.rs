//! A health check for images that have no HTTP client of their own.

use std::time::Duration;

use anyhow::{Context as _, ensure};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Succeeds when `url` answers with success.
pub(crate) async fn ask(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let response = client.get(url).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = response.status();
    ensure!(status.is_success(), "{url} answers {status}: {}", response.text().await.unwrap_or_default());
    Ok(())
}
