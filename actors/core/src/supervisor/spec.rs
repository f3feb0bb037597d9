//! What a supervisor knows of a child: how to start it, when to restart it, how to stop it.

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;
use thiserror::Error;

use crate::{exit::Reason, text};

use super::{
    backoff::{self, Backoff},
    options::AutoShutdown,
};

/// Longest id of a child, in bytes: it appears in every log line about the child.
pub const MAX_ID_LEN: usize = 255;

/// How long a worker may take to shut down unless its spec says otherwise, before it is killed: OTP's default.
pub const WORKER_SHUTDOWN: Duration = Duration::from_secs(5);

/// Names a child among the children of one supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(Arc<str>);

/// When a child that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Unless it ended with `normal` or `shutdown`.
    Transient,
    /// Never, not even with its siblings; its spec goes with it.
    Temporary,
}

/// How a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// It is killed.
    BrutalKill,
    /// It is told to shut down, and killed if it has not ended after this time.
    Timeout(Duration),
    /// It is told to shut down, and may take as long as it needs.
    Infinity,
}

/// What a child is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It does the work.
    #[default]
    Worker,
    /// It supervises others.
    Supervisor,
}

/// The spec of a child that is started from a `C`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildSpec<C> {
    /// Its id. Of a template: a word for the log.
    pub id: ChildId,
    /// What it is started from, each time.
    pub from: C,
    /// When it is started again.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// What it is.
    pub kind: Kind,
    /// Whether its end can end the supervisor, see [`AutoShutdown`].
    pub significant: bool,
    /// How long to wait before it is started again; `None` for no time at all.
    pub backoff: Option<Backoff>,
}

/// A spec that contradicts itself or its supervisor.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// The id is empty or too long.
    #[error("an id of {0} bytes, expected 1 to {MAX_ID_LEN}")]
    Id(usize),
    /// A permanent child never ends for good, so that nothing can follow from it.
    #[error("significant and permanent: a permanent child never ends by itself, make it transient or temporary")]
    SignificantPermanent,
    /// The supervisor does not care.
    #[error("significant, but its supervisor never shuts down by itself: set auto-shutdown")]
    SignificantNever,
    /// The backoff has no meaning.
    #[error(transparent)]
    Backoff(#[from] backoff::Invalid),
}

impl ChildId {
    /// Checks an id.
    ///
    /// # Errors
    ///
    /// Where it is empty or longer than [`MAX_ID_LEN`].
    pub fn new(id: impl AsRef<str>) -> Result<Self, Invalid> {
        match id.as_ref().len() {
            1..=MAX_ID_LEN => Ok(Self(id.as_ref().into())),
            len => Err(Invalid::Id(len)),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Escaped, as it is a text of others.
impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::name(&self.0))
    }
}

impl Restart {
    /// Whether a child that ended by itself is started again.
    pub fn applies(self, reason: &Reason) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => !reason.is_orderly(),
            Self::Temporary => false,
        }
    }
}

impl Shutdown {
    /// What a child of this kind gets unless its spec says otherwise.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Worker => Self::Timeout(WORKER_SHUTDOWN),
            Kind::Supervisor => Self::Infinity,
        }
    }
}

impl<C> ChildSpec<C> {
    /// A permanent worker.
    pub fn worker(id: ChildId, from: C) -> Self {
        Self::new(id, from, Kind::Worker)
    }

    /// A permanent supervisor.
    pub fn supervisor(id: ChildId, from: C) -> Self {
        Self::new(id, from, Kind::Supervisor)
    }

    fn new(id: ChildId, from: C, kind: Kind) -> Self {
        Self {
            id,
            from,
            restart: Restart::default(),
            shutdown: Shutdown::of(kind),
            kind,
            significant: false,
            backoff: None,
        }
    }

    /// The same child, started again by another rule.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// The same child, stopped in another way.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// The same child, whose end can end its supervisor.
    #[must_use]
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// The same child, with a wait before it is started again.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// Checks the spec for a supervisor with this `auto_shutdown`.
    ///
    /// # Errors
    ///
    /// Where it contradicts itself or the supervisor.
    pub fn check(&self, auto_shutdown: AutoShutdown) -> Result<(), Invalid> {
        if self.significant && auto_shutdown == AutoShutdown::Never {
            return Err(Invalid::SignificantNever);
        }
        if self.significant && self.restart == Restart::Permanent {
            return Err(Invalid::SignificantPermanent);
        }
        self.backoff.as_ref().map_or(Ok(()), |backoff| Ok(backoff.check()?))
    }
}
