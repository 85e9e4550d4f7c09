//! Runs the services, together or one by one.

use std::io::{IsTerminal as _, Write as _};
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::routing::get;
use axum::{Json, Router};
use balcony_command_api::CommandApi;
use balcony_domain::Topics;
use balcony_http::probes::{self, Check, Readiness};
use balcony_http::rate_limit::Limiter;
use balcony_http::server::{self, Limits, Server};
use balcony_http::service::{self, Edge};
use balcony_http::{Consistency, Role, telemetry};
use balcony_projector::operations::Desk;
use balcony_projector::{AnyProjection, AnyReplica, Catalogue, Deployment, Projector, Serving, State, Step};
use balcony_query_api::QueryApi;
use balcony_read_models::{CompanyMail, Search};
use balcony_search::Index;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use utoipa::openapi::OpenApi;

use crate::application::{NAME, domain_topics};
use crate::authority::{authority, authority_beside};
use crate::greeting::greeting;
use crate::settings::Settings;

/// What a token is for.
#[derive(clap::Args)]
pub(crate) struct TokenOptions {
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

/// What the key of consistency tokens is for.
const CONSISTENCY: &str = "consistency token";

/// An installation of Balcony that this process is part of.
struct Installation {
    parts: Arc<balcony_projector::Installation>,
    desk: Desk,
    topics: Topics,
    consistency: Consistency,
    edge: Edge,
    server: Server,
    /// Where the query API is, when it has an origin of its own.
    query_api_url: Option<String>,
    is_embedded: bool,
}

/// Where a service listens: for everybody, and for operators.
struct Listeners {
    everybody: TcpListener,
    operators: Operators,
}

/// Where operators see metrics, states, and why something is missing.
enum Operators {
    /// On a port of their own.
    Apart(TcpListener),
    /// On everybody's port, which is on loopback.
    WithEverybody,
    /// Nowhere.
    Nowhere,
}

/// What a service shows.
struct Surface {
    routes: Router,
    openapi: OpenApi,
    /// What only operators see, beside the probes.
    operators: Router,
    readiness: Readiness,
}

impl Installation {
    async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let query_api_url = settings.query_api_url()?.map(str::to_owned);
        let is_embedded = matches!(settings.deployment()?, Deployment::Embedded { .. });
        let namespace = settings.installation.namespace(&settings.application)?;
        let problem_types = format!("urn:{NAME}:problem:");
        let server = Server::new(namespace.as_str(), &problem_types, Limits::of_process());
        let edge = Edge {
            authority: authority(settings)?,
            limiter: Limiter::new(settings.rate_limit()?)
                .behind(settings.trusted_proxies()?)
                .searched_at([balcony_query_api::SEARCH]),
            cors_origins: settings.cors_origins()?,
            telemetry: telemetry::install(namespace.as_str())?,
            problem_types: problem_types.into(),
        };
        let parts = balcony_projector::Installation::open(&settings.application, &settings.installation).await?;
        let parts = Arc::new(parts);
        let desk = Desk::new(&settings.application, parts.clone());
        let topics = domain_topics(&parts.topics);
        let consistency =
            Consistency::new(parts.identity(), parts.topics.names(), &edge.authority.key_for(CONSISTENCY));
        Ok(Self { parts, desk, topics, consistency, edge, server, query_api_url, is_embedded })
    }

    /// Whether the log is there.
    fn log_check(&self) -> Check {
        let (log, facts) = (self.parts.log.clone(), self.topics.facts.clone());
        Check::new(if self.is_embedded { "log" } else { "Kafka" }, move || {
            let (log, facts) = (log.clone(), facts.clone());
            async move { log.ends(&[facts]).await.map(drop).map_err(|error| error.to_string()) }
        })
    }

    /// Whether the database is there, where it may be away by itself.
    fn database_check(&self) -> Option<Check> {
        let database = self.parts.database.clone();
        let check = Check::new("PostgreSQL", move || {
            let database = database.clone();
            async move { database.ping().await.map_err(|error| error.to_string()) }
        });
        (!self.is_embedded).then_some(check)
    }

