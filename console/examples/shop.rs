//! A shop with a page of charts at `/`: somebody buys something five times a second.
//!
//! ```sh
//! cargo run --release -p balcony-console --example shop
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balcony_console::ChartPage;
use balcony_event_log::{EventLog, Message, Record};
use balcony_projector::{Application, Catalogue, Decode, TopicSpec, Topics};
use balcony_service::{Command, Service, Settings, Surface};
use balcony_statistics::http::{Chart, Drawn};
use balcony_statistics::{Occurrence, Statistics, Stream, Window, Windows};
use balcony_store::Uuid;
use serde::{Deserialize, Serialize};

/// Sells drinks, and shows how many.
#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    action: Option<Command>,
}

/// Something that was sold.
#[derive(Serialize, Deserialize)]
struct Sale {
    id: Uuid,
    at: i64,
    drink: String,
    cents: i64,
}

impl Decode for Sale {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        serde_json::from_slice(&record.payload).map(Some).map_err(|error| error.to_string())
    }
}

impl Occurrence for Sale {
    fn at(&self) -> i64 {
        self.at
    }

    fn id(&self) -> Option<Uuid> {
        Some(self.id)
    }
}

/// Sales by drink, in windows of ten seconds and longer ones.
fn statistics(topics: &Topics) -> Statistics<Sale> {
    let hour = Duration::from_secs(3_600);
    let sales = Stream::named("sales")
        .by("drink", |sale: &Sale| Some(sale.drink.clone()))
        .measuring_with_decimals(2, |sale| Some(sale.cents));
    Statistics::new("statistics", 1, [topics.get("sales").clone()], [sales]).in_windows(Windows::of([
        (Window::seconds(10), Some(2 * hour)),
        (Window::MINUTE, Some(48 * hour)),
        (Window::HOUR, None),
    ]))
}

fn main() -> ExitCode {
    let shop = Application::new("shop", [TopicSpec::forever("sales")], |topics| {
        Catalogue::new().with_projection(statistics(topics))
    });
    balcony_service::main(
        &shop,
        |cli: &Cli| &cli.settings,
        async |cli| match cli.action {
            Some(command) => command.run(&shop, &cli.settings).await,
            None => serve(&shop, &cli.settings).await,
        },
    )
}

async fn serve(shop: &Application, settings: &Settings) -> anyhow::Result<()> {
    let service = Service::open(shop, settings, "127.0.0.1:8090").await?;
    let installation = service.installation().clone();
    let statistics = service.statistics(&statistics(&installation.topics)).await;
    let page = ChartPage::new(
        "What the shop sells",
        [
            Chart::new("Drinks sold", "sales", "drink", Window::seconds(10)).titled_in_japanese("売れた飲み物"),
            Chart::new("Price of a coffee", "sales", "drink", Window::seconds(10))
                .titled_in_japanese("コーヒーの値段")
                .of_values(["coffee"])
                .drawing([Drawn::Average, Drawn::Least, Drawn::Most]),
        ],
    );
    let (routes, openapi) = page.titled_in_japanese("店の売れ行き").with_streams(&statistics);
    let projector = installation.start()?;
    let selling = sell(installation.log.clone(), installation.topics.get("sales").clone());
    service.serve(Surface::new(routes, openapi).working(selling), projector).await
}

/// Sells, every drink at its own pace.
async fn sell(log: Arc<dyn EventLog>, topic: Arc<str>) -> anyhow::Result<()> {
    for number in 0_u64.. {
        let (drink, price) =
            [("coffee", 280), ("tea", 240), ("coffee", 260), ("<b>juice</b>", 410)][(number % 4) as usize];
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let cents = price + i64::try_from(number % 7).unwrap_or(0) * 5;
        let sale =
            Sale { id: Uuid::now_v7(), at: i64::try_from(at).unwrap_or(i64::MAX), drink: drink.to_owned(), cents };
        let payload = serde_json::to_vec(&sale).unwrap_or_default();
        let message = Message { key: sale.id.as_bytes().to_vec(), payload, ..Message::default() };
        if let Err(error) = log.append(&topic, message).await {
            tracing::warn!(%error, "nothing is sold");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
