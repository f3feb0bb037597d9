//! Cells whose program is not there yet: they are seen, found by their names and sent to, and a start that fails is told.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use ww_cell::{Cell, Failure, Mode, Phase};
use ww_core::{Limits, Name, exit::Reason};

use crate::{
    Executor, Owner, Process, Serving, SpawnError, Spec, Supervision, cell,
    fixture::{ACTOR, ECHO, House, owner, spec, unseen},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes far too long")
}

fn named(name: &'static str, wasm: impl Into<Bytes>) -> (Name, Spec) {
    let name = Name::new(name).expect("a name");
    (name.clone(), Spec { names: vec![name], wasm: wasm.into(), ..spec(ECHO) })
}

/// The cell behind a name, once its start was asked for.
async fn announced(executor: &Executor, name: &Name) -> Cell {
    let directory = executor.directory();
    let seen = async {
        loop {
            if let Some(cell) = directory.names().whereis(name).and_then(|id| directory.cell(id)) {
                return cell;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(seen).await
}

async fn ask(cell: &Cell, timeout: Option<Duration>) -> Result<Bytes, Failure> {
    soon(cell.ask(cell.envelope(timeout), "hello")).await
}

/// A future that has begun, and is not done.
fn begun<T>(future: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
    let mut future = Box::pin(future);
    assert!(future.as_mut().now_or_never().is_none(), "it waits");
    future
}

#[tokio::test]
async fn messages_wait_for_a_cell_whose_program_is_compiled() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let (name, spec) = named("start-spawned", spec(&unseen(ECHO)).wasm);
    let compiler = house.hold_compiler();
    let start = executor.spawn(Owner::Node, spec, Serving::new(Mode::Sync));
    let sending = async {
        let cell = announced(&executor, &name).await;
        assert_eq!(cell.phase(), Phase::Compiling);
        assert!(executor.directory().cells().iter().any(|listed| listed.id() == cell.id()), "it is listed");
        assert_eq!(ask(&cell, Some(Duration::ZERO)).await, Err(Failure::Timeout), "no longer than the deadline");
        let asking = begun(ask(&cell, None));
        drop(compiler);
        (cell.id(), asking.await)
    };
    let (started, (id, answer)) = tokio::join!(soon(start), sending);
    let process = started.expect("a program");
    assert_eq!((process.id(), process.cell().phase(), answer), (id, Phase::Running, Ok("hello".into())));
}

#[tokio::test]
async fn the_child_of_a_supervisor_has_its_name_before_its_program() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let (name, spec) = named("start-supervised", spec(&unseen(ACTOR)).wasm);
    let compiler = house.hold_compiler();
    let child = cell("a", spec, Serving::new(Mode::Async)).expect("an id");
    let start = executor.supervisor(Owner::Node, Supervision::one_for_one().child(child));
    let sending = async {
        let cell = announced(&executor, &name).await;
        assert_eq!(cell.phase(), Phase::Compiling);
        let asking = begun(ask(&cell, None));
        drop(compiler);
        asking.await
    };
    let (supervisor, answer) = tokio::join!(soon(start), sending);
    assert_eq!(answer, Ok("hello".into()));
    soon(supervisor.expect("it starts").stop()).await;
}

#[tokio::test]
async fn senders_are_told_why_a_cell_did_not_start() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let damaged = Bytes::from_static(b"\0asm\x01\0\0\0\xff");
    let no_poll = spec(&unseen(ECHO)).wasm;
    for (name, wasm, why) in [("start-damaged", damaged, "not a valid"), ("start-no-poll", no_poll, "exports")] {
        let compiler = house.hold_compiler();
        let (name, spec) = named(name, wasm);
        let start = executor.spawn(Owner::Node, spec, Serving::new(Mode::Async));
        let sending = async {
            let cell = announced(&executor, &name).await;
            let asking = begun(ask(&cell, None));
            drop(compiler);
            (asking.await, cell)
        };
        let (refused, (answer, cell)) = tokio::join!(soon(start), sending);
        assert!(refused.is_err(), "{name}");
        let Err(Failure::Ended(reason @ Reason::StartFailed(_))) = answer else { panic!("{name}: {answer:?}") };
        assert!(reason.to_string().contains(why), "{reason}");
        assert_eq!(executor.directory().names().owner(&name), None, "the name is free");
        let ended = executor.directory().cell_or_ended(cell.id()).expect("it is among the last that ended");
        assert_eq!(ended.exit().reason(), Some(reason));
    }
}

#[tokio::test]
async fn a_cell_that_is_killed_while_its_program_is_compiled_ends_at_once() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let (name, spec) = named("start-killed", spec(&unseen(ECHO)).wasm);
    let compiler = house.hold_compiler();
    let start = executor.spawn(Owner::Node, spec, Serving::new(Mode::Sync));
    let killing = async { soon(Process::of(announced(&executor, &name).await).kill()).await };
    let (refused, reason) = tokio::join!(soon(start), killing);
    let refused = refused.map(drop);
    assert!(matches!(refused, Err(SpawnError::Cancelled(Reason::Killed))), "{refused:?}");
    assert_eq!(reason, Reason::Killed);
    drop(compiler);
    soon(executor.quiet()).await;
}

#[test]
fn what_a_stopping_node_does_not_start_was_shut_down() {
    assert_eq!(SpawnError::Stopped.reason(), Reason::Shutdown);
}

#[tokio::test]
async fn an_owner_that_learns_of_an_end_finds_the_place_and_the_name_free() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let limits = Limits { children: 1, ..Limits::default() };
    let (owner, _streams) = owner(&executor, limits).await;
    let (name, first) = named("start-again", spec(&unseen(ECHO)).wasm);
    let compiler = house.hold_compiler();
    let start = executor.spawn(Owner::Cell(owner.id()), first.clone(), Serving::new(Mode::Sync));
    let again = async {
        let cell = announced(&executor, &name).await;
        cell.stop(Reason::Killed);
        soon(cell.exit().wait()).await;
        [begun(executor.spawn(Owner::Cell(owner.id()), first.clone(), Serving::new(Mode::Sync)))]
    };
    let (refused, [again]) = tokio::join!(soon(start), again);
    let refused = refused.map(drop);
    assert!(matches!(refused, Err(SpawnError::Cancelled(Reason::Killed))), "{refused:?}");
    drop(compiler);
    assert!(soon(again).await.is_ok());
    soon(owner.kill()).await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_told_before_the_program_is_compiled() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let (_, first) = named("start-taken", spec(&unseen(ECHO)).wasm);
    let _process = soon(executor.spawn(Owner::Node, first, Serving::new(Mode::Sync))).await.expect("a program");
    let compiler = house.hold_compiler();
    let (_, second) = named("start-taken", spec(&unseen(ECHO)).wasm);
    let refused = soon(executor.spawn(Owner::Node, second, Serving::new(Mode::Sync))).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Refused(_))), "{refused:?}");
    drop(compiler);
}
