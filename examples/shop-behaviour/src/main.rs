//! An online shop's log, live: prices over time, and what is done at which price.

mod action;
mod file;
mod publisher;

use std::process::ExitCode;

use balcony_console::ChartPage;
use balcony_projector::{Application, Catalogue, TopicSpec};
use balcony_service::{Command, Service, Settings, Surface};
use balcony_statistics::Window;
use balcony_statistics::http::{Chart, Drawn};

use crate::action::{COLUMNS, KINDS, RANGES, statistics};
use crate::file::Table;
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
            None => serve(&shop, &cli.settings, cli.options).await,
        },
    )
}

async fn serve(shop: &Application, settings: &Settings, options: Options) -> anyhow::Result<()> {
    let table = Table::open(options.file.as_deref(), &COLUMNS)?;
    let service = Service::open(shop, settings, "127.0.0.1:8090").await?;
    let (installation, ids) = (service.installation().clone(), shop.ids());
    let [actions, refused] = ["actions", "refused"].map(|topic| installation.topics.get(topic).clone());
    let (routes, openapi) = page().with_streams(&service.statistics(&statistics(&actions)).await);
    let projector = installation.start()?;
    let publisher = Publisher { log: installation.log.clone(), actions, refused, ids };
    // A line that is cut off by the end is looked for when the program is started again.
    let publishing = async move { publisher.publish(table, &options).await };
    service.serve(Surface::new(routes, openapi).working(publishing), projector).await
}

/// Prices by the minute, and by the hour what is done at which price.
fn page() -> ChartPage {
    let prices = Chart::new("Prices", "prices", "all", Window::MINUTE).titled_in_japanese("価格");
    let prices = prices.drawing([Drawn::Average, Drawn::Least, Drawn::Most]).over(240);
    let titles = ["Views", "Into the cart", "Out of the cart", "Purchases"];
    let japanese = ["閲覧", "カートに追加", "カートから削除", "購入"];
    let ranges = KINDS.into_iter().zip(titles).zip(japanese).map(|((kind, title), japanese)| {
        Chart::new(title, "ranges", kind, Window::HOUR).titled_in_japanese(japanese).of_values(RANGES)
    });
    ChartPage::new("What happens in the shop", [prices].into_iter().chain(ranges)).titled_in_japanese("店の動き")
}
