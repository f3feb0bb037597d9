use super::*;

const A: CellId = CellId::new(1);
const B: CellId = CellId::new(2);
const C: CellId = CellId::new(3);
const DEAD: CellId = CellId::new(99);

fn table() -> Links {
    let mut links = Links::default();
    for cell in [A, B, C] {
        links.started(cell);
    }
    links
}

fn link(cell: CellId, reason: Reason) -> Reason {
    Reason::Link { cell, reason: Arc::new(reason) }
}

fn take_down(cell: CellId, reason: Reason) -> Effect {
    Effect::TakeDown { cell, reason }
}

fn message(to: CellId, from: CellId, reason: Reason) -> Effect {
    Effect::Deliver { to, signal: Signal::Exit { from, reason } }
}

/// The part of an end that concerns links and monitors.
fn signals(effects: Vec<Effect>) -> Vec<Effect> {
    effects.into_iter().filter(|effect| matches!(effect, Effect::Deliver { .. } | Effect::TakeDown { .. })).collect()
}

#[test]
fn the_end_of_a_linked_cell_is_a_message_to_who_traps_and_the_end_of_who_does_not() {
    let flat = link(C, Reason::Exit(3));
    let table_of_ends = [
        // (reason of A, what B gets without trapping)
        (Reason::Normal, None),
        (Reason::Shutdown, Some(link(A, Reason::Shutdown))),
        (Reason::Exit(3), Some(link(A, Reason::Exit(3)))),
        // A kill that arrives through a link can be trapped like any other end.
        (Reason::Killed, Some(link(A, Reason::Killed))),
        (Reason::NoConnection, Some(link(A, Reason::NoConnection))),
        // The beginning of a chain stays visible, and chains do not grow.
        (flat.clone(), Some(flat)),
    ];
    for (reason, without) in table_of_ends {
        for traps in [false, true] {
            for (a, b) in [(A, B), (B, A)] {
                let mut links = table();
                assert!(!links.trap_exits(B, traps));
                assert_eq!(links.link(a, b), Ok(vec![]), "a link has no direction");
                let expected = match (traps, &without) {
                    (true, _) => vec![message(B, A, reason.clone())],
                    (false, Some(end)) => vec![take_down(B, end.clone())],
                    (false, None) => vec![],
                };
                assert_eq!(signals(links.ended(A, &reason)), expected, "{reason}, trapping: {traps}");
            }
        }
    }
}

#[test]
fn there_is_one_link_per_pair() {
    let mut links = table();
    links.trap_exits(B, true);
    for (a, b) in [(A, B), (A, B), (B, A), (A, A)] {
        assert_eq!(links.link(a, b), Ok(vec![]));
    }
    assert_eq!(signals(links.ended(A, &Reason::Killed)), [message(B, A, Reason::Killed)]);

    let mut links = table();
    links.link(A, B).unwrap();
    links.link(B, A).unwrap();
    links.unlink(B, A);
    assert_eq!(signals(links.ended(A, &Reason::Killed)), [], "one unlink is enough, from either end");
}

#[test]
fn a_link_to_a_dead_cell_is_its_end() {
    let mut links = table();
    links.trap_exits(B, true);
    assert_eq!(links.link(A, DEAD), Ok(vec![take_down(A, link(DEAD, Reason::NoProcess))]));
    assert_eq!(links.link(B, DEAD), Ok(vec![message(B, DEAD, Reason::NoProcess)]));
    assert_eq!(links.link(DEAD, A), Err(Refused::Ended(DEAD)));
}

#[test]
fn each_monitor_yields_one_message() {
    let mut links = table();
    let monitors: Vec<Monitor> = (0..3).map(|_| links.monitor(A, B).unwrap().0).collect();
    assert!(links.demonitor(A, monitors[1]));
    assert!(!links.demonitor(A, monitors[1]), "once");
    let down = |monitor| Effect::Deliver { to: A, signal: Signal::Down { monitor, cell: B, reason: Reason::Normal } };
    assert_eq!(signals(links.ended(B, &Reason::Normal)), [down(monitors[0]), down(monitors[2])]);
    assert!(!links.demonitor(A, monitors[0]), "its message has been sent");
    assert_eq!(signals(links.ended(A, &Reason::Killed)), [], "a monitor has a direction");
}

#[test]
fn a_monitor_of_a_dead_cell_says_so_at_once() {
    let mut links = table();
    let (monitor, effects) = links.monitor(A, DEAD).unwrap();
    let signal = Signal::Down { monitor, cell: DEAD, reason: Reason::NoProcess };
    assert_eq!(effects, [Effect::Deliver { to: A, signal }]);
    links.ended(B, &Reason::Exit(1));
    let (_, effects) = links.monitor(A, B).unwrap();
    assert!(matches!(&effects[..], [Effect::Deliver { signal: Signal::Down { reason: Reason::NoProcess, .. }, .. }]));
    assert_eq!(links.monitor(B, A), Err(Refused::Ended(B)));
}

