//! Every step of a program, by name.

use std::fmt;
use std::sync::Arc;

use balcony_store::ReadModel;

use crate::projection::AnyProjection;
use crate::reactor::AnyReactor;
use crate::replica::AnyReplica;
use crate::report::Kind;

/// Every step of a program, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    program: Arc<str>,
    steps: Vec<Step>,
    /// Reactors that are not run as the program is set, by name, and why.
    off: Vec<(Arc<str>, Arc<str>)>,
}

/// What a program does with its topics, each under a name of its own. Cheap to clone.
#[derive(Clone)]
pub enum Step {
    /// Writes rows of the database.
    Projection(AnyProjection),
    /// Keeps a store beside each process that reads it.
    Replica {
        /// The step.
        replica: AnyReplica,
        /// What the processes that keep it run, such as "query API".
        kept_by: Arc<str>,
    },
    /// Has effects on the world.
    Reactor(AnyReactor),
}

/// There is no step of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a step of {program}{}; there are {}", because(off.as_deref()), known.join(", "))]
pub struct UnknownStep {
    /// The name.
    pub name: String,
    /// The program.
    pub program: Arc<str>,
    /// The steps that there are.
    pub known: Vec<String>,
    /// Where it is a reactor that the program has and is set not to run: why.
    pub off: Option<Arc<str>>,
}

impl Catalogue {
    /// No steps yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this projection.
    #[must_use]
    pub fn with_projection(self, projection: impl Into<AnyProjection>) -> Self {
        self.with(Step::Projection(projection.into()))
    }

    /// With this replica, whose stores are kept by every `kept_by` ("query API").
    #[must_use]
    pub fn with_replica(self, replica: impl Into<AnyReplica>, kept_by: impl Into<Arc<str>>) -> Self {
        self.with(Step::Replica { replica: replica.into(), kept_by: kept_by.into() })
    }

    /// With this reactor.
    #[must_use]
    pub fn with_reactor(self, reactor: impl Into<AnyReactor>) -> Self {
        self.with(Step::Reactor(reactor.into()))
    }

    /// With a reactor called `name` that is not run as the program is set, and `why`: "SMTP_URL is not set". Operators who ask
    /// for it are told so.
    #[must_use]
    pub fn with_reactor_off(mut self, name: impl Into<Arc<str>>, why: impl Into<Arc<str>>) -> Self {
        self.off.push((name.into(), why.into()));
        self
    }

    /// With this step.
    #[must_use]
    pub fn with(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub(crate) fn set_program(&mut self, program: Arc<str>) {
        self.program = program;
    }

    /// Every step.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The step called `name`.
    ///
    /// # Errors
    /// [`UnknownStep`] names those that there are.
    pub fn find(&self, name: &str) -> Result<&Step, UnknownStep> {
        self.steps.iter().find(|step| &**step.name() == name).ok_or_else(|| UnknownStep {
            name: name.to_owned(),
            program: self.program.clone(),
            known: self.steps.iter().map(|step| step.name().to_string()).collect(),
            off: self.off().find(|(off, _)| *off == name).map(|(_, why)| why.into()),
        })
    }

    /// The reactors that are not run as the program is set, and why.
    pub(crate) fn off(&self) -> impl Iterator<Item = (&str, &str)> {
        self.off.iter().map(|(name, why)| (&**name, &**why))
    }

    /// A name that two steps have.
    pub fn repeated_name(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.steps.iter().map(|step| &**step.name()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

fn because(off: Option<&str>) -> String {
    off.map(|why| format!(" as it is set: {why}")).unwrap_or_default()
}

impl Step {
    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Projection(projection) => projection.name(),
            Self::Replica { replica, .. } => replica.name(),
            Self::Reactor(reactor) => reactor.name(),
        }
    }

    /// What it is to operators.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Projection(_) => Kind::Projection,
            Self::Replica { .. } => Kind::Replica,
            Self::Reactor(_) => Kind::Reactor,
        }
    }

    /// The version of what it writes. A reactor has one for ever.
    pub fn version(&self) -> u32 {
        match self {
            Self::Projection(projection) => projection.read_model().version,
            Self::Replica { replica, .. } => replica.read_model().version,
            Self::Reactor(_) => 1,
        }
    }

    /// What it writes. A reactor writes nothing that is read.
    pub fn read_model(&self) -> Option<&ReadModel> {
        match self {
            Self::Projection(projection) => Some(projection.read_model()),
            Self::Replica { replica, .. } => Some(replica.read_model()),
            Self::Reactor(_) => None,
        }
    }

    /// The topics it reads, by their full names.
    pub fn topics(&self) -> &[Arc<str>] {
        match self {
            Self::Projection(projection) => &projection.read_model().topics,
            Self::Replica { replica, .. } => &replica.read_model().topics,
            Self::Reactor(reactor) => reactor.topics(),
        }
    }

    /// What its workers run in, such as "projector".
    pub fn kept_by(&self) -> &str {
        match self {
            Self::Replica { kept_by, .. } => kept_by,
            Self::Projection(_) | Self::Reactor(_) => PROJECTOR,
        }
    }
}

/// What keeps a step of which nothing else is said.
pub(crate) const PROJECTOR: &str = "projector";

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name())
            .field("kind", &self.kind())
            .field("version", &self.version())
            .field("topics", &self.topics())
            .finish()
    }
}
