//! The cell of an image that serves messages, under a supervisor that never gives up.
//!
//! Whatever ends the cell may have come from a peer, so that no number of ends may be too many. What limits restarts is
//! the backoff, and what limits a peer is that [it is kept out](crate::gate) after its message has ended the cell.

use std::{fmt, time::Duration};

use ww_cell::{Cell, Slot};
use ww_core::{
    exit,
    supervisor::{AutoShutdown, Backoff, InvalidSpec, MAX_INTENSITY, Restart},
};
use ww_executor::{
    Child, ChildStatus, Executor, Owner, Serving, SpawnError, Spec, Supervision, SupervisorHandle, cell,
};

/// How long a cell that ended waits for its restart: short at first, so that one bad message is hardly noticed, and never
/// so long that it looks dead.
pub const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(10), factor: 2.0, cap: Duration::from_secs(1), jitter: 0.1 };

/// The window of the supervisor: with the shortest wait of [`BACKOFF`], [`MAX_INTENSITY`] restarts do not fit into it.
const PERIOD: Duration = Duration::from_secs(1);

/// Names the only child.
const ID: &str = "image";

/// A supervised cell. It lives until it ends for good, or the node stops.
pub struct Supervised {
    supervisor: SupervisorHandle,
    cell: Cell,
}

impl Supervised {
    /// Starts a cell that belongs to the node.
    pub(crate) async fn start(
        executor: &Executor,
        spec: Spec,
        serving: Serving,
        restart: Restart,
    ) -> Result<Self, SpawnError> {
        // Before there is a supervisor, so that what is wrong with the program is told as it is.
        let limits = spec.limits.clone().unwrap_or_default();
        let program = executor.load(spec.wasm.clone(), &limits).await?;
        serving.mode.check(program.exports()).map_err(ww_cell::cell::Refusal::from)?;
        let spec = Spec { program: Some(program), ..spec };
        let invalid = |why: InvalidSpec| SpawnError::NotStarted(exit::Reason::start_failed(why));
        let mut child = cell(ID, spec, serving).map_err(invalid)?.restart(restart).backoff(BACKOFF);
        let mut supervision = Supervision::one_for_one().intensity(MAX_INTENSITY, PERIOD);
        if restart != Restart::Permanent {
            // Nothing is left to supervise when it has ended for good.
            child = child.significant();
            supervision = supervision.auto_shutdown(AutoShutdown::AnySignificant);
        }
        let supervisor = executor.supervisor(Owner::Node, supervision.child(child)).await?;
        let children = supervisor.which_children().await.map_err(|_| SpawnError::Stopped)?;
        match children.into_iter().next().map(|child| child.status) {
            Some(ChildStatus::Running(Child::Cell(process))) => Ok(Self { cell: process.cell().clone(), supervisor }),
            // It has ended since.
            _ => Err(SpawnError::NotStarted(exit::Reason::start_failed("it ended as soon as it had started"))),
        }
    }

    /// The incarnation that was started first.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Where the cell lives, whichever incarnation that is.
    pub fn slot(&self) -> &Slot {
        self.cell.slot()
    }

    /// Its supervisor.
    pub fn supervisor(&self) -> &SupervisorHandle {
        &self.supervisor
    }

    /// Learns of the end for good: why the last incarnation ended.
    pub fn exit(&self) -> &exit::Watch {
        self.slot().exit()
    }
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("supervisor", &self.supervisor).finish_non_exhaustive()
    }
}
