//! The first screen of whoever starts Balcony for the first time.

use std::net::SocketAddr;
use std::path::Path;

use balcony_http::{Authority, Role};
use balcony_projector::Deployment;

use crate::settings::Settings;

/// How long the token on the first screen is valid.
const FIRST_TOKEN_SECONDS: u64 = 24 * 3_600;

/// What is shown once everything is ready at `address`. Only a terminal is shown a token: what is written elsewhere, such
/// as a container's log, is kept and read by others, so there the line has the command that makes one.
pub(crate) fn greeting(
    settings: &Settings,
    authority: &Authority,
    address: SocketAddr,
    is_terminal: bool,
) -> anyhow::Result<String> {
    let (place, data_dir) = match settings.deployment()? {
        Deployment::Embedded { data_dir } => (format!("embedded, data in {}", data_dir.display()), Some(data_dir)),
        Deployment::Distributed { .. } => ("on Kafka and PostgreSQL".to_owned(), None),
    };
    let (note, token) = if is_terminal {
        (" (this token is valid for a day)", authority.issue("admin", Role::Admin, FIRST_TOKEN_SECONDS)?)
    } else {
        // The same settings have to be found from wherever the line is pasted.
        let data_dir = data_dir.map(|folder| std::path::absolute(&folder).unwrap_or(folder));
        let folder = data_dir.map(|folder| format!(" --data-dir {}", quoted(&folder))).unwrap_or_default();
        ("", format!("'\"$(balcony token --user admin --role admin --expires-in 1d{folder})\"'"))
    };
    Ok(format!(
        "Balcony listens on http://{address} ({place}).

Register a movie, as an admin{note}:

curl -i http://{address}/v1/movies -H 'Content-Type: application/json' -H 'Authorization: Bearer {token}' -d '{{\"title\":\"Seven Samurai\"}}'

See it: http://{address}/v1/movies   Everything else: http://{address}/docs
More tokens: balcony token --user NAME   Something to look at: balcony demo
"
    ))
}

/// `path` as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
