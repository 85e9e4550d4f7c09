//! A service of a program: opened, served, ended.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use balcony_http::probes::{self, Check, Readiness};
use balcony_http::rate_limit::Limiter;
use balcony_http::server::{Limits, Server};
use balcony_http::service::{self, Edge};
use balcony_http::{Authority, Consistency, telemetry};
use balcony_projector::operations::Desk;
use balcony_projector::{Application, Decode, Deployment, Installation, Projector, State};
use balcony_statistics::http::StatisticsApi;
use balcony_statistics::{Occurrence, Statistics};
use tokio::sync::watch;
use tokio::task::JoinSet;
use utoipa::openapi::OpenApi;

use crate::authority::{authority, follow};
use crate::ending::told_to_end;
use crate::greeting::{self, FirstToken};
use crate::keys::Keys;
use crate::listeners::{Listeners, Operators};
use crate::settings::Settings;
use crate::surface::{Greeting, Needs, Surface};

/// What the key of consistency tokens is for.
const CONSISTENCY: &str = "consistency token";

/// A service of a program, in an installation that this process is part of.
pub struct Service {
    application: Application,
    deployment: Deployment,
    listeners: Listeners,
    installation: Arc<Installation>,
    keys: Keys,
    consistency: Consistency,
    edge: Edge,
    server: Server,
}

