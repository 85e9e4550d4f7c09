//! A bounded flow of what people do, for a running instance: to have something to look at, and to see it under load.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use balcony_http::{Authority, Role};
use balcony_projector::Deployment;
use balcony_service::authority;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use self::story::Turn;
use self::words::{LOCATIONS, NAMES, pick, title};
use crate::settings::Settings;

mod story;
mod words;

/// How much is done, and how fast.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The command API to send to; by default the one these settings would start.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Things done each second.
    #[arg(long, default_value = "50", value_name = "NUMBER")]
    rate: NonZeroU32,
    /// How many times as fast as that the whole story goes, its waves too: 0.5 to look at, 10 to see it under load.
    #[arg(long, default_value = "1", value_name = "TIMES", value_parser = speed)]
    speed: f64,
    /// Things done in all: comments, favourites, views and deletions.
    #[arg(long, default_value = "1000", value_name = "NUMBER")]
    actions: u32,
    /// Movies to register first.
    #[arg(long, default_value = "12", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    movies: u32,
    /// People who do these things.
    #[arg(long, default_value = "40", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    people: u32,
}

/// From a hundredth to a thousand times.
fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.01..=1_000.0).contains(speed));
    speed.ok_or_else(|| "is not a number from 0.01 to 1000".to_owned())
}

/// Requests that may be under way at a time.
const IN_FLIGHT: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN_SECONDS: u64 = 24 * 3_600;

/// Registers movies and people, then lets the people do things at the given rate.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let client = Client::new(settings, options)?;
    let company = client
        .register(
            "/v1/companies",
            &json!({"name": "Upper Circle Pictures", "contact_email": "press@upper-circle.example"}),
        )
        .await?;

    let bar = progress(options.movies, "movies");
    let mut movies = Vec::new();
    for number in 0..options.movies {
        let title = title(number);
        let body =
            if number % 3 == 0 { json!({"title": title, "company_id": company}) } else { json!({"title": title}) };
        movies.push(client.register("/v1/movies", &body).await?);
        bar.inc(1);
    }
    bar.finish();

    let bar = progress(options.people, "people");
    let mut people = Vec::new();
    for number in 0..options.people {
        let person = client.person(number)?;
        let profile = json!({"display_name": person.name, "location": LOCATIONS[number as usize % LOCATIONS.len()]});
        client.expect(Method::PUT, "/v1/me", &person.token, Some(&profile)).await?;
        people.push(person);
        bar.inc(1);
    }
    bar.finish();

    let done = act(Arc::new(client), options, movies, people).await?;
    writeln!(std::io::stdout(), "{done}")?;
    Ok(())
}

/// Lets the people act, each action when its time has come, a bounded number at once.
async fn act(
    client: Arc<Client>,
    options: &Options,
    movies: Vec<String>,
    people: Vec<Person>,
) -> anyhow::Result<String> {
    let bar = progress(options.actions, "actions");
    let rate = f64::from(options.rate.get());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / (rate * options.speed)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut under_way: JoinSet<anyhow::Result<Action>> = JoinSet::new();
    let mut counts = [0_u32; 4];
    for number in 0..options.actions {
        ticks.tick().await;
        let permit = room.clone().acquire_owned().await?;
        let turn = story::turn(number, options.actions, rate, movies.len(), people.len(), &mut rand::rng());
        let action = Action::of(turn, &movies, &people);
        let client = client.clone();
        under_way.spawn(async move {
            let _permit = permit;
            action.run(&client).await?;
            Ok(action)
        });
        while let Some(ended) = under_way.try_join_next() {
            counts[ended??.kind()] += 1;
            bar.inc(1);
        }
    }
    while let Some(ended) = under_way.join_next().await {
        counts[ended??.kind()] += 1;
        bar.inc(1);
    }
    bar.finish();
    let [comments, deletions, favourites, views] = counts;
    Ok(format!(
        "{comments} comments, {deletions} of another {deletions} deleted again, {favourites} favourites, {views} views"
    ))
}

/// Something that somebody does.
struct Action {
    person: Person,
    what: What,
}

enum What {
    Comment {
        movie: String,
        body: Value,
    },
    /// Posts and regrets it.
    Regret {
        movie: String,
        body: Value,
    },
    Favorite {
        user: String,
    },
    View {
        movie: String,
    },
}

