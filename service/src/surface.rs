//! What a service shows, and when it is ready.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use balcony_console::plain_page;
use balcony_http::Problem;
use balcony_http::probes::Check;
use maud::Markup;
use utoipa::openapi::OpenApi;

/// What a service shows, beside what every service does.
pub struct Surface {
    pub(crate) routes: Router,
    pub(crate) openapi: OpenApi,
    pub(crate) searches: Vec<Arc<str>>,
    pub(crate) needs: Needs,
    pub(crate) checks: Vec<Check>,
    pub(crate) greeting: Greeting,
    pub(crate) before_ending: Option<Box<dyn FnOnce() + Send>>,
    pub(crate) work: Vec<Work>,
}

/// What is done beside serving.
pub(crate) type Work = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// What has to be there, beside the checks of the program's own.
pub(crate) enum Needs {
    /// The log, the steps of this process, and the database.
    Everything,
    /// Nothing.
    Nothing,
}

/// What is shown on standard output once the service is ready.
pub(crate) enum Greeting {
    /// Where everything is, and how to become an admin.
    OfEveryProgram,
    Own(String),
    Nothing,
}

impl Surface {
    /// `routes` with what they are described as. A description without a title gets the program's name.
    pub fn new(routes: Router, openapi: OpenApi) -> Self {
        Self {
            routes,
            openapi,
            searches: Vec::new(),
            needs: Needs::Everything,
            checks: Vec::new(),
            greeting: Greeting::OfEveryProgram,
            before_ending: None,
            work: Vec::new(),
        }
    }

    /// One page at `/`, called `title`, that loads itself again after so many seconds: [`plain_page`] with what `content` gives.
    pub fn of_page<F, C, E>(title: &'static str, every: u32, content: F) -> Self
    where
        F: FnOnce() -> C + Clone + Send + Sync + 'static,
        C: Future<Output = Result<Markup, E>> + Send,
        Problem: From<E>,
    {
        let page = async move || match content().await {
            Ok(content) => plain_page(title, Some(every), &content),
            Err(error) => Problem::from(error).into_response(),
        };
        Self::new(Router::new().route("/", get(page)), OpenApi::default())
    }

    /// Counts requests at `paths` as searches, which have a limit of their own.
    #[must_use]
    pub fn searched_at(mut self, paths: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.searches = paths.into_iter().map(Into::into).collect();
        self
    }

    /// The service is ready only when `checks` find their parts, too: beside the log, the steps of this process, and the
    /// database where that may be away by itself.
    #[must_use]
    pub fn ready_with(mut self, checks: impl IntoIterator<Item = Check>) -> Self {
        self.checks.extend(checks);
        self
    }

    /// The service is ready when `checks` find their parts, whatever else is missing.
    #[must_use]
    pub fn ready_when(mut self, checks: impl IntoIterator<Item = Check>) -> Self {
        self.needs = Needs::Nothing;
        self.checks = checks.into_iter().collect();
        self
    }

    /// Shows `greeting` on standard output once the service is ready, in place of where everything is.
    #[must_use]
    pub fn greeting_with(mut self, greeting: impl Into<String>) -> Self {
        self.greeting = Greeting::Own(greeting.into());
        self
    }

    /// Shows nothing on standard output.
    #[must_use]
    pub fn without_greeting(mut self) -> Self {
        self.greeting = Greeting::Nothing;
        self
    }

    /// Does `work` while the service serves: what the program does by itself, such as reading a file. It may end before the
    /// service does, which goes on; an error ends the service in order, and is what [`serve`](crate::Service::serve) gives. When
    /// the process is told to end, it is dropped at any await.
    #[must_use]
    pub fn working(mut self, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Self {
        self.work.push(Box::pin(work));
        self
    }

    /// Calls `close` once the process is told to end, before requests under way are waited for: to close what would go on
    /// for ever, such as streams.
    #[must_use]
    pub fn before_ending(mut self, close: impl FnOnce() + Send + 'static) -> Self {
        self.before_ending = Some(Box::new(close));
        self
    }
}