impl Service {
    /// Begins to listen where `settings` say, or at `default` (`127.0.0.1:8090`), and opens the installation to be part of
    /// it. An embedded installation without a secret makes its own, which signs its tokens. Once in a process.
    ///
    /// # Errors
    /// Names the setting that is wrong. An embedded installation that another process holds is refused.
    pub async fn open(application: &Application, settings: &Settings, default: &str) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(settings, default)?;
        let deployment = settings.installation.deployment(application)?;
        let namespace = settings.installation.namespace(application)?;
        let problem_types = format!("urn:{}:problem:", application.name());
        let limiter = Limiter::new(settings.rate_limit()?).behind(settings.trusted_proxies()?);
        let server = Server::new(namespace.as_str(), &problem_types, Limits::of_process()).counted_by(limiter.clone());
        let edge = Edge {
            authority: authority(application, settings)?,
            limiter,
            cors_origins: settings.cors_origins(application)?,
            telemetry: telemetry::install(namespace.as_str())?,
            problem_types: problem_types.into(),
        };
        let installation = Arc::new(Installation::open(application, &settings.installation).await?);
        if let Some(provider) = edge.authority.provider() {
            follow(provider, settings)?;
        }
        let keys = Keys::of(&edge.authority, &installation.database, &deployment).await?;
        let key = keys.key_for(CONSISTENCY);
        let consistency = Consistency::new(installation.identity(), installation.topics.names(), &key);
        let application = application.clone();
        Ok(Self { application, deployment, listeners, installation, keys, consistency, edge, server })
    }

    /// The installation.
    pub fn installation(&self) -> &Arc<Installation> {
        &self.installation
    }

    /// Makes and reads the tokens that say what a client has seen.
    pub fn consistency(&self) -> &Consistency {
        &self.consistency
    }

    /// Shows over HTTP what `statistics`, a projection of the program, counts.
    pub async fn statistics<E: Decode + Occurrence>(&self, statistics: &Statistics<E>) -> StatisticsApi {
        let api = StatisticsApi::open(statistics, &self.installation.database, self.consistency.clone()).await;
        api.bounded_by(self.installation.log.clone())
    }

    /// A key for `purpose`: the same in every process of the installation, and of no use for anything else.
    pub fn key_for(&self, purpose: &str) -> [u8; 32] {
        self.keys.key_for(purpose)
    }

    /// Makes and checks the tokens that say who a client is.
    pub fn authority(&self) -> &Authority {
        &self.edge.authority
    }

    /// Where it listens for everybody.
    pub fn address(&self) -> SocketAddr {
        self.listeners.address
    }

    /// Where the log and the read models are, in words.
    pub fn place(&self) -> String {
        greeting::place(&self.deployment)
    }

    /// How whoever started the program becomes an admin. A command calls the program `program`.
    ///
    /// # Errors
    /// Whatever keeps the library from signing.
    pub fn first_token(&self, program: &str) -> anyhow::Result<FirstToken> {
        FirstToken::of(&self.edge.authority, &self.deployment, program)
    }

    /// Whether the log is there.
    pub fn log_check(&self) -> Check {
        let log = self.installation.log.clone();
        // Any topic tells.
        let topics: Vec<Arc<str>> = self.installation.topics.names().into_iter().take(1).collect();
        Check::new(if self.is_embedded() { "log" } else { "Kafka" }, move || {
            let (log, topics) = (log.clone(), topics.clone());
            async move { log.ends(&topics).await.map(drop).map_err(|error| error.to_string()) }
        })
    }

    /// Whether the database is there, where it may be away by itself.
    pub fn database_check(&self) -> Option<Check> {
        let database = self.installation.database.clone();
        let check = Check::new("PostgreSQL", move || {
            let database = database.clone();
            async move { database.ping().await.map_err(|error| error.to_string()) }
        });
        (!self.is_embedded()).then_some(check)
    }

    /// Whether the identity provider's keys are there, where there is one.
    fn provider_check(&self) -> Option<Check> {
        let provider = self.edge.authority.provider()?.clone();
        Some(Check::new("identity provider", move || {
            let checked = provider.check();
            async { checked }
        }))
    }

    fn is_embedded(&self) -> bool {
        matches!(self.deployment, Deployment::Embedded { .. })
    }

    /// Serves `surface` until the process is told to end (SIGTERM, SIGINT); then takes no more requests, lets those under
    /// way end, and stops `projector`, which some of those requests may have waited for.
    ///
    /// # Errors
    /// What the system says, or what failed of the [work](Surface::working) beside it.
    pub async fn serve(self, surface: Surface, projector: impl Into<Option<Projector>>) -> anyhow::Result<()> {
        let told_to_end = told_to_end()?;
        self.serve_until(told_to_end, surface, projector.into()).await
    }

    async fn serve_until(
        self,
        told_to_end: impl Future<Output = ()> + Send + 'static,
        surface: Surface,
        projector: Option<Projector>,
    ) -> anyhow::Result<()> {
        let readiness = Readiness::new(self.checks(&surface, projector.as_ref()));
        if let Some(greeting) = self.greeting(&surface)? {
            tokio::spawn(greeting::greet(readiness.clone(), greeting));
        }
        let Surface { routes, mut openapi, searches, before_ending, work, .. } = surface;
        if openapi.info.title.is_empty() {
            openapi.info.title = self.application.name().to_owned();
        }
        let (desk, desk_openapi, looking) =
            balcony_console::routes(Desk::new(&self.application, self.installation.clone()));
        openapi.merge(desk_openapi);
        let edge = Edge { limiter: self.edge.limiter.clone().searched_at(searches), ..self.edge };
        let (stop, stopped) = watch::channel(false);
        tracing::info!(address = %self.listeners.address, "listening");

        let everybody = probes::public(&readiness);
        let states = projector.as_ref().map(states).unwrap_or_default();
        let operators = probes::operators(&readiness, edge.telemetry.clone()).merge(states);
        let (probes, apart) = match self.listeners.operators {
            Operators::Apart(listener) => {
                let address = listener.local_addr()?;
                tracing::info!(%address, "listening for operators");
                let router = service::service(Router::new(), OpenApi::default(), operators, &edge);
                let (server, stopped) = (self.server.clone(), stopped.clone());
                (everybody, Some(tokio::spawn(async move { server.serve(listener, router, told(stopped)).await })))
            }
            Operators::WithEverybody => (operators, None),
            Operators::Nowhere => (everybody, None),
        };
        let router = service::service(routes.merge(desk), openapi, probes, &edge);
        let mut work: JoinSet<_> = work.into_iter().collect();
        work.spawn(async move { match looking.await {} });
        let ending = tokio::spawn(async move {
            let failed = tokio::select! {
                () = told_to_end => None,
                failed = failure(&mut work) => Some(failed),
            };
            if let Some(close) = before_ending {
                close();
            }
            stop.send_replace(true);
            work.shutdown().await;
            failed
        });
        self.server.serve(self.listeners.everybody, router, told(stopped)).await;
        if let Some(projector) = projector {
            projector.stop().await;
        }
        if let Some(apart) = apart {
            apart.await?;
        }
        let failed = ending.await?;
        tracing::info!("ended");
        failed.map_or(Ok(()), Err)
    }

    /// What has to be there.
    fn checks(&self, surface: &Surface, projector: Option<&Projector>) -> Vec<Check> {
        let own = surface.checks.iter().cloned().chain(self.provider_check());
        match surface.needs {
            Needs::Everything => {
                let steps = projector.map(steps_check);
                [self.log_check()].into_iter().chain(steps).chain(self.database_check()).chain(own).collect()
            }
            Needs::Nothing => own.collect(),
        }
    }

    fn greeting(&self, surface: &Surface) -> anyhow::Result<Option<String>> {
        Ok(match &surface.greeting {
            Greeting::OfEveryProgram => {
                let name = self.application.name();
                let token = self.first_token(&greeting::this_program(name))?;
                Some(greeting::greeting(name, self.address(), &self.deployment, &token))
            }
            Greeting::Own(greeting) => Some(greeting.clone()),
            Greeting::Nothing => None,
        })
    }
}

