use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use ww_core::links::MAX_MONITORS;

use super::*;

/// What has arrived by now, in order.
fn heard(notices: &mut Notices) -> Vec<Signal> {
    std::iter::from_fn(|| notices.next().now_or_never().flatten()).collect()
}

fn link(cell: CellId, reason: Reason) -> Reason {
    Reason::Link { cell, reason: Arc::new(reason) }
}

fn name() -> Name {
    Name::new("native").expect("a name")
}

#[test]
fn the_end_of_one_is_told_to_its_monitors_once_for_each_and_to_its_links() {
    let directory = Directory::default();
    for reason in [Reason::Normal, Reason::Exit(3), Reason::Shutdown, Reason::Killed] {
        let [(a, _a), (watcher, mut told), (traps, mut trapped), (linked, mut taken)] =
            [(); 4].map(|()| directory.enter());
        let monitors = [(); 2].map(|()| watcher.monitor(a.id()).expect("there is room"));
        assert!(!traps.trap_exits(true));
        for other in [traps.id(), linked.id()] {
            a.link(other).expect("there is room");
        }
        a.register(name()).expect("it is free");
        let id = a.id();
        a.end(&reason);
        let downs = monitors.map(|monitor| Signal::Down { monitor, cell: id, reason: reason.clone() });
        assert_eq!(heard(&mut told), downs, "{reason}");
        assert_eq!(heard(&mut trapped), [Signal::Exit { from: id, reason: reason.clone() }]);
        assert_eq!(directory.names().owner(&name()), None, "its name is free");
        let end = (reason != Reason::Normal).then(|| link(id, reason.clone()));
        assert_eq!(linked.exit().reason(), end, "{reason}");
        assert_eq!(taken.next().now_or_never(), end.map(|_| None), "a stream ends with its actor");
        for native in [watcher, traps, linked] {
            native.end(&Reason::Normal);
        }
    }
}

#[test]
fn one_that_is_not_there_is_no_process() {
    let directory = Directory::default();
    let (dead, _notices) = directory.enter();
    let gone = dead.id();
    dead.end(&Reason::Normal);
    let (native, mut notices) = directory.enter();
    let monitor = native.monitor(gone).expect("there is room");
    assert_eq!(heard(&mut notices), [Signal::Down { monitor, cell: gone, reason: Reason::NoProcess }]);
    assert!(!native.demonitor(monitor), "its message has been sent");
    native.trap_exits(true);
    native.link(gone).expect("there is room");
    assert_eq!(heard(&mut notices), [Signal::Exit { from: gone, reason: Reason::NoProcess }]);
    native.trap_exits(false);
    native.link(gone).expect("there is room");
    assert_eq!(native.exit().reason(), Some(link(gone, Reason::NoProcess)));
    assert_eq!(native.monitor(gone), Err(Refused::Ended(native.id())), "it has ended itself");
    assert_eq!(native.register(name()), Err(registry::Error::NoProcess(name())));
}

#[test]
fn what_was_taken_back_is_not_told() {
    let directory = Directory::default();
    let [(a, _a), (b, mut told)] = [(); 2].map(|()| directory.enter());
    let monitor = b.monitor(a.id()).expect("there is room");
    assert!(b.demonitor(monitor));
    b.link(a.id()).expect("there is room");
    a.unlink(b.id());
    a.register(name()).expect("it is free");
    a.unregister(&name()).expect("it has it");
    a.end(&Reason::Killed);
    assert_eq!(heard(&mut told), []);
    assert_eq!(b.exit().reason(), None);
}

#[test]
fn a_kill_cannot_be_trapped_unless_it_comes_through_a_link() {
    let directory = Directory::default();
    let [(killer, _k), (victim, mut victims), (linked, mut told)] = [(); 3].map(|()| directory.enter());
    for native in [&victim, &linked] {
        native.trap_exits(true);
    }
    victim.link(linked.id()).expect("there is room");
    assert!(killer.signal(victim.id(), Exit::With(Reason::Shutdown)));
    assert_eq!(heard(&mut victims), [Signal::Exit { from: killer.id(), reason: Reason::Shutdown }]);
    assert!(killer.signal(victim.id(), Exit::Kill));
    assert_eq!(victim.exit().reason(), Some(Reason::Killed));
    assert_eq!(heard(&mut told), [Signal::Exit { from: victim.id(), reason: Reason::Killed }]);
    assert_eq!(linked.exit().reason(), None);
}

