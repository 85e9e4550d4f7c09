//! How often each word was written: comments → split → count.

use std::collections::BTreeMap;
use std::process::ExitCode;

use balcony_event_log::Message;
use balcony_projector::cloud_event::Identified;
use balcony_projector::operations::Lines;
use balcony_projector::{Application, Catalogue, Installation, Projection, Received, Start, TopicSpec, Transform};
use balcony_service::{Service, Settings, Surface};
use balcony_store::{ReadModel, Reader, StoreError, Tx, add_to_counts};
use maud::html;

/// A comment or a word, and the id that it keeps however often it stands in the log.
type Text = Identified<String>;

/// What `split` publishes of a comment. The word is the key, so that one worker at a time counts it.
fn words_of(comment: &Text) -> Vec<Message> {
    let message = |word: String| Message { key: word.clone().into(), payload: word.into(), ..Message::default() };
    balcony_search::words(comment).into_iter().map(message).collect()
}

/// How often each word was published. One that `split` published again, after a crash, has its id again and counts once.
struct Count(ReadModel);
impl Projection for Count {
    type Event = Text;
    fn read_model(&self) -> &ReadModel {
        &self.0
    }
    async fn apply(&self, words: &[Received<Text>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut times: BTreeMap<&str, i64> = BTreeMap::new();
        Text::new_ones(words, "counted", tx).await?.for_each(|word| *times.entry(word).or_default() += 1);
        add_to_counts(tx, "words", "word", "times", times).await
    }
}

/// How often each word was written. Without a command: works, and shows the words at /.
#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}
#[derive(clap::Subcommand)]
enum Command {
    /// Adds each line of a file, or of standard input (-), as a comment. A file that is added again changes nothing.
    Add(Lines),
    /// Prints the words that were written most often.
    Top { words: Option<i64> },
    #[command(flatten)]
    Operate(balcony_service::Command),
}

async fn top(reader: &Reader, words: i64) -> Result<String, StoreError> {
    let sql = "SELECT times, word FROM words ORDER BY times DESC, word LIMIT $1";
    let top: Vec<(i64, String)> = reader.fetch(sql, &[words.into()]).await?;
    Ok(top.iter().map(|(times, word)| format!("{times:>8}  {word}\n")).collect())
}

async fn serve(service: Service) -> anyhow::Result<()> {
    let (projector, reader) = (service.installation().start()?, service.installation().reader().await);
    let page = async move || top(&reader, 20).await.map(|words| html! { pre { (words) } });
    service.serve(Surface::of_page("word-count", 1, page), projector).await
}

fn main() -> ExitCode {
    let program = Application::new("word-count", ["comments", "words"].map(TopicSpec::forever), |topics| {
        let tables = "CREATE TABLE counted (id UUID PRIMARY KEY);
                      CREATE TABLE words (word TEXT PRIMARY KEY, times BIGINT NOT NULL);";
        let (comments, words) = (topics.get("comments").clone(), topics.get("words").clone());
        let count = Count(ReadModel::new("count", 1, [words.clone()], tables));
        let split = Transform::new("split", [comments], Start::Beginning, words, words_of);
        Catalogue::new().with_reactor(split).with_projection(count)
    });
    let run = async |Cli { settings, command }| match command {
        None => serve(Service::open(&program, &settings, "127.0.0.1:8090").await?).await,
        Some(Command::Add(lines)) => lines.append("comments", &program, &settings.installation).await,
        Some(Command::Top { words }) => {
            let installation = Installation::beside(&program, &settings.installation).await?;
            print!("{}", top(&installation.reader().await, words.unwrap_or(20)).await?);
            Ok(())
        }
        Some(Command::Operate(command)) => command.run(&program, &settings).await,
    };
    balcony_service::main(&program, |cli: &Cli| &cli.settings, run)
}
