//! Runs the services, together or one by one.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::Router;
use balcony_command_api::CommandApi;
use balcony_domain::Topics;
use balcony_projector::{AnyProjection, AnyReplica, Catalogue, Deployment, Projector, Serving, Step};
use balcony_query_api::QueryApi;
use balcony_read_models::{CompanyMail, Leaving, Search};
use balcony_search::Index;
use balcony_service::{Service, Surface};
use utoipa::openapi::OpenApi;

use crate::application::{NO_MAIL, domain_topics};
use crate::greeting::greeting;
use crate::settings::{LEAVING, Settings};

/// Everything in this process.
pub(crate) async fn all_in_one(settings: &Settings) -> anyhow::Result<()> {
    let service = open(settings, "127.0.0.1:8080").await?;
    let mut projector = service.installation().projector();
    for projection in projections(&service.installation().catalogue) {
        projector.start(projection);
    }

    start_mail(&service, &mut projector);
    let serving = start_search(&service, &mut projector)?;
    let commands = command_side(&service, settings).await?;
    let queries = query_side(&service, settings, serving).await;
    let (command_routes, mut openapi) = commands.routes();
    let (query_routes, query_openapi) = queries.routes();
    openapi.merge(query_openapi);
    openapi.info.title = "Balcony".to_owned();
    openapi.info.description =
        Some("Posts what happens, and shows it: comments, favourites, movies, people.".to_owned());
    let pages = reading_room(settings, &query_routes)?;
    // The queries' checks cover the registry, which is all that commands read.
    let surface = Surface::new(command_routes.merge(query_routes).merge(pages), openapi)
        .ready_with(queries.checks())
        .greeting_with(greeting(&service)?);
    service.serve(with_queries(surface, queries), projector).await
}

/// The command API alone.
pub(crate) async fn command_api(settings: &Settings) -> anyhow::Result<()> {
    distributed(settings, "command-api")?;
    let service = open(settings, "127.0.0.1:8081").await?;
    let commands = command_side(&service, settings).await?;
    let (routes, openapi) = commands.routes();
    let surface = Surface::new(routes, openapi).ready_with(commands.checks()).without_greeting();
    service.serve(surface, None).await
}

/// The query API alone.
pub(crate) async fn query_api(settings: &Settings) -> anyhow::Result<()> {
    distributed(settings, "query-api")?;
    let service = open(settings, "127.0.0.1:8082").await?;
    let mut projector = service.installation().projector();
    let serving = start_search(&service, &mut projector)?;
    let queries = query_side(&service, settings, serving).await;
    let (routes, openapi) = queries.routes();
    let pages = reading_room(settings, &routes)?;
    // Without the log, queries are answered from the read models.
    let checks = service.database_check().into_iter().chain(queries.checks());
    let surface = Surface::new(routes.merge(pages), openapi).ready_when(checks).without_greeting();
    service.serve(with_queries(surface, queries), projector).await
}

/// The projections alone, or some of them.
pub(crate) async fn projector(settings: &Settings, only: &[String]) -> anyhow::Result<()> {
    distributed(settings, "projector")?;
    let topics = settings.service.installation.topics(&settings.application)?;
    let chosen = chosen(only, &settings.application.catalogue(&topics))?;
    let service = open(settings, "127.0.0.1:8083").await?;
    let mut projector = service.installation().projector();
    for projection in chosen {
        projector.start(projection);
    }
    if only.is_empty() || only.iter().any(|name| name == CompanyMail::NAME) {
        start_mail(&service, &mut projector);
    }
    let mut openapi = OpenApi::default();
    openapi.info.title = "Balcony projector".to_owned();
    service.serve(Surface::new(Router::new(), openapi).without_greeting(), projector).await
}

async fn open(settings: &Settings, default: &str) -> anyhow::Result<Service> {
    Service::open(&settings.application, &settings.service, default).await
}

/// Lets `projector` mail companies, where there is a server to send through.
fn start_mail(service: &Service, projector: &mut Projector) {
    match service.installation().catalogue.find(CompanyMail::NAME) {
        Ok(Step::Reactor(mail)) => projector.start_reactor(mail.clone()),
        _ => tracing::info!("{NO_MAIL}"),
    }
}

/// Lets `projector` keep a copy of the search index, and gives what is searched.
fn start_search(service: &Service, projector: &mut Projector) -> anyhow::Result<Serving<Index>> {
    let serving = Serving::default();
    let search = AnyReplica::serving(Search::new(&topics(service)), serving.clone());
    let folder = service.installation().replica_folder(search.name())?;
    projector.start_replica(search, folder);
    Ok(serving)
}

async fn command_side(service: &Service, settings: &Settings) -> anyhow::Result<Arc<CommandApi>> {
    let (installation, consistency) = (service.installation(), service.consistency().clone());
    let (log, query_api_url) = (installation.log.clone(), settings.query_api_url()?);
    let leaving = Leaving::new(&service.key_for(LEAVING));
    Ok(CommandApi::open(log, &installation.database, topics(service), consistency, leaving, query_api_url).await)
}

async fn query_side(service: &Service, settings: &Settings, serving: Serving<Index>) -> QueryApi {
    let (installation, consistency) = (service.installation(), service.consistency().clone());
    let queries = QueryApi::open(&installation.database, &installation.catalogue, consistency, serving).await;
    let log = || installation.log.clone();
    queries.bounded_by(log()).with_live(log(), topics(service).facts, settings.hot_bytes())
}

/// What `surface` needs when `queries` are among its routes.
fn with_queries(surface: Surface, queries: QueryApi) -> Surface {
    // A stream would go on for ever.
    surface.searched_at([balcony_query_api::SEARCH]).before_ending(move || queries.close_streams())
}

/// The web page over the query API's `routes`.
fn reading_room(settings: &Settings, routes: &Router) -> anyhow::Result<Router> {
    Ok(balcony_reading_room::routes(routes.clone(), settings.command_api_url()?.map(Arc::from)))
}

fn topics(service: &Service) -> Topics {
    domain_topics(&service.installation().topics)
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
