//! The settings that every program on this library has: a flag each, and an environment variable of the same name.

use std::fs::File;
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, anyhow, bail, ensure};
use balcony_store::Namespace;

use crate::application::{Application, Topics};

/// The settings as they were given. Each is checked when it is asked for, so that the error names it.
#[derive(Debug, Clone, clap::Args)]
// A group would be called as the type is, and a program may call its own so.
#[group(skip)]
pub struct Settings {
    /// The folder of the embedded installation: its log, its read models. By default ./NAME-data, after the program's
    /// name.
    #[arg(long, env = "DATA_DIR", global = true, value_name = "FOLDER")]
    data_dir: Option<String>,

    /// Kafka's brokers. With DATABASE_URL the installation is distributed; without both it is embedded.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", global = true, value_name = "HOST:PORT,…")]
    kafka_bootstrap_servers: Option<String>,

    /// The PostgreSQL database of the read models.
    #[arg(long, env = "DATABASE_URL", global = true, hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,

    /// A file that has the database's URL.
    #[arg(long, env = "DATABASE_URL_FILE", global = true, value_name = "FILE")]
    database_url_file: Option<String>,

    /// Partitions of topics that have to be created.
    #[arg(long, env = "KAFKA_PARTITIONS", global = true, default_value = "6", value_name = "NUMBER")]
    kafka_partitions: String,

    /// Replicas of topics that have to be created; fewer when the cluster has fewer brokers.
    #[arg(long, env = "KAFKA_REPLICATION", global = true, default_value = "3", value_name = "NUMBER")]
    kafka_replication: String,

    /// What the names of the topics begin with. By default the namespace and a dot.
    #[arg(long, env = "KAFKA_TOPIC_PREFIX", global = true, value_name = "PREFIX")]
    kafka_topic_prefix: Option<String>,

    /// What everything is named after that the installation has in Kafka and PostgreSQL: 1 to 32 lower-case letters and
    /// digits. By default the program's name without hyphens.
    #[arg(long, env = "NAMESPACE", global = true, value_name = "NAME")]
    namespace: Option<String>,
}

/// Where the log and the read models are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployment {
    /// In a folder, in this process.
    Embedded {
        /// The folder.
        data_dir: PathBuf,
    },
    /// In Kafka and PostgreSQL.
    Distributed {
        /// Kafka's brokers.
        brokers: String,
        /// The database.
        database_url: String,
    },
}

impl Settings {
    /// Checks the form of every setting, whether it is used or not. Nothing is connected to.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub fn check(&self, application: &Application) -> anyhow::Result<()> {
        self.data_dir(application)?;
        self.namespace(application)?;
        self.topic_prefix(application)?;
        self.partitions()?;
        self.replication()?;
        if let Deployment::Distributed { brokers, database_url } = self.deployment(application)? {
            ensure!(
                brokers.split(',').all(is_broker),
                "KAFKA_BOOTSTRAP_SERVERS: {brokers:?} is not a list of brokers, such as kafka-1:9092,kafka-2:9092"
            );
            // It may have a password, so it is not shown.
            ensure!(
                is_postgres_url(&database_url),
                "DATABASE_URL: is not a URL of PostgreSQL, such as postgres://user:password@host:5432/database"
            );
        }
        Ok(())
    }

    /// Where the log and the read models of `application` are.
    ///
    /// # Errors
    /// Names the setting that is wrong or missing.
    pub fn deployment(&self, application: &Application) -> anyhow::Result<Deployment> {
        let brokers = not_empty("KAFKA_BOOTSTRAP_SERVERS", self.kafka_bootstrap_servers.as_deref())?;
        let database_url = secret("DATABASE_URL", self.database_url.as_deref(), self.database_url_file.as_deref())?;
        match (brokers, database_url) {
            (None, None) => Ok(Deployment::Embedded { data_dir: self.data_dir(application)? }),
            (Some(brokers), Some(database_url)) => Ok(Deployment::Distributed {
                brokers: brokers.to_owned(),
                database_url: database_url.trim().to_owned(),
            }),
            (Some(_), None) => {
                bail!("DATABASE_URL: is missing; KAFKA_BOOTSTRAP_SERVERS is set, and both belong together")
            }
            (None, Some(_)) => {
                bail!("KAFKA_BOOTSTRAP_SERVERS: is missing; DATABASE_URL is set, and both belong together")
            }
        }
    }

    /// The folder of the embedded installation, and of the replicas' stores.
    ///
    /// # Errors
    /// When it is empty.
    pub fn data_dir(&self, application: &Application) -> anyhow::Result<PathBuf> {
        let data_dir = not_empty("DATA_DIR", self.data_dir.as_deref())?;
        Ok(data_dir.map_or_else(|| format!("./{}-data", application.name()).into(), PathBuf::from))
    }

    /// Partitions of topics that have to be created.
    ///
    /// # Errors
    /// When it is no number from 1 to 1000.
    pub fn partitions(&self) -> anyhow::Result<i32> {
        number("KAFKA_PARTITIONS", &self.kafka_partitions, 1..=1_000)
    }

    /// Replicas of topics that have to be created.
    ///
    /// # Errors
    /// When it is no number from 1 to 100.
    pub fn replication(&self) -> anyhow::Result<i32> {
        number("KAFKA_REPLICATION", &self.kafka_replication, 1..=100)
    }

    /// What everything is named after that the installation has outside itself.
    ///
    /// # Errors
    /// When it is not 1 to 32 lower-case letters and digits, a letter first, or is `pg`.
    pub fn namespace(&self, application: &Application) -> anyhow::Result<Namespace> {
        let namespace = self.namespace.clone().unwrap_or_else(|| application.namespace());
        namespace.parse().map_err(|wrong| anyhow!("NAMESPACE: {wrong}"))
    }

    /// What the names of the topics begin with.
    ///
    /// # Errors
    /// When it is not 1 to 200 letters, digits, dots, dashes and underscores.
    pub fn topic_prefix(&self, application: &Application) -> anyhow::Result<String> {
        let namespace = self.namespace(application)?;
        let Some(prefix) = &self.kafka_topic_prefix else { return Ok(format!("{namespace}.")) };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ensure!(
            (1..=200).contains(&prefix.len()) && prefix.bytes().all(legal),
            "KAFKA_TOPIC_PREFIX: {prefix:?} is not 1 to 200 letters, digits, dots, dashes and underscores"
        );
        Ok(prefix.clone())
    }

    /// What the names of the consumer groups begin with: the topics' prefix, and the namespace behind it where the prefix
    /// does not begin with it.
    ///
    /// # Errors
    /// As [`Settings::topic_prefix`] and [`Settings::namespace`].
    pub fn group_prefix(&self, application: &Application) -> anyhow::Result<String> {
        let (prefix, namespace) = (self.topic_prefix(application)?, self.namespace(application)?);
        // A namespace that only begins like the prefix is another one.
        let rest = prefix.strip_prefix(namespace.as_str());
        let is_named =
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()));
        Ok(if is_named { prefix } else { format!("{prefix}{namespace}.") })
    }

    /// The topics of `application` by the names that this installation gives them.
    ///
    /// # Errors
    /// As [`Settings::topic_prefix`].
    pub fn topics(&self, application: &Application) -> anyhow::Result<Topics> {
        Ok(Topics::with_prefix(&self.topic_prefix(application)?, application.topics()))
    }
}

