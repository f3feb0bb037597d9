//! How a supervisor treats its children as a group.

use std::time::Duration;

use thiserror::Error;

use crate::limits::DEFAULT_CHILDREN;

use super::spec::{self, ChildId};

/// Restarts within [`DEFAULT_PERIOD`] that a supervisor bears unless told otherwise: OTP's default.
pub const DEFAULT_INTENSITY: u32 = 1;

/// The window in which restarts count unless told otherwise: OTP's default.
pub const DEFAULT_PERIOD: Duration = Duration::from_secs(5);

/// Highest intensity, in restarts: more than these are no limit any more.
pub const MAX_INTENSITY: u32 = 100_000;

/// Which children are restarted when one of them has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// That one.
    #[default]
    OneForOne,
    /// All: the others are stopped first.
    OneForAll,
    /// That one and those that were started after it, which are stopped first.
    RestForOne,
    /// That one. All children are instances of one template, and come and go.
    SimpleOneForOne,
}

/// Whether the end of significant children ends their supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// It does not; no child may be significant.
    #[default]
    Never,
    /// The end of any of them does.
    AnySignificant,
    /// The end of the last of them does.
    AllSignificant,
}

/// The flags of a supervisor. The defaults are OTP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which children are restarted together.
    pub strategy: Strategy,
    /// Restarts that may happen within `period`; one more ends the supervisor. 0 allows none.
    pub intensity: u32,
    /// The sliding window for `intensity`. Not zero.
    pub period: Duration,
    /// Whether the end of significant children ends the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// Children that it may have at once, with or without an incarnation.
    pub max_children: u32,
}

/// Options or specs that contradict themselves.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// A window without extent.
    #[error("the period is zero, expected a length of time in which restarts are counted")]
    Period,
    /// An intensity without meaning.
    #[error("the intensity is {0}, expected at most {MAX_INTENSITY}")]
    Intensity(u32),
    /// More children than the supervisor may have.
    #[error("{found} children, but the supervisor may have {most}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: u32,
    },
    /// Two children with one id.
    #[error("two children have the id {0}: give each its own")]
    Duplicate(ChildId),
    /// A simple-one-for-one supervisor needs a template and has no children to begin with; the others are the opposite.
    #[error("a simple-one-for-one supervisor has a template, and any other supervisor has children: choose one")]
    Template,
    /// A child spec is not valid.
    #[error("child {id}: {why}")]
    Child {
        /// Which child.
        id: ChildId,
        /// What is wrong with it.
        why: spec::Invalid,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            intensity: DEFAULT_INTENSITY,
            period: DEFAULT_PERIOD,
            auto_shutdown: AutoShutdown::default(),
            max_children: DEFAULT_CHILDREN,
        }
    }
}

impl Options {
    /// The default options with another strategy.
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, ..Self::default() }
    }

    /// These options, with another number of restarts that may happen within a period.
    #[must_use]
    pub const fn intensity(self, intensity: u32, period: Duration) -> Self {
        Self { intensity, period, ..self }
    }

    /// Checks the options alone.
    ///
    /// # Errors
    ///
    /// Where a number has no meaning.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.period.is_zero() {
            return Err(Invalid::Period);
        }
        if self.intensity > MAX_INTENSITY {
            return Err(Invalid::Intensity(self.intensity));
        }
        Ok(())
    }
}

impl Strategy {
    /// Whether one child's restart can touch the others.
    pub(super) fn is_group(self) -> bool {
        matches!(self, Self::OneForAll | Self::RestForOne)
    }
}