#[test]
fn a_chain_of_links_falls_as_one_and_says_who_was_first() {
    let directory = Directory::default();
    let chain: Vec<_> = (0..50).map(|_| directory.enter()).collect();
    for pair in chain.windows(2) {
        pair[0].0.link(pair[1].0.id()).expect("there is room");
    }
    let first = chain[25].0.id();
    assert!(chain[0].0.signal(first, Exit::Kill));
    for (native, _notices) in &chain {
        let end = if native.id() == first { Reason::Killed } else { link(first, Reason::Killed) };
        assert_eq!(native.exit().reason(), Some(end));
    }
}

#[test]
fn one_that_is_lost_ends_with_a_fault_of_the_host() {
    let directory = Directory::default();
    let [(watcher, mut told), (lost, _notices)] = [(); 2].map(|()| directory.enter());
    watcher.monitor(lost.id()).expect("there is room");
    drop(lost);
    let told = heard(&mut told);
    assert!(matches!(told[..], [Signal::Down { reason: Reason::HostFault(_), .. }]), "{told:?}");
}

#[test]
fn signals_of_one_to_another_keep_their_order_from_any_thread() {
    let directory = Directory::default();
    let (receiver, mut notices) = directory.enter();
    receiver.trap_exits(true);
    let (senders, each) = (4, 200);
    std::thread::scope(|scope| {
        for _ in 0..senders {
            scope.spawn(|| {
                let (sender, _own) = directory.enter();
                receiver.link(sender.id()).expect("there is room");
                for number in 1..=each {
                    assert!(sender.signal(receiver.id(), Exit::With(Reason::Exit(number))));
                }
                sender.end(&Reason::Killed);
            });
        }
    });
    let mut of_each = std::collections::BTreeMap::<CellId, Vec<Reason>>::new();
    for signal in heard(&mut notices) {
        of_each.entry(signal.cell()).or_default().push(signal.reason().clone());
    }
    let sent: Vec<Reason> = (1..=each).map(Reason::Exit).chain([Reason::Killed]).collect();
    assert_eq!(
        of_each.into_values().collect::<Vec<_>>(),
        vec![sent; senders],
        "the end comes after what was sent before"
    );
}

#[test]
fn who_does_not_handle_its_signals_gets_no_more_of_its_own_making() {
    let directory = Directory::default();
    let [(native, mut notices), (sender, _s)] = [(); 2].map(|()| directory.enter());
    let gone = CellId::new(u64::MAX);
    let asked = (0..).take_while(|_| native.monitor(gone).is_ok()).count();
    assert_eq!(asked, MAX_SENT);
    assert_eq!(native.monitor(gone), Err(Refused::Signals(native.id())));
    assert_eq!(native.link(gone), Err(Refused::Signals(native.id())));
    native.trap_exits(true);
    assert!(!sender.signal(native.id(), Exit::With(Reason::Shutdown)), "nobody else fills it either");
    assert_eq!(heard(&mut notices).len(), MAX_SENT, "nothing is dropped");
    let monitors = (0..=MAX_MONITORS).map(|_| native.monitor(sender.id())).filter(Result::is_ok).count();
    assert_eq!(monitors, MAX_MONITORS);
}

#[tokio::test]
async fn a_signal_wakes_its_reader_and_so_does_the_end() {
    let directory = Directory::default();
    let [(native, mut notices), (other, _o)] = [(); 2].map(|()| directory.enter());
    native.monitor(other.id()).expect("there is room");
    let (signal, ()) = futures::join!(notices.next(), async { other.end(&Reason::Exit(3)) });
    assert_eq!(signal.map(|signal| signal.reason().clone()), Some(Reason::Exit(3)));
    let exit = native.exit().clone();
    let (signal, ()) = futures::join!(notices.next(), async { native.end(&Reason::Shutdown) });
    assert_eq!((signal, exit.wait().await), (None, Reason::Shutdown));
}
