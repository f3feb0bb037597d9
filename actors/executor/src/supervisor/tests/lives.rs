//! What stays and what goes when a new incarnation takes over, and who is told of an end.

use ww_cell::Stdio;
use ww_core::{exit::Limit, mailbox::Refused, supervisor::Restart};

use super::*;
use crate::{CellBlueprint, Work, fixture::owner};

fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

#[tokio::test]
async fn a_slot_keeps_messages_and_its_names_and_the_message_in_progress_fails() {
    let executor = executor();
    let (kept, taken) = (name("lives-kept"), name("lives-taken"));
    let tree = Supervision::one_for_one().child(named("a", &kept));
    let supervisor = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let first = process(&supervisor, "a").await;
    let slot = first.cell().slot().clone();
    let directory = executor.directory();
    let names = directory.names();
    directory.register(taken.clone(), first.id()).expect("nobody has it");
    assert_eq!([names.whereis(&kept), names.whereis(&taken)], [Some(first.id()); 2]);

    let (in_progress, waiting, also_waiting) = tokio::join!(ask(&slot, "t"), ask(&slot, "n"), ask(&slot, "n"));
    let Err(Failure::Ended(reason)) = in_progress else { panic!("{in_progress:?}") };
    assert!(matches!(reason, Reason::Trap(_)), "{reason}");
    assert_eq!((waiting, also_waiting), (Ok("1".into()), Ok("2".into())), "served by the next incarnation");

    let second = process(&supervisor, "a").await;
    assert_eq!(names.whereis(&kept), Some(second.id()), "the name of the spec stays");
    assert_eq!(names.owner(&taken), None, "the name that it took went with it");
    assert_eq!(soon(first.exit().wait()).await, reason, "a process is one incarnation");
    let gone = soon(first.cell().ask(first.cell().envelope(None), "n")).await;
    assert_eq!(gone, Err(Failure::Refused(Refused::Ended(reason))));

    soon(supervisor.stop()).await;
    assert_eq!(names.owner(&kept), None, "the slot has ended");
}

#[tokio::test]
async fn a_child_that_is_terminated_refuses_messages_until_it_is_restarted() {
    let executor = executor();
    let tree = Supervision::one_for_one().child(actor("a"));
    let supervisor = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let slot = slot(&supervisor, "a").await;
    soon(supervisor.terminate_child(Which::Id(child_id("a")))).await.expect("it runs");
    assert_eq!(ask(&slot, "n").await, Err(Failure::Refused(Refused::Ended(Reason::Shutdown))));
    let running = soon(supervisor.restart_child(child_id("a"))).await.expect("it is down");
    assert!(matches!(running.status, ChildStatus::Running(Child::Cell(_))), "{running:?}");
    assert_eq!(ask(&slot, "n").await, Ok("1".into()));
    let refused = soon(supervisor.delete_child(child_id("a"))).await;
    assert_eq!(refused, Err(CallError::Refused(machine::Error::Running)));
    soon(supervisor.terminate_child(Which::Id(child_id("a")))).await.expect("it runs");
    soon(supervisor.delete_child(child_id("a"))).await.expect("it is down");
    assert_eq!(soon(supervisor.which_children()).await.expect("it runs").len(), 0);
    assert!(executor.directory().slot(slot.id()).is_none());

    let added = soon(supervisor.start_child(actor("b"))).await.expect("the id is free");
    assert!(matches!(added.status, ChildStatus::Running(Child::Cell(_))), "{added:?}");
    let refused = soon(supervisor.start_child(actor("b"))).await.map(drop);
    assert!(matches!(refused, Err(CallError::Refused(machine::Error::AlreadyStarted(_)))), "{refused:?}");
    soon(supervisor.stop()).await;
    assert_eq!(soon(supervisor.which_children()).await.map(drop), Err(CallError::Ended));
}

#[tokio::test]
async fn a_first_child_that_cannot_start_takes_the_others_down_and_leaves_nothing() {
    let executor = executor();
    let (free, taken) = (name("lives-free"), name("lives-in-use"));
    let other = Supervision::one_for_one().child(named("holder", &taken));
    let other = soon(executor.supervisor(Owner::Node, other)).await.expect("it starts");
    let traps =
        r#"(module (memory (export "memory") 1) (func (export "poll")) (func $start unreachable) (start $start))"#;
    let child = |spec, mode| cell("b", spec, Serving::new(mode)).expect("an id");
    for second in [
        named("b", &taken),
        child(program(traps), Mode::Async),
        child(Spec { wasm: "nonsense".into(), ..program(ACTOR) }, Mode::Async),
        child(program(ACTOR), Mode::Sync),
    ] {
        let tree = Supervision::one_for_one().child(named("a", &free)).child(second).named(name("lives-tree"));
        let failed = soon(executor.supervisor(Owner::Node, tree)).await.map(drop);
        assert!(matches!(failed, Err(SpawnError::NotStarted(Reason::StartFailed(_)))), "{failed:?}");
        assert_eq!(executor.directory().names().owner(&free), None);
        assert_eq!(executor.directory().names().owner(&name("lives-tree")), None);
    }
    soon(other.stop()).await;
    soon(executor.quiet()).await;
}

