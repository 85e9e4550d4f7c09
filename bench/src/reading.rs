//! Pages read a second: hot, cold, and mixed with posts; against a handler that gives the same bytes from memory, the
//! bare query on the same database, and another program.

mod bare_query;
mod peer;

use std::sync::Arc;

use anyhow::Context as _;

use self::bare_query::BareQuery;
use self::peer::Running;
use crate::bench::Bench;
use crate::consumption::{Consumers, microseconds_each};
use crate::exchange::Connection;
use crate::installation::{Installation, Library};
use crate::load::{self, Requests};
use crate::process::{Deployment, Process};
use crate::questions::MOVIE;
use crate::report::{Line, Report, Section};
use crate::scratch::text;

/// How many clients ask at once.
const CLIENTS: [usize; 2] = [1, 16];
/// Of so many requests of the mixed load one is a post.
const POSTS_ONE_IN: usize = 10;

/// Where questions are asked.
struct Candidate {
    what: String,
    address: String,
    question: Arc<[u8]>,
    consumers: Consumers,
}

pub(crate) async fn run(bench: Bench<'_>, deployment: Deployment, report: &mut Report) -> anyhow::Result<()> {
    let Bench { options, scratch, progress } = bench;
    let name = deployment.title();
    progress.step(format!("reading, {name}: people post"));
    let parts = ["projector", "command-api", "query-api"];
    let mut hot = Installation::start(scratch, deployment, "reading", &parts).await?;
    let library = hot.settle_readers(options.quick).await?;
    let cold = match deployment {
        Deployment::Embedded => {
            hot.stop("balcony").await?;
            copy(&scratch.path("reading"), &scratch.path("reading-cold"))?;
            hot.resume(scratch).await?;
            vec![("DATA_DIR", scratch.path("reading-cold").display().to_string())]
        }
        Deployment::Distributed => Vec::new(),
    };
    let part: &[&str] = match deployment {
        Deployment::Embedded => &[],
        Deployment::Distributed => &["query-api"],
    };
    let settings = hot.settings.iter().cloned().chain(cold).chain([("HOT_PAGES", "0".to_owned())]).collect();
    let cold = scratch.balcony(part, &settings).await?;
    let bare_query = BareQuery::open(deployment, scratch, &hot).await?;
    let peer = match options.peer {
        Some(peer) => Some((peer.name(), peer.start(scratch).await?)),
        None => None,
    };
    let peer = peer.as_ref().map(|(name, running)| (*name, running));

    for (page, question) in library.questions() {
        let is_movie = page == MOVIE;
        let answers = Answers { question, library: &library, hot: &hot, cold: &cold, peer: peer.filter(|_| is_movie) };
        let with_bare_query = is_movie.then_some(&bare_query);
        for clients in CLIENTS {
            let title = format!("reading, {name}, {page}, {clients} clients");
            report.add(answers.measure(title, clients, with_bare_query, bench).await?);
        }
    }
    let title = format!("reading, {name}, 90 % lists of a movie, 10 % posts, 16 clients");
    report.add(mixed(title, &hot, &library, peer, bench).await?);
    Ok(())
}

/// One page, in all the ways in which it is answered.
struct Answers<'a> {
    question: Arc<[u8]>,
    library: &'a Library,
    hot: &'a Installation,
    cold: &'a Process,
    peer: Option<(&'static str, &'a Running)>,
}

