//! Balcony's settings: those of every service, and its own.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::http::Uri;
use balcony_projector::settings::{not_empty, secret};
use balcony_projector::{Application, Deployment};
use balcony_read_models::{Leaving, Letterhead, PostOffice};
use balcony_service::key_for;
use balcony_service::settings::is_url;
use clap::Arg;

use crate::application::balcony;

/// The settings as they were given. Each is checked when it is asked for, so that the error names it.
#[derive(clap::Args)]
#[command(mut_args(as_shown))]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) service: balcony_service::Settings,

    /// What these are the settings of.
    #[arg(skip = balcony(None))]
    pub(crate) application: Application,

    /// The server that takes mail to companies: smtp://NAME:PASSWORD@HOST:PORT, with ?tls=required for STARTTLS, or
    /// smtps://. Without it no mail is sent.
    #[arg(long, env = "SMTP_URL", global = true, hide_env_values = true, value_name = "URL")]
    smtp_url: Option<String>,

    /// A file that has SMTP_URL.
    #[arg(long, env = "SMTP_URL_FILE", global = true, value_name = "FILE")]
    smtp_url_file: Option<String>,

    /// Where clients find the command API, when that is not the query API's own origin.
    #[arg(long, env = "COMMAND_API_URL", global = true, value_name = "URL")]
    command_api_url: Option<String>,

    /// Where clients find the query API, when that is not the command API's own origin.
    #[arg(long, env = "QUERY_API_URL", global = true, value_name = "URL")]
    query_api_url: Option<String>,

    /// Where people find Balcony, for links that leave it.
    #[arg(long, env = "PUBLIC_URL", global = true, value_name = "URL")]
    public_url: Option<String>,

    /// How much memory answers may have that are given again while they are true, in MiB; 0 for none.
    #[arg(long, env = "HOT_PAGES", global = true, value_name = "MIB", default_value_t = 64)]
    hot_pages: u16,
}

/// What the key is for that the links are signed with by which companies get no more mail.
pub(crate) const LEAVING: &str = "leaving";
/// What `--help` says of LISTEN.
const LISTEN: &str = "Where to listen: 127.0.0.1:8080, or port 8081, 8082, 8083 for command-api, query-api, projector";
/// The settings that `--help` shows last, in this order, whichever of them are every service's.
const SHOWN_LAST: [&str; 9] = [
    "smtp_url",
    "smtp_url_file",
    "cors_origins",
    "rust_log",
    "command_api_url",
    "query_api_url",
    "public_url",
    "hot_pages",
    "admin_listen",
];
/// Behind all others.
const LAST: usize = 100;

/// `argument` as `--help` shows it.
fn as_shown(argument: Arg) -> Arg {
    if argument.get_id() == "listen" {
        return argument.help(LISTEN);
    }
    match SHOWN_LAST.iter().position(|id| argument.get_id() == id) {
        Some(place) => argument.display_order(LAST + place),
        None => argument,
    }
}

impl Settings {
    /// Has companies mailed, if there is a server to send through.
    pub(crate) fn open_post_office(&mut self) -> anyhow::Result<()> {
        let Some(url) = self.smtp_url()? else { return Ok(()) };
        let parsed: Option<Uri> = self.public_url()?.unwrap_or(&url).parse().ok();
        let host = parsed.as_ref().and_then(Uri::host).unwrap_or_default();
        let head =
            Letterhead::new(host, self.public_url()?.map(str::to_owned), self.command_api_url()?.map(str::to_owned));
        let (application, service) = (self.application.clone(), self.service.clone());
        let leaving = move |database| {
            let (application, service) = (application.clone(), service.clone());
            async move {
                let key = key_for(&application, &service, &database, LEAVING).await;
                key.map(|key| Leaving::new(&key)).map_err(|error| format!("{error:#}"))
            }
        };
        let office = PostOffice::new(&url, head, leaving).context("SMTP_URL: is wrong")?;
        self.application = balcony(Some(Arc::new(office)));
        Ok(())
    }

    /// Checks the form of every setting of Balcony's own, whether it is used by this process or not.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.command_api_url()?;
        self.query_api_url()?;
        self.public_url()?;
        self.smtp_url()?;
        Ok(())
    }

    pub(crate) fn deployment(&self) -> anyhow::Result<Deployment> {
        self.service.installation.deployment(&self.application)
    }

    /// The server that takes mail, if there is one.
    pub(crate) fn smtp_url(&self) -> anyhow::Result<Option<String>> {
        let url = secret("SMTP_URL", self.smtp_url.as_deref(), self.smtp_url_file.as_deref())?;
        // Its password is not to be seen, so neither is the rest of it.
        let legal = url.as_deref().is_none_or(|url| is_url(url, &["smtp", "smtps"]));
        ensure!(legal, "SMTP_URL: is not a URL, such as smtp://user:password@mail.example:587");
        Ok(url)
    }

    pub(crate) fn command_api_url(&self) -> anyhow::Result<Option<&str>> {
        base_url("COMMAND_API_URL", self.command_api_url.as_deref())
    }

    pub(crate) fn query_api_url(&self) -> anyhow::Result<Option<&str>> {
        base_url("QUERY_API_URL", self.query_api_url.as_deref())
    }

    /// How many bytes of pages a node that answers queries keeps in memory.
    pub(crate) fn hot_bytes(&self) -> usize {
        usize::from(self.hot_pages) << 20
    }

    pub(crate) fn public_url(&self) -> anyhow::Result<Option<&str>> {
        base_url("PUBLIC_URL", self.public_url.as_deref())
    }
}

/// A URL that paths are put behind, without a slash at its end.
fn base_url<'a>(name: &'static str, given: Option<&'a str>) -> anyhow::Result<Option<&'a str>> {
    let Some(url) = not_empty(name, given)? else { return Ok(None) };
    let legal = is_url(url, &["http", "https"]) && !url.contains(['?', '#', '@']);
    ensure!(legal, "{name}: {url:?} is not a URL, such as https://balcony.example");
    Ok(Some(url.trim_end_matches('/')))
}
