//! An installation of Balcony with people and a movie in it.

use std::sync::Arc;

use anyhow::Context as _;
use balcony_domain::DERIVED;
use balcony_http::{Authority, Expected, Role, Subjects};

use crate::consumption::Consumers;
use crate::events;
use crate::exchange::{Connection, bearer, request};
use crate::load::{self, Requests};
use crate::process::{Deployment, Process, Settings};
use crate::questions;
use crate::scratch::Scratch;
use uuid::Uuid;

/// Processes on one log and one database.
pub(crate) struct Installation {
    pub(crate) settings: Settings,
    /// By name: `balcony`, or `projector`, `command-api`, `query-api`.
    processes: Vec<(&'static str, Process)>,
    authority: Authority,
}

/// What can be read.
pub(crate) struct Library {
    pub(crate) movie: Uuid,
    author: Uuid,
    comment: String,
    /// The token of a reader with a hundred favourites, as a header.
    some: String,
    /// That of one with a thousand.
    many: String,
    /// The request that posts another comment, by person.
    pub(crate) posts: Requests,
}

/// A movie that is watched.
#[derive(Clone)]
pub(crate) struct Watched {
    /// The request that posts another comment about it.
    pub(crate) post: Arc<[u8]>,
    /// The request that opens a stream of it.
    pub(crate) watch: Arc<[u8]>,
}

const SECRET: &str = "a secret for benchmarks, of 32 bytes or more";
const AN_HOUR: u64 = 3_600;
/// How many movies are viewed at the most.
const VIEWED: u16 = 100;
/// How many movies readers find.
const SHOWN: usize = 20;

impl Library {
    /// What is asked for, by name.
    pub(crate) fn questions(&self) -> Vec<(&'static str, Arc<[u8]>)> {
        let Self { movie, author, comment, some, many, .. } = self;
        vec![
            (questions::MOVIE, questions::list(&format!("/v1/movies/{movie}/comments"), "")),
            ("the front page", questions::list("/v1/comments", "")),
            ("an author's comments", questions::list(&format!("/v1/users/{author}/comments"), "")),
            ("a timeline of 100 favourites", questions::list("/v1/me/timeline", some)),
            ("a timeline of 1,000 favourites", questions::list("/v1/me/timeline", many)),
            ("one comment", request("GET", &format!("/v1/comments/{comment}"), "", "").into()),
            ("a search", request("GET", "/v1/search?q=battle&limit=20", "", "").into()),
        ]
    }
}

impl Installation {
    /// A new one: everything in one process, or the services called `parts`.
    pub(crate) async fn start(
        scratch: &Scratch,
        deployment: Deployment,
        name: &str,
        parts: &[&'static str],
    ) -> anyhow::Result<Self> {
        let mut settings = vec![("JWT_SECRET", SECRET.to_owned()), ("RATE_LIMIT", "off".to_owned())];
        match deployment {
            Deployment::Embedded => {
                let data_dir = scratch.path(name);
                settings.push(("DATA_DIR", data_dir.display().to_string()));
            }
            Deployment::Distributed => settings.extend([
                ("KAFKA_BOOTSTRAP_SERVERS", scratch.brokers()?.to_owned()),
                ("DATABASE_URL", scratch.create_database(name).await?),
                ("KAFKA_TOPIC_PREFIX", scratch.prefix(name)),
            ]),
        }
        let authority =
            Authority::new(SECRET.as_bytes(), "balcony", Subjects::derived_in(DERIVED), Expected::default());
        let mut installation = Self { settings, processes: Vec::new(), authority };
        match deployment {
            Deployment::Embedded => {
                let process = scratch.balcony(&[], &installation.settings).await?;
                installation.processes.push(("balcony", process));
            }
            Deployment::Distributed => {
                for part in parts {
                    let process = scratch.balcony(&[part], &installation.settings).await?;
                    installation.processes.push((part, process));
                }
            }
        }
        Ok(installation)
    }

    /// Where commands are taken.
    pub(crate) fn commands(&self) -> anyhow::Result<&str> {
        self.address("command-api")
    }

    /// Where queries are answered.
    pub(crate) fn queries(&self) -> anyhow::Result<&str> {
        self.address("query-api")
    }

    fn address(&self, name: &str) -> anyhow::Result<&str> {
        Ok(&self.process(name)?.address)
    }

    /// The process that answers queries.
    pub(crate) fn query_process(&self) -> anyhow::Result<u32> {
        Ok(self.process("query-api")?.pid())
    }

    fn process(&self, name: &str) -> anyhow::Result<&Process> {
        let found = self.processes.iter().find(|(part, _)| *part == name || *part == "balcony");
        Ok(&found.with_context(|| format!("{name} is not running"))?.1)
    }

    /// Ends one of the processes.
    pub(crate) async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let index = self.processes.iter().position(|(part, _)| *part == name);
        self.processes.remove(index.with_context(|| format!("{name} is not running"))?).1.stop().await
    }