#[tokio::test]
async fn the_cells_of_a_tree_end_in_reverse_order_with_their_owner() {
    let executor = executor();
    let (top, _streams) = owner(&executor, Limits::default()).await;
    let inner = Supervision::one_for_one().child(actor("b")).child(actor("c"));
    let tree = Supervision::one_for_one()
        .child(actor("a"))
        .child(crate::supervisor("inner", inner).expect("an id"))
        .child(actor("d"));
    let tree = soon(executor.supervisor(Owner::Cell(top.id()), tree)).await.expect("it starts");
    let ChildStatus::Running(Child::Supervisor(inner)) =
        soon(tree.which_children()).await.expect("it runs").remove(1).status
    else {
        panic!("the second child is a supervisor")
    };
    let mut ours = Vec::new();
    for (supervisor, id) in [(&tree, "a"), (&inner, "b"), (&inner, "c"), (&tree, "d")] {
        ours.push(slot(supervisor, id).await.id());
    }
    ours.extend([inner.slot(), tree.slot()]);
    let mut events = executor.directory().events().listen();
    top.kill().await;
    assert_eq!(soon(tree.exit().wait()).await, Reason::Shutdown);
    let mut order = Vec::new();
    while order.len() < ours.len() {
        let event =
            until(&mut events, |event| matches!(event, Event::Exited { slot, .. } if ours.contains(slot))).await;
        if let Event::Exited { slot, reason, .. } = event {
            assert_eq!(reason, Reason::Shutdown);
            order.extend(ours.iter().position(|ours| *ours == slot));
        }
    }
    assert_eq!(order, [3, 2, 1, 4, 0, 5], "d, then c, b and their supervisor, then a, then the root");
    soon(executor.quiet()).await;
}

#[tokio::test]
async fn supervisors_and_their_cells_count_against_the_limits_of_those_above() {
    let executor = executor();
    let limits = Limits { subtree_cells: 3, memory: 1 << 20, ..Limits::default() };
    let (top, _streams) = owner(&executor, limits).await;
    let tree = Supervision::one_for_one().child(actor("a"));
    let tree = soon(executor.supervisor(Owner::Cell(top.id()), tree)).await.expect("there is room for both");
    soon(tree.start_child(actor("b"))).await.expect("there is room");
    let refused = soon(tree.start_child(actor("c"))).await.map(drop);
    let Err(CallError::Refused(machine::Error::StartFailed(Reason::StartFailed(why)))) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("subtree-cells"), "{why}");
    let refused = soon(executor.supervisor(Owner::Cell(top.id()), Supervision::one_for_one())).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Full(_))), "{refused:?}");
    soon(executor.stop()).await;
    assert_eq!(tree.exit().reason(), Some(Reason::Shutdown), "the node ends what it owns");
    let refused = soon(executor.supervisor(Owner::Node, Supervision::one_for_one())).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Stopped)), "{refused:?}");
}

#[tokio::test]
async fn a_limit_that_ends_a_cell_is_the_reason_that_its_supervisor_sees() {
    let executor = executor();
    let limits = Limits { deadline: Some(Duration::from_millis(50)), ..small() };
    let spec = Spec { limits: Some(limits), ..program(ACTOR) };
    let child = cell("a", spec, Serving::new(Mode::Async)).expect("an id").restart(Restart::Transient);
    let tree = Supervision::one_for_one().child(child);
    let supervisor = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let first = process(&supervisor, "a").await;
    assert_eq!(crash(&first, "s").await, Reason::Limit(Limit::Deadline));
    assert_eq!(ask(first.cell().slot(), "n").await, Ok("1".into()), "an abnormal end: it is started again");
    soon(supervisor.stop()).await;
}

#[tokio::test]
async fn a_program_that_ends_at_once_has_started_and_is_restarted_by_how_it_ended() {
    let executor = executor();
    let returns = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    let traps = r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#;
    let start = async |wat, restart, intensity| {
        let id = executor.directory().next_id();
        let ((_in, stdin), (stdout, _out)) = (ww_cell::pipe::pipe(1), ww_cell::pipe::pipe(1));
        let stderr = ww_cell::Stderr::Tail(ww_cell::tail::tail(id).0);
        let work = Work::from(Stdio { stdin: stdin.into(), stdout: stdout.into(), stderr });
        let slot = work.new_slot(executor.directory(), &small(), executor.account());
        let blueprint = CellBlueprint::new(program(wat), work).in_slot(slot.clone());
        let child = ChildSpec::worker(child_id("a"), Blueprint::Cell(Arc::new(blueprint)));
        let tree = Supervision::one_for_one()
            .child(child.restart(restart).significant())
            .intensity(intensity, Duration::from_secs(60))
            .auto_shutdown(machine::AutoShutdown::AnySignificant);
        let supervisor = soon(executor.supervisor(Owner::Node, tree)).await.expect("its start is no failure");
        assert_eq!(soon(supervisor.exit().wait()).await, Reason::Shutdown);
        (slot.incarnations(), soon(slot.exit().wait()).await)
    };
    for _ in 0..50 {
        assert_eq!(start(returns, Restart::Transient, 3).await, (1, Reason::Normal), "it was done");
    }
    let (lives, _) = start(traps, Restart::Transient, 3).await;
    assert_eq!(lives, 4, "as often as it may");
    soon(executor.quiet()).await;
}
