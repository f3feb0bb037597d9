//! Slots: what stays when an incarnation ends, and what does not.

use ww_core::{account::Holder, events::Event};

use super::*;
use crate::message::Sender;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_incarnation_serves_what_the_last_one_had_not_begun() {
    let runtime = runtime();
    let program = program(&runtime, COUNTER).await;
    for mode in [Mode::Async, Mode::Sync] {
        let slot = runtime.directory().new_slot(8, Overflow::Wait, 1_000, runtime.account());
        let name = Name::new(format!("{mode:?}").to_lowercase()).expect("a name");
        runtime.directory().name_slot(&slot, name.clone()).expect("it is free");
        let start = || {
            let started =
                runtime.spawn_in(slot.clone(), next_id(), program.clone(), spec(mode), stderr(), Stop::default());
            started.expect("both modes are exported")
        };
        let first = start();
        assert_eq!(runtime.directory().names().whereis(&name), Some(first.id()));
        assert!(ask(&first, "a").await.is_ok());
        first.stop(Reason::Killed);
        assert_eq!(first.exit().wait().await, Reason::Killed);
        assert_eq!(runtime.directory().names().whereis(&name), None, "nobody lives there");

        let waiting = slot.ask(slot.envelope(None), "b");
        let next = async {
            while slot.mailbox().0 == 0 {
                tokio::task::yield_now().await;
            }
            start()
        };
        let (answered, second) = futures::join!(waiting, next);
        assert_eq!(answered.as_deref(), Ok(&b"1b"[..]), "{mode:?}: a new instance");
        assert_eq!(ask(&first, "c").await, Err(Failure::Refused(Refused::Ended(Reason::Killed))));
        assert!(ask(&second, "c").await.is_ok());
        assert_eq!(slot.incarnations(), 2);
        assert_eq!(runtime.directory().find(&name).map(|found| found.id()), Some(slot.id()));

        let late = slot.envelope(None);
        second.stop(Reason::Shutdown);
        second.exit().wait().await;
        runtime.directory().remove_slot(&slot, &Reason::Shutdown);
        assert_eq!(slot.ask(late, "d").await, Err(Failure::Refused(Refused::Ended(Reason::Shutdown))));
        assert!(runtime.directory().find(&name).is_none(), "its name is free");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_slot_refuses_until_somebody_moves_in_again() {
    let runtime = runtime();
    let program = program(&runtime, COUNTER).await;
    let slot = runtime.directory().new_slot(8, Overflow::Wait, 1_000, runtime.account());
    let waiting = slot.ask(slot.envelope(None), "a");
    let closing = async { slot.close(&Reason::Exit(3)) };
    assert_eq!(futures::join!(waiting, closing).0, Err(Failure::Ended(Reason::Exit(3))));
    assert_eq!(slot.ask(slot.envelope(None), "b").await, Err(Failure::Refused(Refused::Ended(Reason::Exit(3)))));
    let started = runtime.spawn_in(slot.clone(), next_id(), program, spec(Mode::Async), stderr(), Stop::default());
    started.expect("it polls");
    assert_eq!(slot.ask(slot.envelope(None), "c").await.as_deref(), Ok(&b"1c"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_message_in_progress_fails_with_the_reason() {
    let runtime = runtime();
    let program = program(&runtime, COUNTER).await;
    let slot = runtime.directory().new_slot(8, Overflow::Wait, 1_000, runtime.account());
    let cell = runtime.spawn_in(slot.clone(), next_id(), program, spec(Mode::Async), stderr(), Stop::default());
    let cell = cell.expect("it polls");
    let failed = slot.ask(slot.envelope(None), "t").await.expect_err("it traps");
    let reason = cell.exit().wait().await;
    assert_eq!(failed, Failure::Ended(reason.clone()));
    assert!(matches!(reason, Reason::Trap(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_is_refused_and_leaves_nothing_behind() {
    let runtime = runtime();
    let program = program(&runtime, COUNTER).await;
    let name = Name::new("store").expect("a name");
    let named = || Spec { names: vec![name.clone()], ..spec(Mode::Async) };
    let spawn = || runtime.spawn(next_id(), program.clone(), named(), stderr(), Stop::default());
    let first = spawn().expect("it is free");
    let error = spawn().expect_err("it is taken");
    assert!(matches!(error, Refusal::Name(registry::Error::Taken(..))), "{error}");
    assert_eq!(runtime.directory().cells().len(), 1);
    first.stop(Reason::Shutdown);
    first.exit().wait().await;
    spawn().expect("it is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_listens_hears_of_starts_names_and_ends() {
    let runtime = runtime();
    let program = program(&runtime, COUNTER).await;
    let mut events = runtime.directory().events().listen();
    let name = Name::new("store").expect("a name");
    let spec = Spec { names: vec![name.clone()], ..spec(Mode::Async) };
    let cell = runtime.spawn(next_id(), program, spec, stderr(), Stop::default()).expect("the name is free");
    cell.stop(Reason::Killed);
    cell.exit().wait().await;
    let (slot, id) = (cell.slot().id(), cell.id());
    let expected = [
        Event::Registered { name: name.clone(), cell: None },
        Event::Started { slot, cell: id },
        Event::Unregistered { name },
        Event::Exited { slot, cell: id, reason: Reason::Killed },
    ];
    for event in expected {
        assert_eq!(events.next().await, Some(event));
    }
}

#[tokio::test]
async fn what_waits_for_a_cell_is_charged_to_its_owner_and_a_flood_leaves_room_for_others() {
    let account = Account::root(Holder::Node, 8 << 20);
    let slot = runtime().directory().new_slot(1_000, Overflow::Reject, 1 << 20, &account);
    let envelope = |sender| Envelope { sender: Sender::Cell(CellId::new(sender)), ..slot.envelope(None) };
    let mut taken = 0;
    while slot.send(envelope(1), vec![0; 100_000]).await.is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 10, "half of a quarter");
    assert!((1_000_000..1_010_000).contains(&account.held()));
    assert_eq!(slot.send(envelope(2), vec![0; 100_000]).await, Ok(()));
    slot.close(&Reason::Killed);
    assert_eq!(account.held(), 0);
    runtime().directory().remove_slot(&slot, &Reason::Killed);
}
