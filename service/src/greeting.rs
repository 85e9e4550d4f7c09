//! The first screen of whoever starts the program.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use balcony_http::probes::{self, Readiness};
use balcony_http::{Authority, Role};
use balcony_projector::Deployment;

/// How long the token on the first screen is valid.
const FIRST_TOKEN_SECONDS: u64 = 24 * 3_600;

/// How whoever starts the program becomes an admin. Only a terminal is shown a token: what is written elsewhere, such as a
/// container's log, is kept and read by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstToken {
    /// A token, which is valid for a day.
    Token(String),
    /// The command that prints such a token, as a shell in any folder takes it.
    Command(String),
    /// None: tokens come from the identity provider.
    Provided,
}

impl FirstToken {
    /// The one for this process's standard output. A command calls the program `program`.
    pub(crate) fn of(authority: &Authority, deployment: &Deployment, program: &str) -> anyhow::Result<Self> {
        if !authority.can_issue() {
            return Ok(Self::Provided);
        }
        if std::io::stdout().is_terminal() {
            return Ok(Self::Token(authority.issue("admin", Role::Admin, FIRST_TOKEN_SECONDS)?));
        }
        Ok(Self::Command(command(deployment, program)))
    }
}

/// The command that prints a token. The same settings have to be found from wherever it is pasted.
fn command(deployment: &Deployment, program: &str) -> String {
    let folder = match deployment {
        Deployment::Embedded { data_dir } => {
            let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone());
            format!(" --data-dir {}", quoted(&data_dir))
        }
        Deployment::Distributed { .. } => String::new(),
    };
    format!("{program} token --user admin --role admin --expires-in 1d{folder}")
}

/// Where the log and the read models are, in words.
pub(crate) fn place(deployment: &Deployment) -> String {
    match deployment {
        Deployment::Embedded { data_dir } => format!("embedded, data in {}", data_dir.display()),
        Deployment::Distributed { .. } => "on Kafka and PostgreSQL".to_owned(),
    }
}

/// What is shown of the program called `name` once everything is ready at `address`.
pub(crate) fn greeting(name: &str, address: SocketAddr, deployment: &Deployment, token: &FirstToken) -> String {
    let place = place(deployment);
    let token = match token {
        FirstToken::Token(token) => format!("A token for it, valid for a day: {token}"),
        FirstToken::Command(command) => format!("A token for it: {command}"),
        FirstToken::Provided => "A token for it comes from the identity provider.".to_owned(),
    };
    format!(
        "{name} listens on http://{address} ({place}).

See it: http://{address}/   Everything else: http://{address}/docs
Operate it, as an admin: http://{address}/control
{token}
"
    )
}

/// This program as the shell called it.
pub(crate) fn this_program(name: &str) -> String {
    std::env::args_os().next().map_or_else(|| name.to_owned(), |path| quoted(Path::new(&path)))
}

/// Shows `greeting` once everything is ready.
pub(crate) async fn greet(readiness: Readiness, greeting: String) {
    let mut ticks = tokio::time::interval(probes::LOOK_FOR);
    while !readiness.look().await.is_ready() {
        ticks.tick().await;
    }
    // Whoever reads may have left after the first lines; that is no reason to end.
    let _ = writeln!(std::io::stdout(), "{greeting}");
}

/// `path` as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_screen_says_where_everything_is_and_how_to_become_an_admin() {
        let embedded = Deployment::Embedded { data_dir: "/srv/it's".into() };
        let address = "127.0.0.1:8090".parse().expect("an address");
        let shown = greeting("orders", address, &embedded, &FirstToken::Command(command(&embedded, "orders")));
        for expected in [
            "orders listens on http://127.0.0.1:8090 (embedded, data in /srv/it's).",
            "http://127.0.0.1:8090/control",
            r"A token for it: orders token --user admin --role admin --expires-in 1d --data-dir '/srv/it'\''s'",
        ] {
            assert!(shown.lines().any(|line| line.ends_with(expected)), "{shown}");
        }
        let distributed =
            Deployment::Distributed { brokers: "kafka".into(), database_url: "postgres://x:hush@y/z".into() };
        let shown = greeting("orders", address, &distributed, &FirstToken::Token("e.y.J".into()));
        assert!(shown.contains("(on Kafka and PostgreSQL)") && shown.contains(": e.y.J\n"), "{shown}");
        assert_eq!(command(&distributed, "orders"), "orders token --user admin --role admin --expires-in 1d");
    }
}