impl Answers<'_> {
    async fn measure(
        &self,
        title: String,
        clients: usize,
        bare_query: Option<&BareQuery>,
        Bench { options, scratch, progress }: Bench<'_>,
    ) -> anyhow::Result<Section> {
        let mut connection = Connection::open(self.hot.queries()?).await?;
        let body = connection.exchange(&self.question).await?.expect(200)?.body.to_vec();
        drop(connection);
        let file = scratch.path("answer");
        std::fs::write(&file, &body)?;
        let bare = scratch.bare(&["answer", text(&file)?], &Vec::new()).await?;
        let mut candidates = vec![
            Candidate {
                what: "axum answering the same bytes from memory".to_owned(),
                address: bare.address.clone(),
                question: self.question.clone(),
                consumers: Consumers::default().and("server", bare.pid()),
            },
            Candidate {
                what: "balcony, hot".to_owned(),
                address: self.hot.queries()?.to_owned(),
                question: self.question.clone(),
                consumers: self.hot.consumers(scratch),
            },
            Candidate {
                what: "balcony, cold".to_owned(),
                address: self.cold.address.clone(),
                question: self.question.clone(),
                consumers: self.hot.services(scratch).and("query-api", self.cold.pid()),
            },
        ];
        candidates.extend(self.peer.map(|(name, peer)| Candidate {
            what: name.to_owned(),
            address: peer.address().to_owned(),
            question: peer.list.clone(),
            consumers: peer.consumers(),
        }));
        let mut section = Section::new(title, "answers/s");
        section.lines = candidates.iter().map(|candidate| Line::new(&*candidate.what)).collect();
        if bare_query.is_some() {
            section.lines.push(Line::new("the query alone"));
        }
        // The first round warms up.
        for round in 0..=options.rounds {
            for (candidate, line) in candidates.iter().zip(&mut section.lines) {
                progress.step(format!("{}: round {round} of {}: {}", section.title, options.rounds, candidate.what));
                let requests: Requests = std::iter::repeat_n(candidate.question.clone(), clients).collect();
                let before = candidate.consumers.seconds();
                let read = load::closed_loop(&candidate.address, &requests, 200, options.short_round()).await?;
                if round > 0 {
                    let answers = read.latencies.len() as u64;
                    read.note(line);
                    line.processor(microseconds_each(&before, &candidate.consumers.seconds(), answers));
                }
            }
            if let (Some(bare_query), Some(line)) = (bare_query, section.lines.get_mut(candidates.len())) {
                progress.step(format!("{}: round {round} of {}: the query alone", section.title, options.rounds));
                let read = bare_query.load(&self.library.movie, clients, options.short_round()).await?;
                if round > 0 {
                    read.note(line);
                }
            }
        }
        section.compare(1, 0);
        section.compare(2, 0);
        if bare_query.is_some() {
            section.compare(2, candidates.len());
        }
        if self.peer.is_some() {
            section.compare(1, 3);
        }
        Ok(section)
    }
}

async fn mixed(
    title: String,
    hot: &Installation,
    library: &Library,
    peer: Option<(&'static str, &Running)>,
    Bench { options, scratch, progress }: Bench<'_>,
) -> anyhow::Result<Section> {
    let (commands, queries) = (hot.commands()?, hot.queries()?);
    let (_, list) = library.questions().into_iter().find(|(page, _)| *page == MOVIE).context("a movie's page")?;
    let mut section = Section::new(title, "requests/s");
    let posts = library.posts[..CLIENTS[1]].to_vec();
    let mut candidates = vec![("balcony", (queries, list), (commands, posts), hot.consumers(scratch))];
    candidates.extend(peer.map(|(name, peer)| {
        let posts: Requests = std::iter::repeat_n(peer.post.clone(), CLIENTS[1]).collect();
        (name, (peer.address(), peer.list.clone()), (peer.address(), posts), peer.consumers())
    }));
    section.lines = candidates.iter().map(|(name, ..)| Line::new(*name)).collect();
    for round in 0..=options.rounds {
        for ((name, (queries, list), (commands, posts), consumers), line) in candidates.iter().zip(&mut section.lines) {
            progress.step(format!("{}: round {round} of {}: {name}", section.title, options.rounds));
            let before = consumers.seconds();
            let mix = load::mixed_loop((queries, list), (commands, posts), POSTS_ONE_IN, options.short_round()).await?;
            consumers.rest().await?;
            if round > 0 {
                let requests = mix.latencies.len() as u64;
                mix.note(line);
                line.processor(microseconds_each(&before, &consumers.seconds(), requests));
            }
        }
    }
    if section.lines.len() > 1 {
        section.compare(0, 1);
    }
    Ok(section)
}

/// Copies a folder whose process has ended.
fn copy(from: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
