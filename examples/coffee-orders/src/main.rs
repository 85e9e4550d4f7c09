//! Coffee orders: generated into a text file, collected from it into the log, counted in windows of time and shown.

mod collect;
mod collected;
mod generate;
mod order;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use balcony_console::ChartPage;
use balcony_projector::{Application, Catalogue, Installation, TopicSpec, Topics};
use balcony_service::{Service, Settings, Surface};
use balcony_statistics::http::Chart;
use balcony_statistics::{Statistics, Stream, Window, Windows};

use crate::collect::Options;
use crate::collected::Collected;
use crate::order::{AGE_GRADES, COFFEES, ORDERS, PAYMENT_METHODS, Placed, topic_of};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Coffee orders, from a text file into charts.
#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// The shortest window in which orders are counted.
    #[arg(long, global = true, default_value = "10s", value_name = "LENGTH")]
    window: Window,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Writes random orders to a text file.
    Generate {
        #[arg(long)]
        file: PathBuf,
        /// Orders a second.
        #[arg(long)]
        rate: u32,
        /// The same seed gives the same orders.
        #[arg(long)]
        seed: Option<u64>,
        /// How many orders. By default it goes on until it is told to stop.
        #[arg(long)]
        lines: Option<u64>,
    },
    /// Takes the lines of a file into the log as they are written, each once.
    Collect {
        #[arg(long)]
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// Counts orders and shows them; collects a file, too, if there is one.
    Serve {
        #[arg(long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
    #[command(flatten)]
    Operate(balcony_service::Command),
}

/// Orders by who ordered and how they were paid, and coffees by their type.
fn statistics(topics: &Topics, window: Window) -> Statistics<Placed> {
    let orders = Stream::named("orders")
        .by("age-grade", |placed: &Placed| Some(placed.order.customer_age_grade.clone()))
        .by("payment-method", |placed| Some(placed.order.payment_method.clone()));
    let coffees = Stream::named("coffees").by_each("type", |placed: &Placed| placed.order.orders.clone());
    let usual = [(Window::MINUTE, Some(48 * HOUR)), (Window::HOUR, Some(90 * 24 * HOUR)), (Window::DAY, None)];
    let longer =
        usual.into_iter().filter(|(length, _)| *length > window && length.milliseconds() % window.milliseconds() == 0);
    let windows = [(window, Some(24 * HOUR))].into_iter().chain(longer);
    Statistics::new("statistics", 1, topics.names(), [orders, coffees]).in_windows(Windows::of(windows))
}

fn program(window: Window) -> Application {
    let routed = PAYMENT_METHODS.into_iter().map(topic_of);
    let topics = [ORDERS.to_owned()].into_iter().chain(routed).map(TopicSpec::forever);
    Application::new("coffee-orders", topics, move |topics| {
        let collected = Collected::new(topics.names());
        Catalogue::new().with_projection(collected).with_projection(statistics(topics, window))
    })
}

fn main() -> ExitCode {
    // What it is called is known before its windows are.
    balcony_service::main(
        &program(Window::seconds(10)),
        |cli: &Cli| &cli.settings,
        async |cli| {
            let program = program(cli.window);
            match cli.command {
                Command::Generate { file, rate, seed, lines } => {
                    tokio::task::block_in_place(|| generate::generate(&file, rate, seed, lines))
                }
                Command::Collect { file, options } => collect(&program, &cli.settings, &file, &options).await,
                Command::Serve { file, options } => serve(&program, &cli.settings, cli.window, file, options).await,
                Command::Operate(command) => command.run(&program, &cli.settings).await,
            }
        },
    )
}

/// Collects until the process is told to end.
async fn collect(program: &Application, settings: &Settings, file: &Path, options: &Options) -> anyhow::Result<()> {
    let installation = Installation::open(program, &settings.installation).await?;
    let mut projector = installation.projector();
    projector.start(Collected::new(installation.topics.names()));
    let told_to_end = balcony_service::told_to_end()?;
    let ended = tokio::select! {
        ended = collect::collect(&installation, file, options) => ended,
        () = told_to_end => Ok(()),
    };
    projector.stop().await;
    ended
}

/// Shows what is counted, and collects in the same process, if there is a file.
async fn serve(
    program: &Application,
    settings: &Settings,
    window: Window,
    file: Option<PathBuf>,
    options: Options,
) -> anyhow::Result<()> {
    let service = Service::open(program, settings, "127.0.0.1:8090").await?;
    let installation = service.installation().clone();
    let api = service.statistics(&statistics(&installation.topics, window)).await;
    let (routes, openapi) = page(window).with_streams(&api);
    let (surface, projector) = (Surface::new(routes, openapi), installation.start()?);
    let surface = match file {
        Some(file) => surface.working(async move { collect::collect(&installation, &file, &options).await }),
        None => surface,
    };
    service.serve(surface, projector).await
}

fn page(window: Window) -> ChartPage {
    let charts = [
        Chart::new("Coffees by type", "coffees", "type", window)
            .titled_in_japanese("コーヒーの種類")
            .of_values(COFFEES),
        Chart::new("Orders by payment method", "orders", "payment-method", window).titled_in_japanese("支払い方法"),
        Chart::new("Orders by age grade", "orders", "age-grade", window)
            .titled_in_japanese("年齢層")
            .of_values(AGE_GRADES),
    ];
    ChartPage::new("Coffee orders", charts).titled_in_japanese("コーヒーの注文")
}
