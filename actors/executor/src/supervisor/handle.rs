//! What holds a supervisor from outside: its calls, which are OTP's.

use std::fmt;

use thiserror::Error;
use ww_core::{
    CellId, SlotId,
    exit::{self, Reason},
    supervisor::{self, ChildId, Counts, Kind},
};

use super::{
    Inbox, Tell,
    inbox::{Ask, Told},
};
use crate::{Blueprint, ChildSpec, Process};

/// A supervisor. Cheap to clone; usable from any thread. Dropping it does not end the supervisor.
#[derive(Clone)]
pub struct SupervisorHandle {
    id: CellId,
    slot: SlotId,
    simple: bool,
    exit: exit::Watch,
    inbox: Inbox,
}

/// Which child is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The child with this id.
    Id(ChildId),
    /// The instance of a template that lives in this slot.
    Instance(SlotId),
}

/// A child that has started.
#[derive(Debug)]
pub enum Child {
    /// A cell. The process does not keep it alive.
    Cell(Process),
    /// A supervisor.
    Supervisor(SupervisorHandle),
}

/// What is known of a child.
#[derive(Debug)]
pub struct ChildInfo {
    /// Its id; `None` of an instance of a template, and in the answer to a start.
    pub id: Option<ChildId>,
    /// Its slot, which stays when it is restarted; `None` if it never had one.
    pub slot: Option<SlotId>,
    /// What it is.
    pub kind: Kind,
    /// What it does.
    pub status: ChildStatus,
}

/// What a child does.
#[derive(Debug)]
pub enum ChildStatus {
    /// It is being started.
    Starting,
    /// It has started.
    Running(Child),
    /// It is being stopped.
    Stopping,
    /// It waits for its restart.
    Restarting,
    /// It has ended, and nothing starts it by itself.
    Stopped,
}

/// Why a call failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The supervisor refused.
    #[error(transparent)]
    Refused(supervisor::Error),
    /// The supervisor ends or has ended.
    #[error("the supervisor has ended")]
    Ended,
}

impl From<supervisor::Error> for CallError {
    fn from(error: supervisor::Error) -> Self {
        match error {
            supervisor::Error::Ended => Self::Ended,
            error => Self::Refused(error),
        }
    }
}

impl SupervisorHandle {
    pub(super) fn new(id: CellId, slot: SlotId, simple: bool, exit: exit::Watch, inbox: Inbox) -> Self {
        Self { id, slot, simple, exit, inbox }
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Identifies the supervisor among all that runs on the node.
    pub fn id(&self) -> CellId {
        self.id
    }

    /// Stands for the supervisor in events.
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// Whether its children are instances of a template.
    pub fn is_simple(&self) -> bool {
        self.simple
    }

    /// Learns of its end, now or later, any number of times.
    pub fn exit(&self) -> &exit::Watch {
        &self.exit
    }

    /// Adds a child at the end, and waits until it has started.
    ///
    /// # Errors
    ///
    /// Where the spec is not valid here, the id is taken, or the child cannot be started: then it is not added.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<ChildInfo, CallError> {
        self.ask_child(Ask::Start(spec)).await
    }

    /// Starts another instance of the template, from the template's own blueprint or another one.
    ///
    /// # Errors
    ///
    /// Where the supervisor has no template, or the instance cannot be started.
    pub async fn start_instance(&self, from: Option<Blueprint>) -> Result<ChildInfo, CallError> {
        self.ask_child(Ask::StartInstance(from)).await
    }

    /// Stops a child, or takes its restart back, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// Where there is no such child.
    pub async fn terminate_child(&self, which: Which) -> Result<(), CallError> {
        self.ask(Ask::Terminate(which)).await.map(drop)
    }

    /// Starts a child that has ended, and waits until it has started.
    ///
    /// # Errors
    ///
    /// Where there is no such child, it runs, or it cannot be started.
    pub async fn restart_child(&self, id: ChildId) -> Result<ChildInfo, CallError> {
        self.ask_child(Ask::Restart(id)).await
    }

    /// Forgets the spec of a child that has ended.
    ///
    /// # Errors
    ///
    /// Where there is no such child, or it runs.
    pub async fn delete_child(&self, id: ChildId) -> Result<(), CallError> {
        self.ask(Ask::Delete(id)).await.map(drop)
    }

    /// The children, in the order of their start. Answered at once, whatever the supervisor is doing.
    ///
    /// # Errors
    ///
    /// Where the supervisor has ended.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, CallError> {
        match self.ask(Ask::Children).await? {
            Told::Children(children) => Ok(children),
            _ => Err(CallError::Ended),
        }
    }

    /// How many children there are. Answered at once, whatever the supervisor is doing.
    ///
    /// # Errors
    ///
    /// Where the supervisor has ended.
    pub async fn count_children(&self) -> Result<Counts, CallError> {
        match self.ask(Ask::Count).await? {
            Told::Counts(counts) => Ok(counts),
            _ => Err(CallError::Ended),
        }
    }

    /// Ends its children in reverse order, then the supervisor, with `shutdown`, and waits for the end. Cancel safe:
    /// it ends all the same.
    pub async fn stop(&self) -> Reason {
        self.inbox.tell(Tell::Stop);
        self.exit.wait().await
    }

    async fn ask_child(&self, ask: Ask) -> Result<ChildInfo, CallError> {
        match self.ask(ask).await? {
            Told::Child(child) => Ok(child),
            _ => Err(CallError::Ended),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Told, CallError> {
        self.inbox.ask(ask).await
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorHandle").field("id", &self.id).field("exit", &self.exit).finish_non_exhaustive()
    }
}
