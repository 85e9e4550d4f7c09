//! The command that prints a token.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use balcony_http::Role;
use balcony_projector::Application;

use crate::authority::authority_beside;
use crate::settings::Settings;

/// What a token is for.
#[derive(Debug, clap::Args)]
pub struct TokenOptions {
    /// The user's name; the same name is the same user.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// What the user may do: user, moderator or admin.
    #[arg(long, default_value = "user")]
    role: String,
    /// How long it is valid, such as 30d, 12h, 15m or 60s.
    #[arg(long, default_value = "30d", value_name = "DURATION")]
    expires_in: String,
}

impl TokenOptions {
    /// Prints the token, alone on standard output. It works beside a running installation, and makes nothing.
    ///
    /// # Errors
    /// Names the option or the setting that is wrong, or says that the installation was never started.
    pub fn run(&self, application: &Application, settings: &Settings) -> anyhow::Result<()> {
        let role: Role = self.role.parse().with_context(|| format!("--role: {:?}", self.role))?;
        ensure!(!self.user.trim().is_empty(), "--user: is empty");
        let seconds = seconds(&self.expires_in).with_context(|| {
            format!("--expires-in: {:?} is not a duration, such as 30d, 12h, 15m or 60s", self.expires_in)
        })?;
        let token = authority_beside(application, settings)?.issue(self.user.trim(), role, seconds);
        let token = token.context(if settings.jwks_url()?.is_some() { "JWKS_URL" } else { "JWT_SECRET" })?;
        writeln!(std::io::stdout(), "{token}")?;
        Ok(())
    }
}

fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=Duration::from_hours(24 * 3_650).as_secs()).contains(&seconds).then_some(seconds)
}
