//! The cell of an image under a supervisor that never gives up.
//!
//! Whatever ends a cell that serves messages may have come from a peer, so that no number of ends may be too many. What
//! limits restarts is the backoff, and what limits a peer is that [it is kept out](crate::gate) after its message has ended
//! the cell. A program on the terminal that wants to be started again gets the same: its image knows when it is done.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use tokio::time::timeout;
use ww_cell::{Cell, Directory, Slot, cell::Refusal};
use ww_core::{
    Limits,
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

/// How long the load of a program may go on once its cell is gone: what is wrong with the program ends both at the same
/// time, and the load says it best.
const MOMENT: Duration = Duration::from_millis(200);

/// Names the only child.
const ID: &str = "image";

/// A supervised cell. It lives until it ends for good, or the node stops.
pub struct Supervised {
    supervisor: SupervisorHandle,
    cell: Cell,
    directory: Directory,
}

impl Supervised {
    /// Starts a cell that belongs to the node. Its slot is `furnished` first, with what stays for as long as it does; from
    /// then on the cell is seen, and messages wait for it while its program is compiled. Not cancel safe: the start goes on.
    pub(crate) async fn start<T, E: From<SpawnError>>(
        executor: &Executor,
        spec: Spec,
        work: Work,
        restart: Restart,
        furnish: impl FnOnce(&Slot) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let limits = spec.limits.clone().unwrap_or_default();
        let directory = executor.directory().clone();
        // Known before anything starts: it may have ended for good as soon as it has started.
        let slot = work.new_slot(&directory, &limits, executor.account());
        let furnished = furnish(&slot).inspect_err(|_| {
            directory.remove_slot(&slot, &Reason::start_failed("what it was to be published as is taken"));
        })?;
        let blueprint = Arc::new(CellBlueprint::new(spec, work).in_slot(slot.clone()));
        // Besides its supervisor, so that what is wrong with the program is told as it is. It is compiled once.
        let (loaded, supervisor) = tokio::join!(
            Self::unless_gone(&slot, Self::load(executor, &blueprint, &limits)),
            Self::supervise(executor, Arc::clone(&blueprint), restart)
        );
        let started = match (loaded, supervisor) {
            (Ok(()), Ok(supervisor)) => match slot.occupant().and_then(|id| directory.cell_or_ended(id)) {
                Some(cell) => Ok(Self { supervisor, cell, directory: directory.clone() }),
                None => Err(SpawnError::NotStarted(Reason::start_failed("it ended as soon as it had started"))),
            },
            (Err(error), Ok(supervisor)) => {
                supervisor.stop().await;
                Err(error)
            }
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        };
        let started = started.inspect_err(|error| directory.remove_slot(&slot, &Reason::start_failed(error)))?;
        Ok((started, furnished))
    }

    /// What a load ends with as long as somebody may live in the slot: nobody waits for the program of one that was killed.
    async fn unless_gone(slot: &Slot, load: impl Future<Output = Result<(), SpawnError>>) -> Result<(), SpawnError> {
        let mut load = pin!(load);
        let reason = tokio::select! {
            biased;
            loaded = &mut load => return loaded,
            reason = slot.exit().wait() => reason,
        };
        timeout(MOMENT, load).await.unwrap_or(Err(SpawnError::NotStarted(reason)))
    }

    /// Loads the program for all incarnations, and checks that it does what it is for.
    async fn load(executor: &Executor, blueprint: &CellBlueprint, limits: &Limits) -> Result<(), SpawnError> {
        let program = executor.load(Owner::Node, blueprint.spec.wasm.clone(), limits).await?;
        let exports = program.exports();
        match &blueprint.work {
            Work::Serve(serving) => serving.mode.check(exports).map_err(Refusal::from)?,
            Work::Main(_) if !exports.run => return Err(SpawnError::NoMain(exports)),
            Work::Main(_) => {}
        }
        // One that somebody else has set is the same.
        blueprint.loaded.get_or_init(|| program);
        Ok(())
    }

    async fn supervise(
        executor: &Executor,
        blueprint: Arc<CellBlueprint>,
        restart: Restart,
    ) -> Result<SupervisorHandle, SpawnError> {
        let id = ChildId::new(ID).map_err(|why| SpawnError::NotStarted(Reason::start_failed(why)))?;
        let mut child = ChildSpec::worker(id, Blueprint::Cell(blueprint)).restart(restart).backoff(BACKOFF);
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

#[cfg(test)]
mod tests;