impl Action {
    fn of(turn: Turn, movies: &[String], people: &[Person]) -> Self {
        let mut random = rand::rng();
        let movie = |number: usize| movies[number].clone();
        let person = match turn {
            Turn::Argue { person, .. } => &people[person],
            _ => pick(people, &mut random),
        };
        let what = match turn {
            Turn::Comment { movie: number, body } | Turn::Argue { movie: number, body, .. } => {
                What::Comment { movie: movie(number), body }
            }
            Turn::Regret { movie: number, body } => What::Regret { movie: movie(number), body },
            Turn::Favorite => {
                let others: Vec<_> = people.iter().filter(|other| other.user != person.user).collect();
                What::Favorite { user: pick(&others, &mut random).user.clone() }
            }
            Turn::View { movie: number } => What::View { movie: movie(number) },
        };
        Self { person: person.clone(), what }
    }

    fn kind(&self) -> usize {
        match self.what {
            What::Comment { .. } => 0,
            What::Regret { .. } => 1,
            What::Favorite { .. } => 2,
            What::View { .. } => 3,
        }
    }

    async fn run(&self, client: &Client) -> anyhow::Result<()> {
        let token = &self.person.token;
        match &self.what {
            What::Comment { movie, body } => {
                client.expect(Method::POST, &format!("/v1/movies/{movie}/comments"), token, Some(body)).await?;
            }
            What::Regret { movie, body } => {
                let posted =
                    client.expect(Method::POST, &format!("/v1/movies/{movie}/comments"), token, Some(body)).await?;
                client.expect(Method::DELETE, &format!("/v1/comments/{}", id(&posted)?), token, None).await?;
            }
            What::Favorite { user } => {
                client.expect(Method::PUT, &format!("/v1/me/favorites/{user}"), token, None).await?;
            }
            What::View { movie } => {
                client.expect(Method::POST, &format!("/v1/movies/{movie}/views"), token, None).await?;
            }
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Person {
    name: String,
    user: String,
    token: String,
}

struct Client {
    http: reqwest::Client,
    url: String,
    authority: Authority,
    admin: String,
}

impl Client {
    fn new(settings: &Settings, options: &Options) -> anyhow::Result<Self> {
        let listen = |default| settings.service.listen(default);
        let url = match (&options.url, settings.command_api_url()?, settings.deployment()?) {
            (Some(url), _, _) => url.trim_end_matches('/').to_owned(),
            (None, Some(url), _) => url.to_owned(),
            (None, None, Deployment::Embedded { .. }) => format!("http://{}", listen("127.0.0.1:8080")?),
            (None, None, Deployment::Distributed { .. }) => format!("http://{}", listen("127.0.0.1:8081")?),
        };
        let authority = authority(&settings.application, &settings.service)?;
        let admin = authority.issue("admin", Role::Admin, TOKEN_SECONDS)?;
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, url, authority, admin })
    }

    fn person(&self, number: u32) -> anyhow::Result<Person> {
        let given = NAMES[number as usize % NAMES.len()];
        let name = match number as usize / NAMES.len() {
            0 => given.to_owned(),
            again => format!("{given} {}", again + 1),
        };
        let token = self.authority.issue(&name, Role::User, TOKEN_SECONDS)?;
        let user = self.authority.user(&name).to_string();
        Ok(Person { name, user, token })
    }

    async fn register(&self, path: &str, body: &Value) -> anyhow::Result<String> {
        id(&self.expect(Method::POST, path, &self.admin, Some(body)).await?)
    }

    /// Sends a request that should succeed, again for as long as it is told to come back later.
    async fn expect(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        for _ in 0..20 {
            let mut request = self.http.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(token);
            if let Some(body) = body {
                request = request.json(body);
            }
            let response =
                request.send().await.with_context(|| format!("{} does not answer; is it running?", self.url))?;
            let status = response.status();
            if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(1))).await;
                continue;
            }
            let text = response.text().await?;
            ensure!(status.is_success(), "{method} {path} was answered {status}: {text}");
            return Ok(serde_json::from_str(&text).unwrap_or(Value::Null));
        }
        bail!("{method} {path} was put off again and again")
    }
}

fn id(created: &Value) -> anyhow::Result<String> {
    Ok(created["id"].as_str().context("the answer has no id")?.to_owned())
}

fn progress(length: u32, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>8} {wide_bar} {pos}/{len} {per_sec} {eta}");
    ProgressBar::new(length.into()).with_message(what).with_style(style.expect("the template is well-formed"))
}