/// What each step of this process is doing, for operators.
fn states(projector: &Projector) -> Router {
    let observe = Arc::new(projector.observe());
    let answer = move || {
        let states = observe();
        async { Json(states) }
    };
    Router::new().route("/projections", get(answer))
}

/// Whether every step of `projector` has its share of the partitions, which may be none.
pub fn steps_check(projector: &Projector) -> Check {
    let observe = Arc::new(projector.observe());
    Check::new("projections", move || {
        let missing: Vec<String> = observe()
            .into_iter()
            .filter(|projection| matches!(projection.state, State::Starting | State::Failed | State::Stopped))
            .map(|projection| format!("{} is {:?}", projection.name, projection.state).to_lowercase())
            .collect();
        async move { if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) } }
    })
}

/// Comes once some of the work has failed.
async fn failure(work: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Error {
    while let Some(ended) = work.join_next().await {
        if let Err(error) = ended.map_err(anyhow::Error::from).flatten() {
            return error;
        }
    }
    std::future::pending().await
}

/// Comes once it is time to stop.
async fn told(mut stopped: watch::Receiver<bool>) {
    // Whoever would say so does not end before.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use balcony_http::Role;
    use reqwest::{Client, StatusCode};
    use serde_json::Value;
    use tokio::sync::oneshot;

    use super::*;
    use crate::settings::tests::{program, settings};

    async fn ask(url: &str, token: Option<&str>) -> (StatusCode, String) {
        let request = Client::new().get(url);
        let response =
            token.into_iter().fold(request, |request, token| request.bearer_auth(token)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    // A process has one service, and this one test of it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_program_of_a_few_lines_has_what_every_service_has_and_ends_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data").display().to_string();
        let orders = program("orders");
        let settings = settings(&["--data-dir", &data_dir]);
        let service = Service::open(&orders, &settings, "127.0.0.1:0").await.unwrap();
        let projector = service.installation().start().unwrap();
        let token = service.authority().issue("Mia", Role::Admin, 60).unwrap();
        let (command, url) = (service.first_token("orders").unwrap(), format!("http://{}", service.address()));

        let missing = Arc::new(AtomicBool::new(true));
        let own = Check::new("oven", {
            let missing = missing.clone();
            move || {
                let missing = missing.load(Ordering::Relaxed);
                async move { if missing { Err("cold".to_owned()) } else { Ok(()) } }
            }
        });
        let (closed, is_closed) = oneshot::channel();
        let surface = Surface::new(Router::new().route("/", get(async || "the page")), OpenApi::default())
            .ready_with([own])
            .without_greeting()
            .before_ending(move || closed.send(()).unwrap());
        let (end, told_to_end) = oneshot::channel::<()>();
        let told_to_end = async move { told_to_end.await.unwrap() };
        let served = tokio::spawn(service.serve_until(told_to_end, surface, Some(projector)));

        let at = |path: &str| format!("{url}{path}");
        assert_eq!(ask(&url, None).await, (StatusCode::OK, "the page".to_owned()));
        let (status, unready) = ask(&at("/readyz"), None).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let unready: Value = serde_json::from_str(&unready).unwrap();
        let parts: Vec<_> = unready["parts"].as_array().unwrap().iter().map(|part| &part["name"]).collect();
        assert_eq!(parts, ["log", "projections", "oven"]);
        assert_eq!(unready["parts"][2]["missing"], "cold");
        missing.store(false, Ordering::Relaxed);
        while ask(&at("/readyz"), None).await.0 != StatusCode::OK {}

        let openapi: Value = serde_json::from_str(&ask(&at("/openapi.json"), None).await.1).unwrap();
        assert_eq!(openapi["info"]["title"], "orders");
        for path in ["/livez", "/metrics", "/projections", "/docs", "/control"] {
            assert_eq!(ask(&at(path), None).await.0, StatusCode::OK, "{path}");
        }
        assert_eq!(ask(&at("/v1/admin/steps"), None).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&at("/v1/admin/steps"), Some(&token)).await.0, StatusCode::OK);
        // Standard output is no terminal in a test, or it is one and there is a token.
        match command {
            FirstToken::Command(command) => assert!(command.ends_with(&format!("--data-dir '{data_dir}'"))),
            FirstToken::Provided => panic!("there is no provider"),
            FirstToken::Token(token) => assert_eq!(ask(&at("/v1/admin/steps"), Some(&token)).await.0, StatusCode::OK),
        }

        end.send(()).unwrap();
        is_closed.await.unwrap();
        served.await.unwrap().unwrap();
        assert!(Client::new().get(&url).send().await.is_err());
        // The folder is free again.
        assert!(Installation::open(&orders, &settings.installation).await.is_ok());
    }
}
