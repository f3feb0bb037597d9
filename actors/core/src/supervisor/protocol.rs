//! What goes into a supervisor and what comes out of it.

use std::{fmt, time::Duration};

use thiserror::Error;

use crate::exit::Reason;

use super::spec::{self, ChildId, ChildSpec, Kind};

/// One place for a child, for as long as its spec stays. Never used twice by one supervisor; later slots are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(super) u64);

/// One life of a child, from the attempt to start it to its end. Never used twice by one supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub(super) u64);

/// A timer that the supervisor asked for. Never used twice by one supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timer(pub(super) u64);

/// Whose call it is: a number that the driver chooses and gets back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<C> {
    /// The supervisor itself is started. The first event, and only once.
    Start,
    /// An incarnation has started: the answer to [`Effect::Start`].
    Started(Incarnation),
    /// An incarnation could not be started: the other answer to [`Effect::Start`].
    StartFailed(Incarnation, Reason),
    /// An incarnation that had started has ended, whether it was told to or not.
    Exited(Incarnation, Reason),
    /// The time of a timer has come. One that is no longer wanted does nothing.
    Elapsed(Timer),
    /// Somebody asks for something. Answered exactly once.
    Called(CallId, Call<C>),
    /// The supervisor is told to shut down, by its own supervisor or owner.
    Stop,
    /// The supervisor is killed: so are all its children.
    Kill,
}

/// What is asked of a supervisor. The names are OTP's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Call<C> {
    /// Adds a child at the end, and starts it.
    StartChild(ChildSpec<C>),
    /// Starts another instance of the template of a simple-one-for-one supervisor, from its own `C` or the template's.
    StartInstance(Option<C>),
    /// Stops a child, or cancels its restart. Its spec stays, unless it is temporary or an instance.
    TerminateChild(Target),
    /// Starts a child that has no incarnation.
    RestartChild(ChildId),
    /// Forgets the spec of a child that has no incarnation.
    DeleteChild(ChildId),
    /// Lists the children. Answered at once, whatever the supervisor is doing.
    WhichChildren,
    /// Counts the children. Answered at once, whatever the supervisor is doing.
    CountChildren,
}

/// Which child is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The child with the id. Not for a simple-one-for-one supervisor.
    Id(ChildId),
    /// The instance that lives, lived or is restarted as this incarnation. Only for a simple-one-for-one supervisor.
    Instance(Incarnation),
    /// The instance in this slot, whichever incarnation lives there when it is the call's turn. Only for a
    /// simple-one-for-one supervisor.
    Slot(Slot),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Effect<C> {
    /// Start a child, and answer with [`Event::Started`] or [`Event::StartFailed`].
    Start {
        /// Where.
        slot: Slot,
        /// The new life.
        incarnation: Incarnation,
        /// Its spec's id.
        id: ChildId,
        /// From what.
        from: C,
    },
    /// Stop an incarnation, and answer with [`Event::Exited`], or with [`Event::StartFailed`] if it never started.
    /// There may be a second one for the same incarnation, to kill it.
    Stop {
        /// Which.
        incarnation: Incarnation,
        /// How.
        how: Stop,
    },
    /// Let [`Event::Elapsed`] happen after this time.
    SetTimer {
        /// The timer.
        timer: Timer,
        /// When, from now.
        after: Duration,
    },
    /// Forget a timer: nobody waits for it any more.
    TakeBack {
        /// The timer.
        timer: Timer,
    },
    /// Answer a call.
    Reply {
        /// Whose.
        to: CallId,
        /// The answer.
        answer: Result<Answer, Error>,
    },
    /// A slot has no incarnation, and will get none unless somebody asks for it: what waits for it is refused.
    Vacated {
        /// Which.
        slot: Slot,
        /// Why the last incarnation ended.
        reason: Reason,
        /// Whether the slot, and its spec, are still there.
        kept: bool,
    },
    /// Something that is worth an event.
    Report(Report),
    /// All first children have started: the supervisor has.
    Ready,
    /// The supervisor has ended, and with it all its slots. The last effect, but for the refusal of later calls. Before
    /// [`Effect::Ready`] it means that the supervisor could not start.
    Done(Reason),
}

/// How an incarnation is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// It is asked to end with `shutdown`. A supervisor gets [`Event::Stop`].
    Shutdown,
    /// It is ended. A supervisor gets [`Event::Kill`].
    Kill,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The child has started as this incarnation.
    Started(Incarnation),
    /// It is done.
    Done,
    /// The children, in the order of their start.
    Children(Vec<Child>),
    /// How many there are.
    Counts(Counts),
}

/// A line of the answer to [`Call::WhichChildren`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its slot.
    pub slot: Slot,
    /// Its id; `None` of an instance.
    pub id: Option<ChildId>,
    /// What it does.
    pub status: Status,
    /// What it is.
    pub kind: Kind,
}

/// What a child does. OTP knows `Running`, `Restarting` and `Undefined`, and keeps a caller waiting through the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is being started.
    Starting(Incarnation),
    /// It has started, and has not been stopped.
    Running(Incarnation),
    /// It is being stopped.
    Stopping(Incarnation),
    /// It waits for its restart.
    Restarting,
    /// It has ended, and nothing is going to start it unless it is restarted with its siblings or asked for.
    Undefined,
}

/// The answer to [`Call::CountChildren`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Specs; 1 for a simple-one-for-one supervisor.
    pub specs: usize,
    /// Children that live.
    pub active: usize,
    /// Children that are supervisors, living or not.
    pub supervisors: usize,
    /// Children that are workers, living or not.
    pub workers: usize,
}

/// Why a call failed. The names of OTP's errors are in the docs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// `already_present`: the spec is there, its child has no incarnation.
    #[error("there is a child with this id, and it does not run: restart or delete it")]
    AlreadyPresent,
    /// `{already_started, Child}`.
    #[error("there is a child with this id, and it runs")]
    AlreadyStarted(Incarnation),
    /// `not_found`.
    #[error("there is no such child")]
    NotFound,
    /// `running`.
    #[error("the child runs: terminate it first")]
    Running,
    /// `restarting`.
    #[error("the child waits for its restart: terminate it first")]
    Restarting,
    /// `simple_one_for_one`.
    #[error("not for a simple-one-for-one supervisor: its children have no ids and no specs of their own")]
    SimpleOneForOne,
    /// The opposite of `simple_one_for_one`, which OTP cannot tell from a wrong spec.
    #[error("only a simple-one-for-one supervisor has a template: start a child with a spec")]
    NoTemplate,
    /// The child could not be started.
    #[error("the child could not be started: {0}")]
    StartFailed(Reason),
    /// The spec is not valid here.
    #[error(transparent)]
    Invalid(#[from] spec::Invalid),
    /// There are too many children already.
    #[error("the supervisor has {0} children, as many as it may have")]
    TooMany(u32),
    /// Too many calls wait.
    #[error("too many calls wait for the supervisor: try again later")]
    Busy,
    /// The supervisor ends or has ended.
    #[error("the supervisor has ended")]
    Ended,
}

/// What a supervisor has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// A child is going to be restarted, with its siblings if the strategy says so.
    Restart {
        /// Which.
        slot: Slot,
        /// After what delay.
        after: Duration,
        /// Restarts in the window, with this one.
        count: usize,
    },
    /// The supervisor gives up and leaves the decision to its own supervisor.
    Escalated {
        /// The child on whose behalf.
        slot: Slot,
        /// Why.
        why: Escalation,
    },
}

/// Why a supervisor ends by its own decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Escalation {
    /// One restart more than allowed.
    Intensity,
    /// Significant children have ended.
    AutoShutdown,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