    /// Lets `projector` mail companies, where there is a server to send through.
    async fn start_mail(&self, settings: &Settings, projector: &mut Projector) {
        let Some(office) = &settings.office else {
            tracing::info!("SMTP_URL is not set: companies get no mail");
            return;
        };
        office.open(&self.parts.database, &self.topics).await;
        projector.start_reactor(CompanyMail::new(&self.topics, office.clone()));
    }

    /// Lets `projector` keep a copy of the search index, and gives what is searched.
    fn start_search(&self, projector: &mut Projector) -> anyhow::Result<Serving<Index>> {
        let serving = Serving::default();
        let search = AnyReplica::serving(Search::new(&self.topics), serving.clone());
        let folder = self.parts.replica_folder(search.name())?;
        projector.start_replica(search, folder);
        Ok(serving)
    }
}

/// Everything in this process.
pub(crate) async fn all_in_one(settings: &Settings) -> anyhow::Result<()> {
    let listeners = listen(settings, "127.0.0.1:8080")?;
    let installation = Installation::open(settings).await?;
    let mut projector = installation.parts.projector();
    for projection in projections(&installation.parts.catalogue) {
        projector.start(projection);
    }

    installation.start_mail(settings, &mut projector).await;
    let serving = installation.start_search(&mut projector)?;
    let commands = command_side(&installation).await;
    let queries = query_side(&installation, serving).await;
    let (command_routes, mut openapi) = commands.routes();
    let (query_routes, query_openapi) = queries.routes();
    openapi.merge(query_openapi);
    openapi.info.title = "Balcony".to_owned();
    openapi.info.description =
        Some("Posts what happens, and shows it: comments, favourites, movies, people.".to_owned());
    let pages = reading_room(settings, &query_routes)?;
    let routes = command_routes.merge(query_routes).merge(pages);
    // The queries' checks cover the registry, which is all that commands read.
    let own = [installation.log_check(), projections_check(&projector)];
    let checks = own.into_iter().chain(queries.checks()).collect();
    let surface = Surface { routes, openapi, operators: states(&projector), readiness: Readiness::new(checks) };
    let (authority, address) = (&installation.edge.authority, listeners.everybody.local_addr()?);
    let greeting = greeting(settings, authority, address, std::io::stdout().is_terminal())?;
    tokio::spawn(greet(surface.readiness.clone(), greeting));
    run(listeners, surface, &installation, Some(projector), Some(queries)).await
}

/// The command API alone.
pub(crate) async fn command_api(settings: &Settings) -> anyhow::Result<()> {
    distributed(settings, "command-api")?;
    let listeners = listen(settings, "127.0.0.1:8081")?;
    let installation = Installation::open(settings).await?;
    let commands = command_side(&installation).await;
    let (routes, openapi) = commands.routes();
    let own = iter::once(installation.log_check()).chain(installation.database_check());
    let readiness = Readiness::new(own.chain(commands.checks()).collect());
    let surface = Surface { routes, openapi, operators: Router::new(), readiness };
    run(listeners, surface, &installation, None, None).await
}

/// The query API alone.
pub(crate) async fn query_api(settings: &Settings) -> anyhow::Result<()> {
    distributed(settings, "query-api")?;
    let listeners = listen(settings, "127.0.0.1:8082")?;
    let installation = Installation::open(settings).await?;
    let mut projector = installation.parts.projector();
    let serving = installation.start_search(&mut projector)?;
    let queries = query_side(&installation, serving).await;
    let (routes, openapi) = queries.routes();
    let pages = reading_room(settings, &routes)?;
    let routes = routes.merge(pages);
    // Without the log, queries are answered from the read models.
    let readiness = Readiness::new(installation.database_check().into_iter().chain(queries.checks()).collect());
    let surface = Surface { routes, openapi, operators: states(&projector), readiness };
    run(listeners, surface, &installation, Some(projector), Some(queries)).await
}

