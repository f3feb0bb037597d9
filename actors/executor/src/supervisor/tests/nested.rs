//! Supervisors as others see them: their slots stay, their incarnations can be monitored and linked with.

use futures::{FutureExt, StreamExt};
use ww_core::links::{Exit, Signal};

use super::*;

/// The supervisor that runs as a child, or is about to.
async fn below(supervisor: &SupervisorHandle, id: &str) -> SupervisorHandle {
    let running = soon(supervisor.restart_child(child_id(id))).await.map(drop);
    assert_eq!(running, Err(CallError::Refused(machine::Error::Running)), "{id}");
    let children = soon(supervisor.which_children()).await.expect("it runs");
    let child = children.into_iter().find(|child| child.id == Some(child_id(id))).expect("there is such a child");
    match child.status {
        ChildStatus::Running(Child::Supervisor(below)) => below,
        other => panic!("{id} is {other:?}"),
    }
}

#[tokio::test]
async fn the_slot_of_a_supervisor_stays_and_its_incarnation_ends() {
    let executor = executor();
    let directory = executor.directory();
    let name = Name::new("nested-inner").expect("a name");
    let inner = Supervision::one_for_one().intensity(0, Duration::from_secs(5)).named(name.clone()).child(actor("a"));
    let tree = Supervision::one_for_one().child(crate::supervisor("inner", inner).expect("an id"));
    let tree = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let first = below(&tree, "inner").await;
    assert_eq!(directory.names().whereis(&name), Some(first.id()));

    let (watcher, mut notices) = directory.enter();
    let monitor = watcher.monitor(first.id()).expect("there is room");
    assert!(notices.next().now_or_never().is_none(), "it lives");
    crash(&process(&first, "a").await, "t").await;
    let down = Signal::Down { monitor, cell: first.id(), reason: Reason::Shutdown };
    assert_eq!(soon(notices.next()).await, Some(down), "one restart too many: it gave up");
    assert_eq!(soon(first.exit().wait()).await, Reason::Shutdown);

    let second = below(&tree, "inner").await;
    assert_ne!(second.id(), first.id(), "another incarnation");
    assert_eq!(second.slot(), first.slot(), "in the same slot");
    assert_eq!(directory.names().whereis(&name), Some(second.id()), "which has the name");
    let slot = directory.slot(second.slot()).expect("it is there");
    assert_eq!((slot.occupant(), slot.incarnations()), (Some(second.id()), 2));
    let monitor = watcher.monitor(first.id()).expect("there is room");
    let down = Signal::Down { monitor, cell: first.id(), reason: Reason::NoProcess };
    assert_eq!(soon(notices.next()).await, Some(down), "the first is not there any more");

    soon(tree.stop()).await;
    assert_eq!(directory.names().owner(&name), None, "the slot has ended");
    assert!(directory.slot(second.slot()).is_none());
    watcher.end(&Reason::Normal);
}

#[tokio::test]
async fn an_instance_that_is_a_supervisor_is_known_by_its_slot_after_a_restart() {
    let executor = executor();
    let inner = Supervision::one_for_one().intensity(0, Duration::from_secs(5)).child(actor("a"));
    let template = crate::supervisor("inner", inner).expect("an id");
    let pool = soon(executor.supervisor(Owner::Node, Supervision::simple_one_for_one(template))).await;
    let pool = pool.expect("it starts");
    let started = soon(pool.start_instance(None)).await.expect("it starts");
    let ChildStatus::Running(Child::Supervisor(first)) = started.status else { panic!("{started:?}") };
    let mut events = executor.directory().events().listen();
    crash(&process(&first, "a").await, "t").await;
    until(&mut events, |event| matches!(event, Event::Started { slot, .. } if *slot == first.slot())).await;
    let slot = started.slot.expect("it has one");
    soon(pool.terminate_child(Which::Instance(slot))).await.expect("it is known");
    assert_eq!(soon(pool.which_children()).await.expect("it runs").len(), 0);
    soon(pool.stop()).await;
}

#[tokio::test]
async fn exit_signals_of_strangers_are_nothing_to_a_supervisor_and_a_kill_is_its_end() {
    let executor = executor();
    let directory = executor.directory();
    let tree = Supervision::one_for_one().child(actor("a"));
    let tree = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let cell = process(&tree, "a").await;
    let [(stranger, _s), (linked, _l)] = [(); 2].map(|()| directory.enter());
    linked.link(tree.id()).expect("there is room");
    stranger.link(tree.id()).expect("there is room");
    assert!(stranger.signal(tree.id(), Exit::With(Reason::Shutdown)));
    stranger.end(&Reason::Exit(3));
    assert_eq!(soon(tree.count_children()).await.expect("it runs").active, 1, "it traps exits");
    assert!(linked.signal(tree.id(), Exit::Kill));
    let reason = soon(linked.exit().wait()).await;
    assert_eq!(reason, Reason::Link { cell: tree.id(), reason: Arc::new(Reason::Killed) });
    assert_eq!(soon(tree.exit().wait()).await, Reason::Killed);
    assert_eq!(soon(cell.exit().wait()).await, Reason::Killed, "and no orphan is left");
    soon(executor.quiet()).await;
}
