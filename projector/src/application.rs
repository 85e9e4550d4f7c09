//! What a program on this library is.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::Message;
use uuid::Uuid;

use crate::Catalogue;

/// What a program on this library is: its name, its topics, its steps.
#[derive(Clone)]
pub struct Application {
    name: Arc<str>,
    topics: Vec<TopicSpec>,
    steps: Arc<Steps>,
    check: Option<Arc<Check>>,
    ids: Uuid,
}

type Steps = dyn Fn(&Topics) -> Catalogue + Send + Sync;
type Check = dyn Fn(&Message) -> Result<Cow<'static, str>, String> + Send + Sync;

/// A topic of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name without the prefix that an installation gives it, such as `events`.
    pub name: Arc<str>,
    /// How long its records are kept; `None` is for ever.
    pub retention: Option<Duration>,
}

/// The topics of an installation, in the order in which its program declares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    topics: Vec<InstalledTopic>,
}

/// A topic of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledTopic {
    /// Its name without the installation's prefix.
    pub short: Arc<str>,
    /// Its name in the log.
    pub full: Arc<str>,
    /// How long its records are kept; `None` is for ever.
    pub retention: Option<Duration>,
}

impl Application {
    /// The program called `name` with these topics. `steps` makes every step it has, given its topics by the names that
    /// an installation gives them.
    ///
    /// The name consists of lower-case letters, digits and hyphens and begins with a letter; it has at most 32 of them.
    /// Errors call the program by it (`orders parked list`); an installation's folder is named after it unless its
    /// settings say otherwise, and its namespace, too, which leaves hyphens out (see [`Application::namespace`]).
    pub fn new(
        name: impl Into<Arc<str>>,
        topics: impl IntoIterator<Item = TopicSpec>,
        steps: impl Fn(&Topics) -> Catalogue + Send + Sync + 'static,
    ) -> Self {
        let name: Arc<str> = name.into();
        let ids = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
        Self { name, topics: topics.into_iter().collect(), steps: Arc::new(steps), check: None, ids }
    }

    /// Checks every event of an import with `check`. It says what is wrong with an event, or into which topic (by its
    /// short name) the event goes where its line does not say so. Without a check an import takes every CloudEvent,
    /// and a line has to say where its record stood when there is more than one topic.
    #[must_use]
    pub fn with_import_check(
        mut self,
        check: impl Fn(&Message) -> Result<Cow<'static, str>, String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// Derives ids from names, such as those of users, in `namespace` (RFC 9562). By default it is made of the program's
    /// name.
    #[must_use]
    pub fn with_ids_in(mut self, namespace: Uuid) -> Self {
        self.ids = namespace;
        self
    }

    /// The namespace of the ids that the program derives from names.
    pub fn ids(&self) -> Uuid {
        self.ids
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name without hyphens, which no name of a schema, a metric or an attribute may have.
    pub fn namespace(&self) -> String {
        self.name.replace('-', "")
    }

    /// Its topics.
    pub fn topics(&self) -> &[TopicSpec] {
        &self.topics
    }

    /// Its steps in an installation with these topics.
    pub fn catalogue(&self, topics: &Topics) -> Catalogue {
        let mut catalogue = (self.steps)(topics);
        catalogue.set_program(self.name.clone());
        catalogue
    }

    #[cfg(feature = "operations")]
    pub(crate) fn import_check(&self) -> Option<&Arc<Check>> {
        self.check.as_ref()
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("name", &self.name).field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl TopicSpec {
    /// Whether a topic may be called so: up to 100 letters, digits, dots, dashes and underscores, which leaves room for what an
    /// installation puts before it.
    pub fn is_name(name: &str) -> bool {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        (1..=100).contains(&name.len()) && name.bytes().all(legal)
    }

    /// A topic whose records are kept for ever.
    pub fn forever(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), retention: None }
    }

    /// A topic whose records are kept for `retention`.
    pub fn kept_for(name: impl Into<Arc<str>>, retention: Duration) -> Self {
        Self { name: name.into(), retention: Some(retention) }
    }
}

impl Topics {
    /// The topics `specs` with names that begin with `prefix`.
    pub fn with_prefix(prefix: &str, specs: &[TopicSpec]) -> Self {
        let installed = |spec: &TopicSpec| InstalledTopic {
            short: spec.name.clone(),
            full: format!("{prefix}{}", spec.name).into(),
            retention: spec.retention,
        };
        Self { topics: specs.iter().map(installed).collect() }
    }

    /// The full name of the topic that the program calls `short`.
    ///
    /// # Panics
    /// When the program does not declare that topic.
    pub fn get(&self, short: &str) -> &Arc<str> {
        let found = self.topics.iter().find(|topic| &*topic.short == short);
        &found.unwrap_or_else(|| panic!("the topic {short:?} is not declared by this program")).full
    }

    /// Every topic.
    pub fn iter(&self) -> impl Iterator<Item = &InstalledTopic> {
        self.topics.iter()
    }

    /// The full names.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.topics.iter().map(|topic| topic.full.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_keep_the_order_of_their_declaration_and_go_by_both_names() {
        let specs = [TopicSpec::forever("orders"), TopicSpec::kept_for("clicks", Duration::from_secs(60))];
        let topics = Topics::with_prefix("shop.", &specs);
        assert_eq!(&**topics.get("clicks"), "shop.clicks");
        assert_eq!(topics.names(), ["shop.orders".into(), "shop.clicks".into()]);
    }

    #[test]
    #[should_panic(expected = "\"others\" is not declared")]
    fn a_topic_that_is_not_declared_has_no_name() {
        let _ = Topics::with_prefix("shop.", &[TopicSpec::forever("orders")]).get("others");
    }
}