/// `value` without white space around it.
///
/// # Errors
/// When the setting called `name` is there and empty.
pub fn not_empty<'v>(name: &str, value: Option<&'v str>) -> anyhow::Result<Option<&'v str>> {
    match value.map(str::trim) {
        Some("") => bail!("{name}: is empty; give it a value or leave it out"),
        value => Ok(value),
    }
}

/// The secret called `name`: `value` as it is, or what `file` has, without the line's end. Its file's setting is called
/// the same with `_FILE` behind it.
///
/// # Errors
/// When both are there, or the one that is there is empty, or the file cannot be read or is larger than 64 KiB.
pub fn secret(name: &str, value: Option<&str>, file: Option<&str>) -> anyhow::Result<Option<String>> {
    not_empty(name, value)?;
    let file_setting = format!("{name}_FILE");
    let Some(file) = not_empty(&file_setting, file)? else { return Ok(value.map(str::to_owned)) };
    ensure!(value.is_none(), "{file_setting}: is set, and {name} is, too; one of them has to go");
    let mut text = String::new();
    let read = File::open(file).and_then(|opened| opened.take(SECRET_FILE_MAX + 1).read_to_string(&mut text));
    let length = read.with_context(|| format!("{file_setting}: {file} cannot be read"))?;
    ensure!(length as u64 <= SECRET_FILE_MAX, "{file_setting}: {file} has more than {SECRET_FILE_MAX} bytes");
    ensure!(!text.trim().is_empty(), "{file_setting}: {file} is empty");
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A host with or without a port, behind a protocol or not.
fn is_broker(text: &str) -> bool {
    let address = text.trim().split_once("://").map_or(text.trim(), |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        // Colons within brackets are of an IPv6 address.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    !host.is_empty() && !host.contains(['/', '@']) && !host.contains(char::is_whitespace) && port.is_none_or(is_port)
}

/// A URL as libpq has them: a scheme, and something behind it that has no white space.
fn is_postgres_url(text: &str) -> bool {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    rest.is_some_and(|rest| {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host, ""),
        };
        let has_host = !name.is_empty() || rest.contains("host=");
        has_host && (port.is_empty() || port.parse::<u16>().is_ok()) && !rest.contains(char::is_whitespace)
    })
}

/// The largest file that is taken for a secret, in bytes.
const SECRET_FILE_MAX: u64 = 64 << 10;

