//! Slots: what stays when an incarnation ends, and what does not.

use futures::FutureExt;
use ww_core::{account::Holder, events::Event};

use super::*;
use crate::{
    announced::Work,
    directory::{KEPT_ENDED, KEPT_NOT_STARTED},
    message::Sender,
};

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
async fn a_restart_is_counted_and_sent_to_before_its_program_is_there() {
    let runtime = runtime();
    let program = program(&runtime, COUNTER).await;
    let slot = runtime.directory().new_slot(8, Overflow::Wait, 1_000, runtime.account());
    let announce =
        || runtime.announce_in(slot.clone(), next_id(), spec(Mode::Async), Work::Serve(stderr()), Stop::default());
    let first = announce();
    assert_eq!((first.cell().phase(), first.cell().restarts()), (Phase::Compiling, 0));
    let first = first.start(program.clone());
    assert_eq!((ask(&first, "a").await.as_deref(), first.restarts()), (Ok("1a"), 0));
    first.stop(Reason::Killed);
    first.exit().wait().await;
    slot.close(&Reason::Killed);
    let second = announce();
    assert_eq!((second.cell().phase(), second.cell().restarts()), (Phase::Compiling, 1));
    let mut asking = Box::pin(slot.ask(slot.envelope(None), "b"));
    assert!(asking.as_mut().now_or_never().is_none(), "it waits");
    let second = second.start(program);
    assert_eq!((asking.await.as_deref(), second.restarts()), (Ok(&b"1b"[..]), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_that_does_not_start_has_no_name_any_more_when_its_place_is_freed_and_then_its_end_is_news() {
    let runtime = runtime();
    let (directory, name) = (runtime.directory(), Name::new("store").expect("a name"));
    let mut events = directory.events().listen();
    let named = Spec { names: vec![name.clone()], ..spec(Mode::Async) };
    let mut arriving = Box::pin(directory.arrival(&name));
    assert!(arriving.as_mut().now_or_never().is_none());
    let announced = runtime.announce(next_id(), named, Work::Serve(stderr()), Stop::default()).expect("it is free");
    let cell = announced.cell().clone();
    assert_eq!(arriving.await, cell.id());
    let (reason, mut freed) = (Reason::start_failed("no"), false);
    announced.withdraw(reason.clone(), || {
        assert_eq!((directory.names().owner(&name), cell.exit().reason()), (None, None));
        freed = true;
    });
    assert_eq!((freed, cell.exit().reason().as_ref()), (true, Some(&reason)));
    let expected = [
        Event::Registered { name: name.clone(), cell: None },
        Event::Unregistered { name },
        Event::StartFailed { slot: cell.slot().id(), reason },
    ];
    for event in expected {
        assert_eq!(events.next().await, Some(event));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_fail_do_not_push_out_what_has_ended() {
    let runtime = runtime();
    let program = program(&runtime, COUNTER).await;
    let directory = runtime.directory();
    let ended = runtime.spawn(next_id(), program, spec(Mode::Async), stderr(), Stop::default()).expect("it polls");
    assert!(ask(&ended, "a").await.is_ok());
    ended.stop(Reason::Killed);
    ended.exit().wait().await;
    let slot = directory.new_slot_not_served(&Account::unlimited());
    let fail = |slot: Option<&Slot>| {
        let (work, stop) = (Work::Serve(stderr()), Stop::default());
        let announced = match slot {
            Some(slot) => runtime.announce_in(slot.clone(), next_id(), spec(Mode::Async), work, stop),
            None => runtime.announce(next_id(), spec(Mode::Async), work, stop).expect("no names"),
        };
        let id = announced.cell().id();
        announced.withdraw(Reason::start_failed("no"), || ());
        id
    };
    let kept = |failed: &[CellId]| failed.iter().filter(|id| directory.cell_or_ended(**id).is_some()).count();
    let alone: Vec<_> = (0..2 * KEPT_ENDED).map(|_| fail(None)).collect();
    assert_eq!(kept(&alone), KEPT_NOT_STARTED);
    let again: Vec<_> = (0..2 * KEPT_ENDED).map(|_| fail(Some(&slot))).collect();
    assert_eq!((kept(&alone), kept(&again)), (KEPT_NOT_STARTED - 1, 1), "the last of a slot");
    assert!(again.last().is_some_and(|last| directory.cell_or_ended(*last).is_some()));
    assert!(directory.cell_or_ended(ended.id()).is_some());
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
