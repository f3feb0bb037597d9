//! The cell of an image under a supervisor that never gives up.
//!
//! Whatever ends a cell that serves messages may have come from a peer, so that no number of ends may be too many. What
//! limits restarts is the backoff, and what limits a peer is that [it is kept out](crate::gate) after its message has ended
//! the cell. A program on the terminal that wants to be started again gets the same: its image knows when it is done.

use std::{fmt, sync::Arc, time::Duration};

use ww_cell::{Cell, Directory, Slot, cell::Refusal};
use ww_core::{
    exit::{self, Reason},
    supervisor::{AutoShutdown, Backoff, ChildId, MAX_INTENSITY, Restart},
};
use ww_executor::{
    Blueprint, CellBlueprint, ChildSpec, Executor, Owner, SpawnError, Spec, Supervision, SupervisorHandle, Work,
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
    directory: Directory,
}

impl Supervised {
    /// Starts a cell that belongs to the node.
    pub(crate) async fn start(
        executor: &Executor,
        spec: Spec,
        work: Work,
        restart: Restart,
    ) -> Result<Self, SpawnError> {
        // Before there is a supervisor, so that what is wrong with the program is told as it is.
        let limits = spec.limits.clone().unwrap_or_default();
        let program = executor.load(Owner::Node, spec.wasm.clone(), &limits).await?;
        match &work {
            Work::Serve(serving) => serving.mode.check(program.exports()).map_err(Refusal::from)?,
            Work::Main(_) if !program.exports().run => return Err(SpawnError::NoMain(program.exports())),
            Work::Main(_) => {}
        }
        let spec = Spec { program: Some(program), ..spec };
        let directory = executor.directory().clone();
        // Known before anything starts: it may have ended for good as soon as it has started.
        let slot = work.new_slot(&directory, &limits, executor.account());
        let started = Self::supervise(executor, spec, work, restart, slot.clone()).await;
        let supervisor = started.inspect_err(|error| directory.remove_slot(&slot, &Reason::start_failed(error)))?;
        match slot.occupant().and_then(|id| directory.cell_or_ended(id)) {
            Some(cell) => Ok(Self { supervisor, cell, directory }),
            None => Err(SpawnError::NotStarted(Reason::start_failed("it ended as soon as it had started"))),
        }
    }

    async fn supervise(
        executor: &Executor,
        spec: Spec,
        work: Work,
        restart: Restart,
        slot: Slot,
    ) -> Result<SupervisorHandle, SpawnError> {
        let id = ChildId::new(ID).map_err(|why| SpawnError::NotStarted(Reason::start_failed(why)))?;
        let cell = Blueprint::Cell(Arc::new(CellBlueprint { spec, work, slot: Some(slot) }));
        let mut child = ChildSpec::worker(id, cell).restart(restart).backoff(BACKOFF);
        let mut supervision = Supervision::one_for_one().intensity(MAX_INTENSITY, PERIOD);
        if restart != Restart::Permanent {
            // Nothing is left to supervise when it has ended for good.
            child = child.significant();
            supervision = supervision.auto_shutdown(AutoShutdown::AnySignificant);
        }
        executor.supervisor(Owner::Node, supervision.child(child)).await
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

    /// Lets the incarnation that lives end by itself, and starts no other. Cancel safe: it is started again then.
    pub async fn finish(&self) -> Reason {
        if let Some(cell) = self.slot().occupant().and_then(|id| self.directory.cell(id)) {
            cell.exit().wait().await;
        }
        self.shut_down().await
    }

    /// Ends it for good, with `shutdown` if it still runs, and waits for the end. Cancel safe.
    pub async fn shut_down(&self) -> Reason {
        self.supervisor.stop().await;
        self.exit().wait().await
    }
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("supervisor", &self.supervisor).finish_non_exhaustive()
    }
}