fn number(name: &str, text: &str, range: RangeInclusive<i32>) -> anyhow::Result<i32> {
    match i32::from_str(text) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => bail!("{name}: {text:?} is not a number from {} to {}", range.start(), range.end()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;
    use crate::catalogue::Catalogue;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn orders() -> Application {
        Application::new("orders", [], |_| Catalogue::new())
    }

    /// The settings that these arguments give, whatever the environment says.
    fn settings(arguments: &[&str]) -> Settings {
        let command = Cli::command().mut_args(|argument| argument.env(None));
        let matches = command.get_matches_from([&["orders"], arguments].concat());
        Cli::from_arg_matches(&matches).unwrap().settings
    }

    #[test]
    fn an_installation_is_named_after_its_program_unless_settings_say_otherwise() {
        let (orders, settings) = (orders(), settings(&[]));
        assert_eq!(settings.namespace(&orders).unwrap().as_str(), "orders");
        assert_eq!(settings.topic_prefix(&orders).unwrap(), "orders.");
        assert_eq!(settings.group_prefix(&orders).unwrap(), "orders.");
        let data_dir = "./orders-data".into();
        assert_eq!(settings.deployment(&orders).unwrap(), Deployment::Embedded { data_dir });
    }

    #[test]
    fn a_hyphen_is_in_no_name_outside_the_installation() {
        let (word_count, settings) = (Application::new("word-count", [], |_| Catalogue::new()), settings(&[]));
        assert_eq!(settings.namespace(&word_count).unwrap().as_str(), "wordcount");
        assert_eq!(settings.topic_prefix(&word_count).unwrap(), "wordcount.");
        let data_dir = "./word-count-data".into();
        assert_eq!(settings.deployment(&word_count).unwrap(), Deployment::Embedded { data_dir });
    }

    #[test]
    fn a_namespace_is_in_every_name_outside_the_installation() {
        let orders = orders();
        let of = |arguments: &[&str]| {
            let settings = settings(arguments);
            (settings.topic_prefix(&orders).unwrap(), settings.group_prefix(&orders).unwrap())
        };
        assert_eq!(of(&["--namespace", "west"]), ("west.".into(), "west.".into()));
        assert_eq!(of(&["--kafka-topic-prefix", "shop."]), ("shop.".into(), "shop.orders.".into()));
        assert_eq!(of(&["--kafka-topic-prefix", "orders-2."]), ("orders-2.".into(), "orders-2.".into()));
        let other = of(&["--kafka-topic-prefix", "orders2.", "--namespace", "orders"]);
        assert_eq!(other, ("orders2.".into(), "orders2.orders.".into()));
    }

    #[test]
    fn brokers_and_databases_have_the_form_of_one() {
        for good in ["kafka", "kafka:9092", "a:1,b:2", "a:1, b:2", "[::1]:9092", "[::1]", "PLAINTEXT://a:9092"] {
            assert!(good.split(',').all(is_broker), "{good}");
        }
        for bad in ["", ",", "a:1,", ":9092", "a:x", "a:0", "a:99999", "a b:9092", "http://a/b", "a:"] {
            assert!(!bad.split(',').all(is_broker), "{bad}");
        }
        for good in
            ["postgres://host/db", "postgresql://u:p@host:5432/db?sslmode=disable", "postgres:///db?host=/run/pg"]
        {
            assert!(is_postgres_url(good), "{good}");
        }
        for bad in
            ["", "postgres", "postgres://", "mysql://host/db", "host:5432", "postgres://host:x/db", "postgres://a b/c"]
        {
            assert!(!is_postgres_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_secret_stands_in_its_setting_or_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let good = file("good", b"hush hush\n");
        assert_eq!(secret("X", None, None).unwrap(), None);
        assert_eq!(secret("X", Some("hush"), None).unwrap().as_deref(), Some("hush"));
        assert_eq!(secret("X", None, Some(&good)).unwrap().as_deref(), Some("hush hush"));
        let missing = folder.path().join("missing").display().to_string();
        for (value, path, name) in [
            (Some(""), None, "X: "),
            (None, Some(""), "X_FILE: "),
            (Some("hush"), Some(&*good), "X_FILE: "),
            (None, Some(&*missing), "X_FILE: "),
            (None, Some(&*file("empty", b" \n")), "X_FILE: "),
            (None, Some(&*file("large", &[b'x'; 70_000])), "X_FILE: "),
            (None, Some(&*file("no text", b"\xff\xfe")), "X_FILE: "),
        ] {
            let error = secret("X", value, path).unwrap_err().to_string();
            assert!(error.starts_with(name) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn what_is_no_namespace_is_refused_by_name() {
        for wrong in ["", "1st", "West", "a.b", "a-b", &"x".repeat(33)] {
            let error = settings(&["--namespace", wrong]).namespace(&orders()).unwrap_err().to_string();
            assert!(error.starts_with("NAMESPACE: "), "{error}");
        }
        assert!(settings(&["--namespace", &"x".repeat(32)]).namespace(&orders()).is_ok());
    }
}
