//! Another program for comments, asked for the same beside Balcony.

use std::sync::Arc;

use anyhow::Context as _;

use crate::consumption::Consumers;
use crate::events;
use crate::exchange::request;
use crate::load::{self, Requests};
use crate::options::Peer;
use crate::process::Process;
use crate::questions::PAGE;
use crate::scratch::{Scratch, text};

/// A peer that runs, with comments in it.
pub(crate) struct Running {
    process: Process,
    /// The request for a page of comments.
    pub(crate) list: Arc<[u8]>,
    /// The request that posts another comment.
    pub(crate) post: Arc<[u8]>,
}

/// Comments on the page that is asked for.
const COMMENTS: usize = 100;

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Isso => "Isso",
        }
    }

    /// Starts it, and posts comments.
    pub(crate) async fn start(self, scratch: &Scratch) -> anyhow::Result<Running> {
        let running = match self {
            Self::Isso => isso(scratch).await.context("Isso (is it installed? pip install isso)")?,
        };
        let posts: Requests = std::iter::repeat_n(running.post.clone(), COMMENTS).collect();
        load::each_once(running.address(), &posts, 201).await.context("a peer's comments")?;
        Ok(running)
    }
}

impl Running {
    pub(crate) fn address(&self) -> &str {
        &self.process.address
    }

    pub(crate) fn consumers(&self) -> Consumers {
        Consumers::default().and("peer", self.process.pid())
    }
}

async fn isso(scratch: &Scratch) -> anyhow::Result<Running> {
    let folder = scratch.path("isso");
    std::fs::create_dir_all(&folder)?;
    let (config, database) = (folder.join("isso.cfg"), folder.join("comments.db"));
    let (config, database) = (text(&config)?, text(&database)?);
    let process = scratch
        .peer("isso", &["-c", config, "run"], "/?uri=/", |address| {
            let settings = format!(
                "[general]\ndbpath = {database}\nhost = http://{address}/\n[server]\nlisten = http://{address}\n\
                 [guard]\nenabled = false\n"
            );
            Ok(std::fs::write(config, settings)?)
        })
        .await?;
    let body = format!(r#"{{"text":"{}","author":"mia","title":"Seven Samurai"}}"#, events::body());
    Ok(Running {
        process,
        list: request("GET", &format!("/?uri=/movie&limit={PAGE}"), "", "").into(),
        post: request("POST", "/new?uri=/movie", "", &body).into(),
    })
}
