//! An online shop's log, live: prices over time, and what is done at which price.

mod action;
mod file;
mod publisher;

use std::future::pending;
use std::process::ExitCode;

use balcony_console::ChartPage;
use balcony_projector::{Application, Catalogue, TopicSpec};
use balcony_service::{Command, Service, Settings, Surface};
use balcony_statistics::Window;
use balcony_statistics::http::{Chart, Drawn, StatisticsApi};

use crate::action::{COLUMNS, KINDS, RANGES, statistics};
use crate::file::Lines;
use crate::publisher::{Options, Publisher};

/// Publishes an online shop's log and shows what happens: prices over time, and what is done at which price.
#[derive(clap::Parser)]
#[command(name = "shop-behaviour", version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    action: Option<Command>,
}

fn main() -> ExitCode {
    let shop = Application::new("shop-behaviour", ["actions", "refused"].map(TopicSpec::forever), |topics| {
        Catalogue::new().with_projection(statistics(topics.get("actions")))
    });
    balcony_service::main(
        &shop,
        |cli: &Cli| &cli.settings,
        async |cli| match cli.action {
            Some(command) => command.run(&shop, &cli.settings).await,
            None => serve(&shop, &cli.settings, &cli.options).await,
        },
    )
}

async fn serve(shop: &Application, settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let lines = Lines::open(options.file.as_deref(), &COLUMNS)?;
    let service = Service::open(shop, settings, "127.0.0.1:8090").await?;
    let installation = service.installation().clone();
    let projector = installation.start()?;
    let (actions, refused) = (installation.topics.get("actions").clone(), installation.topics.get("refused").clone());
    let consistency = service.consistency().clone();
    let api = StatisticsApi::open(&statistics(&actions), &installation.database, consistency).await;
    let api = api.bounded_by(installation.log.clone());
    let (routes, mut openapi) = api.routes();
    let (charts, described) = page().routes(&api);
    openapi.merge(described);
    let publisher = Publisher { log: installation.log.clone(), actions, refused, ids: shop.ids() };
    let publishing = async {
        publisher.publish(lines, options).await?;
        pending().await
    };
    tokio::select! {
        // A line that is cut off by the end is looked for when the program is started again.
        ended = service.serve(Surface::new(routes.merge(charts), openapi), projector) => ended,
        failed = publishing => failed,
    }
}

/// Prices by the minute, and by the hour what is done at which price.
fn page() -> ChartPage {
    let prices = Chart::new("Prices", "prices", "all", Window::MINUTE).titled_in_japanese("価格").drawing([
        Drawn::Average,
        Drawn::Least,
        Drawn::Most,
    ]);
    let titles = [
        ("Views", "閲覧"),
        ("Into the cart", "カートに追加"),
        ("Out of the cart", "カートから削除"),
        ("Purchases", "購入"),
    ];
    let ranges = KINDS.into_iter().zip(titles).map(|(kind, (title, japanese))| {
        Chart::new(title, "ranges", kind, Window::HOUR).titled_in_japanese(japanese).of_values(RANGES)
    });
    ChartPage::new("What happens in the shop", [prices].into_iter().chain(ranges)).titled_in_japanese("店の動き")
}
