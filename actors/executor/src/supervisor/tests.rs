//! Supervisors with real cells.

mod clock;
mod lives;
mod nested;
mod storm;
mod strategies;

use std::time::Duration;

use bytes::Bytes;
use ww_cell::{Failure, Mode, Slot};
use ww_core::{
    Limits, Name,
    events::{Event, Listener},
    supervisor::ChildId,
};

use super::*;
use crate::{
    ChildSpec, Executor, Owner, Process, Serving, SpawnError, Spec, Supervision, cell,
    fixture::{ACTOR, House, spec},
};

/// Longer than anything here takes on a busy machine: what is still missing then will never come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes far too long")
}

fn executor() -> Executor {
    House::shared().executor().0
}

fn child_id(id: &str) -> ChildId {
    ChildId::new(id).expect("an id")
}

/// What every cell here may use: little, so that there is room for many.
fn small() -> Limits {
    Limits { memory: 1 << 20, ..Limits::default() }
}

fn program(wat: &str) -> Spec {
    Spec { limits: Some(small()), ..spec(wat) }
}

/// A permanent cell that answers messages.
fn actor(id: &str) -> ChildSpec {
    cell(id, program(ACTOR), Serving::new(Mode::Async)).expect("an id")
}

/// The same under a name.
fn named(id: &str, name: &Name) -> ChildSpec {
    let spec = Spec { names: vec![name.clone()], ..program(ACTOR) };
    cell(id, spec, Serving::new(Mode::Async)).expect("an id")
}

/// The cell that runs as a child, or is about to.
async fn process(supervisor: &SupervisorHandle, id: &str) -> Process {
    // Refused when its turn has come: after whatever is in progress with the child.
    let running = soon(supervisor.restart_child(child_id(id))).await.map(drop);
    assert_eq!(running, Err(CallError::Refused(machine::Error::Running)), "{id}");
    let children = soon(supervisor.which_children()).await.expect("it runs");
    let child = children.into_iter().find(|child| child.id == Some(child_id(id))).expect("there is such a child");
    match child.status {
        ChildStatus::Running(Child::Cell(process)) => process,
        other => panic!("{id} is {other:?}"),
    }
}

/// Where the cell of a child lives.
async fn slot(supervisor: &SupervisorHandle, id: &str) -> Slot {
    process(supervisor, id).await.cell().slot().clone()
}

async fn ask(slot: &Slot, body: &'static str) -> Result<Bytes, Failure> {
    soon(slot.ask(slot.envelope(None), body)).await
}

/// Lets a cell end, and waits until its supervisor has been told.
async fn crash(process: &Process, body: &'static str) -> Reason {
    ask(process.cell().slot(), body).await.expect_err("the cell ends within the message");
    // Whoever waits is told after the supervisor.
    soon(process.exit().wait()).await
}

/// Waits for an event.
async fn until(events: &mut Listener, mut wanted: impl FnMut(&Event) -> bool) -> Event {
    soon(async {
        loop {
            let event = events.next().await.expect("the directory lives");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}