#[test]
fn exit_signals_sent_directly() {
    let rows = [
        // (signal, trapping, effect)
        (Exit::Kill, false, Some(take_down(B, Reason::Killed))),
        (Exit::Kill, true, Some(take_down(B, Reason::Killed))),
        (Exit::With(Reason::Shutdown), false, Some(take_down(B, Reason::Shutdown))),
        (Exit::With(Reason::Shutdown), true, Some(message(B, A, Reason::Shutdown))),
        (Exit::With(Reason::Normal), false, None),
        (Exit::With(Reason::Normal), true, Some(message(B, A, Reason::Normal))),
        // The reason, not the signal.
        (Exit::With(Reason::Killed), true, Some(message(B, A, Reason::Killed))),
    ];
    for (exit, traps, effect) in rows {
        let mut links = table();
        links.trap_exits(B, traps);
        assert_eq!(links.exit(A, B, exit.clone()), effect, "{exit:?}, trapping: {traps}");
    }
    assert_eq!(table().exit(A, DEAD, Exit::Kill), None);
}

#[test]
fn a_cell_is_taken_down_once_and_may_be_killed_meanwhile() {
    let mut links = table();
    links.link(A, B).unwrap();
    links.link(C, B).unwrap();
    assert_eq!(signals(links.ended(A, &Reason::Exit(1))), [take_down(B, link(A, Reason::Exit(1)))]);
    assert_eq!(signals(links.ended(C, &Reason::Exit(2))), [], "it is on its way");
    assert_eq!(links.exit(DEAD, B, Exit::Kill), Some(take_down(B, Reason::Killed)));
    assert_eq!(links.exit(DEAD, B, Exit::Kill), None);
}

#[test]
fn the_news_of_an_end_travels_in_order() {
    let mut links = table();
    let (monitor, _) = links.monitor(C, A).unwrap();
    links.link(A, B).unwrap();
    let reason = Reason::Exit(7);
    assert_eq!(
        links.ended(A, &reason),
        [
            Effect::TellStreams(A, reason.clone()),
            Effect::ReleaseNames(A),
            Effect::Deliver { to: C, signal: Signal::Down { monitor, cell: A, reason: reason.clone() } },
            take_down(B, link(A, reason.clone())),
            Effect::TellSupervisor(A, reason.clone()),
            Effect::TellWaiters(A, reason.clone()),
        ]
    );
    assert!(!links.is_alive(A));
    assert_eq!(links.ended(A, &reason), [], "once");
}

#[test]
fn signals_of_one_cell_to_another_keep_their_order() {
    let mut links = table();
    links.trap_exits(B, true);
    links.link(A, B).unwrap();
    let (monitor, _) = links.monitor(B, A).unwrap();
    let mut sent: Vec<Effect> = Vec::new();
    for code in 1..=3 {
        sent.extend(links.exit(A, B, Exit::With(Reason::Exit(code))));
    }
    sent.extend(signals(links.ended(A, &Reason::Normal)));
    let down = Effect::Deliver { to: B, signal: Signal::Down { monitor, cell: A, reason: Reason::Normal } };
    let mut expected: Vec<Effect> = (1..=3).map(|code| message(B, A, Reason::Exit(code))).collect();
    expected.extend([down, message(B, A, Reason::Normal)]);
    assert_eq!(sent, expected);
}

#[test]
fn links_and_monitors_are_bounded_and_ends_make_room() {
    let mut links = Links::default();
    let cells: Vec<CellId> = (1_000..).take(MAX_LINKS + 1).map(CellId::new).collect();
    for &cell in [A].iter().chain(&cells) {
        links.started(cell);
    }
    for &cell in &cells[1..] {
        links.link(A, cell).unwrap();
        links.monitor(A, cell).unwrap();
    }
    assert_eq!(links.link(A, cells[0]), Err(Refused::Links(A)));
    assert_eq!(links.link(cells[0], A), Err(Refused::Links(A)), "from either end");
    assert_eq!(links.link(A, cells[1]), Ok(vec![]), "that one is there");
    assert_eq!(links.monitor(A, cells[0]), Err(Refused::Monitors(A)));
    links.ended(cells[1], &Reason::Normal);
    assert_eq!(links.link(A, cells[0]), Ok(vec![]));
    assert!(links.monitor(A, cells[0]).is_ok());
    for cell in cells {
        links.ended(cell, &Reason::Normal);
    }
    assert!(links.cells[&A].links.is_empty() && links.cells[&A].watches.is_empty(), "nothing is left behind");
}