/// The projections alone, or some of them.
pub(crate) async fn projector(settings: &Settings, only: &[String]) -> anyhow::Result<()> {
    distributed(settings, "projector")?;
    let topics = settings.installation.topics(&settings.application)?;
    let chosen = chosen(only, &settings.application.catalogue(&topics))?;
    let listeners = listen(settings, "127.0.0.1:8083")?;
    let installation = Installation::open(settings).await?;
    let mut projector = installation.parts.projector();
    for projection in chosen {
        projector.start(projection);
    }
    if only.is_empty() || only.iter().any(|name| name == CompanyMail::NAME) {
        installation.start_mail(settings, &mut projector).await;
    }

    let own = [installation.log_check(), projections_check(&projector)];
    let readiness = Readiness::new(own.into_iter().chain(installation.database_check()).collect());
    let (routes, mut openapi) = (Router::new(), OpenApi::default());
    openapi.info.title = "Balcony projector".to_owned();
    let surface = Surface { routes, openapi, operators: states(&projector), readiness };
    run(listeners, surface, &installation, Some(projector), None).await
}

/// Prints a token.
pub(crate) fn token(settings: &Settings, options: &TokenOptions) -> anyhow::Result<()> {
    let role: Role = options.role.parse().with_context(|| format!("--role: {:?}", options.role))?;
    ensure!(!options.user.trim().is_empty(), "--user: is empty");
    let seconds = seconds(&options.expires_in).with_context(|| {
        format!("--expires-in: {:?} is not a duration, such as 30d, 12h, 15m or 60s", options.expires_in)
    })?;
    let token = authority_beside(settings)?.issue(options.user.trim(), role, seconds)?;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(())
}

/// The web page over the query API's `routes`.
fn reading_room(settings: &Settings, routes: &Router) -> anyhow::Result<Router> {
    Ok(balcony_reading_room::routes(routes.clone(), settings.command_api_url()?.map(Arc::from)))
}

/// What each projection of this process is doing, for operators.
fn states(projector: &Projector) -> Router {
    let observe = Arc::new(projector.observe());
    let answer = move || {
        let states = observe();
        async { Json(states) }
    };
    Router::new().route("/projections", get(answer))
}

