//! Strategies and restart kinds: who is started again when one of three children ends.

use ww_core::supervisor::{Counts, Options, Restart, Strategy};

use super::*;

/// How many lives `a`, `b` and `c` have had when as many have begun as are expected.
async fn after_the_end_of_b(strategy: Strategy, restart: Restart, how: &'static str, expected: [u32; 3]) -> [u32; 3] {
    let executor = executor();
    let children = ["a", "b", "c"].map(|id| actor(id).restart(if id == "b" { restart } else { Restart::Permanent }));
    let supervision = children.into_iter().fold(Supervision::new(Options::new(strategy)), Supervision::child);
    let supervisor = soon(executor.supervisor(Owner::Node, supervision)).await.expect("it starts");
    let slots = [slot(&supervisor, "a").await, slot(&supervisor, "b").await, slot(&supervisor, "c").await];
    let mut events = executor.directory().events().listen();
    crash(&process(&supervisor, "b").await, how).await;
    for _ in 0..expected.iter().sum::<u32>() - 3 {
        let ours = |id| slots.iter().any(|slot| slot.id() == id);
        until(&mut events, |event| matches!(event, Event::Started { slot, .. } if ours(*slot))).await;
    }
    for (slot, id) in slots.iter().zip(["a", "b", "c"]) {
        if id != "b" || expected[1] > 1 {
            // The one that has begun last may not serve yet.
            ask(slot, "hello").await.unwrap_or_else(|error| panic!("{id}: {error}"));
        }
    }
    let lives = [&slots[0], &slots[1], &slots[2]].map(Slot::incarnations);
    assert_eq!(soon(supervisor.stop()).await, Reason::Shutdown);
    lives
}

#[tokio::test]
async fn strategies_and_restart_kinds_say_who_is_started_again() {
    use {Restart::*, Strategy::*};
    // How `b` of `a`, `b` and `c` ends, and the number of lives that each has then.
    let table = [
        (OneForOne, Permanent, "t", [1, 2, 1]),
        (OneForOne, Permanent, "x", [1, 2, 1]),
        (OneForOne, Transient, "e", [1, 2, 1]),
        (OneForOne, Transient, "x", [1, 1, 1]),
        (OneForOne, Temporary, "t", [1, 1, 1]),
        (OneForAll, Permanent, "x", [2, 2, 2]),
        (OneForAll, Transient, "t", [2, 2, 2]),
        (OneForAll, Transient, "x", [1, 1, 1]),
        (OneForAll, Temporary, "t", [1, 1, 1]),
        (RestForOne, Permanent, "e", [1, 2, 2]),
        (RestForOne, Transient, "x", [1, 1, 1]),
        (RestForOne, Temporary, "e", [1, 1, 1]),
    ];
    for (strategy, restart, how, expected) in table {
        let lives = after_the_end_of_b(strategy, restart, how, expected).await;
        assert_eq!(lives, expected, "{strategy:?}, {restart:?}, {how}");
    }
}

#[tokio::test]
async fn a_template_has_instances_that_are_restarted_and_terminated_one_by_one() {
    let executor = executor();
    let supervision = Supervision::simple_one_for_one(actor("worker")).intensity(2, Duration::from_secs(60));
    let pool = soon(executor.supervisor(Owner::Node, supervision)).await.expect("it starts");
    let mut slots = Vec::new();
    for _ in 0..3 {
        let started = soon(pool.start_instance(None)).await.expect("there is room");
        let ChildStatus::Running(Child::Cell(process)) = started.status else { panic!("an instance is a cell") };
        assert_eq!(started.slot, Some(process.cell().slot().id()));
        slots.push(process.cell().slot().clone());
    }
    let first = soon(pool.which_children()).await.expect("it runs").remove(0);
    let ChildStatus::Running(Child::Cell(first)) = first.status else { panic!("it runs") };
    crash(&first, "t").await;
    assert_eq!(ask(&slots[0], "n").await, Ok("1".into()), "a new incarnation");
    assert_eq!([slots[0].incarnations(), slots[1].incarnations()], [2, 1]);
    soon(pool.terminate_child(Which::Instance(slots[1].id()))).await.expect("it is there");
    assert!(matches!(ask(&slots[1], "n").await, Err(Failure::Refused(_))), "its slot is gone");
    let counts = soon(pool.count_children()).await.expect("it runs");
    assert_eq!(counts, Counts { specs: 1, active: 2, supervisors: 0, workers: 2 });
    let refused = soon(pool.terminate_child(Which::Id(child_id("worker")))).await;
    assert_eq!(refused, Err(CallError::Refused(machine::Error::SimpleOneForOne)));
    soon(pool.stop()).await;
}

/// The supervisor that is the only child of another.
async fn inner(outer: &SupervisorHandle) -> SupervisorHandle {
    let child = soon(outer.which_children()).await.expect("it runs").remove(0);
    match child.status {
        ChildStatus::Running(Child::Supervisor(inner)) => inner,
        other => panic!("the inner supervisor is {other:?}"),
    }
}

#[tokio::test]
async fn one_restart_too_many_ends_the_supervisor_and_its_own_decides() {
    let executor = executor();
    let tree = Supervision::one_for_one().child(actor("worker"));
    let tree = Supervision::one_for_one().child(crate::supervisor("inner", tree).expect("an id"));
    let outer = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let first = inner(&outer).await;
    let mut events = executor.directory().events().listen();
    let worker = process(&first, "worker").await;
    let slot = worker.cell().slot().clone();
    crash(&worker, "t").await;
    ask(&slot, "t").await.expect_err("the second one traps as well");
    assert_eq!(soon(first.exit().wait()).await, Reason::Shutdown, "it gives up");
    assert!(matches!(ask(&slot, "n").await, Err(Failure::Refused(_) | Failure::Ended(_))), "the slot ends with it");

    let (of_worker, of_inner) = (slot.id(), first.slot());
    let expected = [
        "the worker ends",
        "it is restarted",
        "it has started",
        "the worker ends",
        "its supervisor gives up",
        "its supervisor ends",
        "its supervisor is restarted",
    ];
    let mut story = Vec::new();
    while story.len() < expected.len() {
        story.push(match until(&mut events, |_| true).await {
            Event::Exited { slot, .. } if slot == of_worker => "the worker ends",
            Event::Restarting { slot, count: 1, .. } if slot == of_worker => "it is restarted",
            Event::Started { slot, .. } if slot == of_worker => "it has started",
            Event::Escalated { slot, .. } if slot == of_inner => "its supervisor gives up",
            Event::Exited { slot, .. } if slot == of_inner => "its supervisor ends",
            Event::Restarting { slot, count: 1, .. } if slot == of_inner => "its supervisor is restarted",
            _ => continue,
        });
    }
    assert_eq!(story, expected);
    // Answered when the restart is complete: what concerns the same child waits for it.
    let running = soon(outer.restart_child(child_id("inner"))).await.map(drop);
    assert_eq!(running, Err(CallError::Refused(machine::Error::Running)));
    assert_ne!(inner(&outer).await.id(), first.id());
    assert_eq!(soon(outer.stop()).await, Reason::Shutdown);
    soon(executor.quiet()).await;
}