    /// The processes and the services they use.
    pub(crate) fn consumers(&self, scratch: &Scratch) -> Consumers {
        self.processes
            .iter()
            .fold(self.services(scratch), |consumers, (part, process)| consumers.and(part, process.pid()))
    }

    /// The services that the processes use.
    pub(crate) fn services(&self, scratch: &Scratch) -> Consumers {
        match self.setting("DATABASE_URL") {
            Some(_) => scratch.services(),
            None => Consumers::default(),
        }
    }

    /// What the processes are started with.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Starts everything in one process again.
    pub(crate) async fn resume(&mut self, scratch: &Scratch) -> anyhow::Result<()> {
        self.processes.push(("balcony", scratch.balcony(&[], &self.settings).await?));
        Ok(())
    }

    /// People who post about movies, and a reader who has a hundred of them among the favourites, and one who has a
    /// thousand.
    pub(crate) async fn settle_readers(&self, quick: bool) -> anyhow::Result<Library> {
        let (people, comments) = if quick { (1_000, 2) } else { (1_000, 20) };
        let address = self.commands()?;
        let admin = bearer(&self.authority.issue("admin", Role::Admin, AN_HOUR)?);
        let mut connection = Connection::open(address).await?;
        let film = request("POST", "/v1/movies", &admin, r#"{"title":"Seven Samurai"}"#);
        let mut movies = Vec::new();
        for _ in 0..SHOWN {
            movies.push(connection.exchange(&film).await?.expect(201)?.field("id")?);
        }
        let body = format!("{{\"body\":\"{}\"}}", events::body());
        let user = |number: usize| format!("person-{number}");
        let mut posts = Requests::new();
        for number in 0..people {
            let token = bearer(&self.authority.issue(&user(number), Role::User, AN_HOUR)?);
            let path = format!("/v1/movies/{}/comments", movies[number % SHOWN]);
            posts.push(request("POST", &path, &token, &body).into());
        }
        for _ in 0..comments {
            load::each_once(address, &posts, 201).await.context("the people's comments")?;
        }
        let reader = |name: &str| Ok::<_, anyhow::Error>(bearer(&self.authority.issue(name, Role::User, AN_HOUR)?));
        let (some, many) = (reader("reads-a-hundred")?, reader("reads-a-thousand")?);
        let id = |number: usize| Subjects::derived_in(DERIVED).user("balcony", &user(number));
        let favorite =
            |token: &str, number| request("PUT", &format!("/v1/me/favorites/{}", id(number)), token, "").into();
        let favorites: Requests = (0..100).map(|number| favorite(&some, number)).collect();
        load::each_once(address, &favorites, 204).await.context("a hundred favourites")?;
        let favorites: Requests = (0..people).map(|number| favorite(&many, number)).collect();
        load::each_once(address, &favorites, 204).await.context("a thousand favourites")?;
        let last = connection.exchange(&posts[0]).await?;
        last.expect(201)?;
        let token = last.header("consistency-token").unwrap_or_default();
        let (comment, seen) = (last.field("id")?, format!("Consistency-Token: {token}\r\n"));
        let shown = request("GET", &format!("/v1/comments/{comment}?wait=10s"), &seen, "");
        Connection::open(self.queries()?).await?.exchange(&shown).await?.expect(200)?;
        let movie = movies[0].parse()?;
        Ok(Library { movie, author: id(0), comment, some, many, posts })
    }

    /// Registers movies, and gives for each of so many clients the request that notes a view of one of them. Every movie is
    /// known where commands are taken when this returns.
    pub(crate) async fn settle_viewers(&self, clients: u16) -> anyhow::Result<Requests> {
        let address = self.commands()?;
        let admin = bearer(&self.authority.issue("admin", Role::Admin, AN_HOUR)?);
        let mut connection = Connection::open(address).await?;
        let film = request("POST", "/v1/movies", &admin, r#"{"title":"Seven Samurai"}"#);
        let mut views = Requests::new();
        for _ in 0..clients.min(VIEWED) {
            let movie = connection.exchange(&film).await?.expect(201)?.field("id")?;
            let view = request("POST", &format!("/v1/movies/{movie}/views"), "", "");
            connection.exchange(&view).await?.expect(202)?;
            views.push(Arc::from(view));
        }
        Ok(views.iter().cycle().take(usize::from(clients)).cloned().collect())
    }

    /// Registers so many movies, each with somebody who has posted about it, and gives them with one of the comments in
    /// JSON.
    pub(crate) async fn settle_watched(&self, movies: u16) -> anyhow::Result<(Vec<Watched>, Vec<u8>)> {
        let address = self.commands()?;
        let admin = bearer(&self.authority.issue("admin", Role::Admin, AN_HOUR)?);
        let mut connection = Connection::open(address).await?;
        let film = request("POST", "/v1/movies", &admin, r#"{"title":"Seven Samurai"}"#);
        let body = format!("{{\"body\":\"{}\"}}", events::body());
        let mut watched = Vec::new();
        let mut comment = Vec::new();
        for number in 0..movies {
            let movie = connection.exchange(&film).await?.expect(201)?.field("id")?;
            let token = bearer(&self.authority.issue(&format!("person-{number}"), Role::User, AN_HOUR)?);
            let post: Arc<[u8]> = request("POST", &format!("/v1/movies/{movie}/comments"), &token, &body).into();
            let posted = connection.exchange(&post).await?;
            let id = posted.expect(201)?.field("id")?;
            let seen = posted.header("consistency-token").unwrap_or_default().to_owned();
            let shown = format!("Consistency-Token: {seen}\r\n");
            let shown = request("GET", &format!("/v1/comments/{id}?wait=10s"), &shown, "");
            comment = Connection::open(self.queries()?).await?.exchange(&shown).await?.expect(200)?.body.to_vec();
            watched.push(Watched { post, watch: questions::stream_of(&movie, &seen) });
        }
        Ok((watched, comment))
    }

    /// Registers a movie and so many people, and gives for each of them the request that posts a comment. Everything
    /// is in the registry when this returns.
    pub(crate) async fn settle(&self, people: u16) -> anyhow::Result<Requests> {
        let address = self.commands()?;
        let admin = bearer(&self.authority.issue("admin", Role::Admin, AN_HOUR)?);
        let mut connection = Connection::open(address).await?;
        let film = request("POST", "/v1/movies", &admin, r#"{"title":"Seven Samurai"}"#);
        let movie = connection.exchange(&film).await?.expect(201)?.field("id")?;

        let path = format!("/v1/movies/{movie}/comments");
        let body = format!("{{\"body\":\"{}\"}}", events::body());
        let mut posts = Requests::new();
        let mut first_posts = Requests::new();
        for person in 0..people {
            let token = bearer(&self.authority.issue(&format!("person-{person}"), Role::User, AN_HOUR)?);
            posts.push(Arc::from(request("POST", &path, &token, &body)));
            // A command with a key is answered once the registry has read it.
            let headers = format!("{token}Idempotency-Key: first\r\n");
            first_posts.push(Arc::from(request("POST", &path, &headers, &body)));
        }
        load::each_once(address, &first_posts, 201).await.context("the people's first comments")?;
        Ok(posts)
    }
}