/// Every projection has its share of the partitions, which may be none.
fn projections_check(projector: &Projector) -> Check {
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

async fn command_side(installation: &Installation) -> Arc<CommandApi> {
    let Installation { parts, topics, consistency, query_api_url, .. } = installation;
    let (log, topics, consistency) = (parts.log.clone(), topics.clone(), consistency.clone());
    CommandApi::open(log, &parts.database, topics, consistency, query_api_url.as_deref()).await
}

async fn query_side(installation: &Installation, serving: Serving<Index>) -> QueryApi {
    let Installation { parts, topics, consistency, .. } = installation;
    let queries = QueryApi::open(&parts.database, &parts.catalogue, consistency.clone(), serving).await;
    queries.bounded_by(parts.log.clone()).with_live(parts.log.clone(), topics.facts.clone())
}

/// Serves until the process is told to end; then takes no more requests, lets those under way end, and stops the
/// projections, which some of those requests may have waited for.
async fn run(
    listeners: Listeners,
    surface: Surface,
    installation: &Installation,
    projector: Option<Projector>,
    queries: Option<QueryApi>,
) -> anyhow::Result<()> {
    let Surface { routes, mut openapi, operators: states, readiness } = surface;
    let (desk, desk_openapi) = balcony_console::routes(installation.desk.clone());
    openapi.merge(desk_openapi);
    let edge = &installation.edge;
    let (stop, stopped) = watch::channel(false);
    let address = listeners.everybody.local_addr()?;
    tracing::info!(%address, "listening");

    let everybody = probes::public(&readiness);
    let operators = probes::operators(&readiness, edge.telemetry.clone()).merge(states);
    let (probes, apart) = match listeners.operators {
        Operators::Apart(listener) => {
            let address = listener.local_addr()?;
            tracing::info!(%address, "listening for operators");
            let router = service::service(Router::new(), OpenApi::default(), operators, edge);
            let (server, stopped) = (installation.server.clone(), stopped.clone());
            (everybody, Some(tokio::spawn(async move { server.serve(listener, router, told(stopped)).await })))
        }
        Operators::WithEverybody => (operators, None),
        Operators::Nowhere => (everybody, None),
    };
    let router = service::service(routes.merge(desk), openapi, probes, edge);
    let told_to_end = told_to_end()?;
    tokio::spawn(async move {
        told_to_end.await;
        // A stream would go on for ever.
        if let Some(queries) = queries {
            queries.close_streams();
        }
        stop.send_replace(true);
    });
    installation.server.serve(listeners.everybody, router, told(stopped)).await;
    if let Some(projector) = projector {
        projector.stop().await;
    }
    if let Some(apart) = apart {
        apart.await?;
    }
    tracing::info!("ended");
    Ok(())
}

/// Comes once it is time to stop.
async fn told(mut stopped: watch::Receiver<bool>) {
    // Whoever would say so does not end before.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Comes with SIGTERM or SIGINT. A second one ends the process at once.
fn told_to_end() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
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

fn listen(settings: &Settings, default: &str) -> anyhow::Result<Listeners> {
    let (address, apart) = (settings.listen(default)?, settings.admin_listen()?);
    let bind = |name: &str, address: SocketAddr| {
        server::listen(address).with_context(|| format!("{name}: {address} cannot be listened on"))
    };
    let everybody = bind("LISTEN", address)?;
    let operators = match apart {
        Some(apart) => Operators::Apart(bind("ADMIN_LISTEN", apart)?),
        None => without_a_port(address),
    };
    Ok(Listeners { everybody, operators })
}

/// Where operators look at a service that listens at `address` and has no port for them: whoever is on the same machine
/// may see everything, and the network may not.
fn without_a_port(address: SocketAddr) -> Operators {
    if address.ip().to_canonical().is_loopback() { Operators::WithEverybody } else { Operators::Nowhere }
}

fn distributed(settings: &Settings, service: &str) -> anyhow::Result<()> {
    let distributed = matches!(settings.deployment()?, Deployment::Distributed { .. });
    ensure!(
        distributed,
        "KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL: are missing; {service} runs by itself only in a distributed \
         installation (run `balcony` alone for everything in one process)"
    );
    Ok(())
}

/// The projections called `only`, or all. Other steps are kept by others.
fn chosen(only: &[String], catalogue: &Catalogue) -> anyhow::Result<Vec<AnyProjection>> {
    for name in only {
        catalogue.find(name).context("--only")?;
    }
    let is_chosen =
        |projection: &AnyProjection| only.is_empty() || only.iter().any(|name| **name == **projection.name());
    Ok(projections(catalogue).filter(is_chosen).collect())
}

/// The projections of `catalogue`.
fn projections(catalogue: &Catalogue) -> impl Iterator<Item = AnyProjection> {
    let projection = |step: &Step| match step {
        Step::Projection(projection) => Some(projection.clone()),
        _ => None,
    };
    catalogue.steps().iter().filter_map(projection)
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

/// Says what to do next, once it can be done.
async fn greet(readiness: Readiness, greeting: String) {
    let mut ticks = tokio::time::interval(probes::LOOK_FOR);
    while !readiness.look().await.is_ready() {
        ticks.tick().await;
    }
    // Whoever reads may have left after the first lines; that is no reason to end.
    let _ = writeln!(std::io::stdout(), "{greeting}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_shows_operators_things_without_a_port_for_them() {
        for (address, is_shown) in [
            ("127.0.0.1:8080", true),
            ("127.9.9.9:8080", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("10.1.2.3:8080", false),
        ] {
            let operators = without_a_port(address.parse().expect("an address"));
            assert_eq!(matches!(operators, Operators::WithEverybody), is_shown, "{address}");
        }
    }
}
