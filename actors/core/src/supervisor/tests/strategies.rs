//! Strategy × restart × reason × position.

use std::{sync::Arc, time::Duration};

use crate::{CellId, exit::Reason, supervisor::*};

use super::world::{World, with, worker};

fn often(strategy: Strategy) -> Options {
    Options { intensity: 100, ..Options::new(strategy) }
}

fn link(reason: Reason) -> Reason {
    Reason::Link { cell: CellId::new(1), reason: Arc::new(reason) }
}

/// The reasons that count as orderly, and those that do not.
fn reasons(orderly: bool) -> Vec<Reason> {
    if orderly {
        vec![Reason::Normal, Reason::Shutdown, link(Reason::Shutdown)]
    } else {
        vec![
            Reason::Exit(1),
            Reason::Killed,
            Reason::Limit(crate::exit::Limit::Memory),
            Reason::NoConnection,
            Reason::host_fault("oops"),
            link(Reason::Killed),
        ]
    }
}

#[test]
fn who_is_restarted_when_one_of_three_ends() {
    use Restart::{Permanent, Temporary, Transient};
    use Strategy::{OneForAll, OneForOne, RestForOne};
    const ORDERLY: bool = true;
    const NOTHING: [&str; 3] = ["", "", ""];
    let one = ["+a", "+b", "+c"];
    let all = ["-c -b +a +b +c", "-c -a +a +b +c", "-b -a +a +b +c"];
    let rest = ["-c -b +a +b +c", "-c +b +c", "+c"];
    // (strategy, restart of the one that ends, orderly?, what follows if it is the first, the second, the third)
    let table = [
        (OneForOne, Permanent, ORDERLY, one),
        (OneForOne, Permanent, !ORDERLY, one),
        (OneForOne, Transient, ORDERLY, NOTHING),
        (OneForOne, Transient, !ORDERLY, one),
        (OneForOne, Temporary, ORDERLY, NOTHING),
        (OneForOne, Temporary, !ORDERLY, NOTHING),
        (OneForAll, Permanent, ORDERLY, all),
        (OneForAll, Permanent, !ORDERLY, all),
        (OneForAll, Transient, ORDERLY, NOTHING),
        (OneForAll, Transient, !ORDERLY, all),
        (OneForAll, Temporary, ORDERLY, NOTHING),
        (OneForAll, Temporary, !ORDERLY, NOTHING),
        (RestForOne, Permanent, ORDERLY, rest),
        (RestForOne, Permanent, !ORDERLY, rest),
        (RestForOne, Transient, ORDERLY, NOTHING),
        (RestForOne, Transient, !ORDERLY, rest),
        (RestForOne, Temporary, ORDERLY, NOTHING),
        (RestForOne, Temporary, !ORDERLY, NOTHING),
    ];
    for (strategy, restart, orderly, expected) in table {
        for reason in reasons(orderly) {
            for (position, name) in ["a", "b", "c"].into_iter().enumerate() {
                let mut children = ["a", "b", "c"].map(worker);
                children[position].restart = restart;
                let mut world = World::started(often(strategy), children.to_vec());
                let row = format!("{strategy:?}, {restart:?}, {reason}, {name}");
                assert_eq!(world.crash(&[name], &reason), expected[position], "{row}");
                // Who is not restarted: a temporary child's spec goes, any other's stays.
                let status = match (expected[position], restart) {
                    ("", Temporary) => String::new(),
                    ("", _) => format!("{name}:undefined"),
                    _ => format!("{name}:running"),
                };
                let which = world.which("root");
                assert_eq!(which.contains(name), !status.is_empty(), "{row}: {which}");
                assert!(which.contains(&status), "{row}: {which}");
                let vacated =
                    expected[position].is_empty().then(|| (name.to_owned(), reason.clone(), restart != Temporary));
                assert_eq!(world.vacated, Vec::from_iter(vacated), "{row}");
            }
        }
    }
}

#[test]
fn what_becomes_of_a_sibling_in_a_group_restart() {
    use Restart::{Permanent, Temporary, Transient};
    // b is the sibling of a, and a ends; is b restarted with it?
    let table = [
        (Strategy::OneForAll, Permanent, "-b +a +b", "a:running b:running"),
        (Strategy::OneForAll, Transient, "-b +a +b", "a:running b:running"),
        // Temporary children are terminated, not restarted, and forgotten.
        (Strategy::OneForAll, Temporary, "-b +a", "a:running"),
        (Strategy::RestForOne, Permanent, "-b +a +b", "a:running b:running"),
        (Strategy::RestForOne, Transient, "-b +a +b", "a:running b:running"),
        (Strategy::RestForOne, Temporary, "-b +a", "a:running"),
    ];
    for (strategy, restart, trace, which) in table {
        let mut world = World::started(often(strategy), vec![worker("a"), with("b", restart)]);
        assert_eq!(world.crash(&["a"], &Reason::Exit(1)), trace, "{strategy:?}, {restart:?}");
        assert_eq!(world.which("root"), which, "{strategy:?}, {restart:?}");
    }
}

#[test]
fn a_group_restart_starts_also_those_who_were_down() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let children = vec![worker("a"), with("b", Restart::Transient), worker("c")];
        let mut world = World::started(often(strategy), children);
        assert_eq!(world.crash(&["b"], &Reason::Normal), "");
        let (trace, _) = world.call("root", Call::TerminateChild(Target::Id(super::world::id("c"))));
        assert_eq!(trace, "-c");
        assert_eq!(world.crash(&["a"], &Reason::Exit(1)), "+a +b +c", "{strategy:?}");
    }
}

#[test]
fn siblings_that_end_together_are_restarted_as_one_group() {
    for (strategy, names, trace, restarts) in [
        (Strategy::OneForAll, ["a", "b"], "-c +a +b +c", 1),
        (Strategy::OneForAll, ["b", "a"], "-c +a +b +c", 1),
        (Strategy::RestForOne, ["a", "b"], "-c +a +b +c", 1),
        // The restart of b does not touch a, whose end is news still.
        (Strategy::RestForOne, ["b", "a"], "-c +b +c -c -b +a +b +c", 2),
        (Strategy::OneForOne, ["b", "a"], "+b +a", 2),
    ] {
        let mut world = World::started(often(strategy), ["a", "b", "c"].map(worker).to_vec());
        assert_eq!(world.crash(&names, &Reason::Exit(1)), trace, "{strategy:?}, {names:?}");
        assert_eq!(world.reports.len(), restarts, "{strategy:?}, {names:?}");
    }
}

#[test]
fn instances_of_a_template_are_restarted_alone() {
    use Restart::{Permanent, Temporary, Transient};
    for (restart, orderly, restarted) in [
        (Permanent, true, true),
        (Permanent, false, true),
        (Transient, true, false),
        (Transient, false, true),
        (Temporary, true, false),
        (Temporary, false, false),
    ] {
        for reason in reasons(orderly) {
            let mut world = World::started(often(Strategy::SimpleOneForOne), vec![with("pool", restart)]);
            for name in ["a", "b", "c"] {
                let seed = super::world::Seed { name: name.into(), tree: None };
                assert_eq!(world.call("root", Call::StartInstance(Some(seed))).0, format!("+{name}"));
            }
            let trace = world.crash(&["b"], &reason);
            assert_eq!(trace, if restarted { "+b" } else { "" }, "{restart:?}, {reason}");
            assert_eq!(world.living().len(), if restarted { 3 } else { 2 });
            // Unlike other children, an instance that is not restarted is forgotten whatever its restart is.
            assert_eq!(world.which("root").split(' ').count(), world.living().len());
        }
    }
}

/// Restarts at these seconds, with an intensity and a period of seconds: does the supervisor bear them?
fn bears(strategy: Strategy, intensity: u32, period: u64, at: &[u64]) -> bool {
    let options = Options { intensity, period: Duration::from_secs(period), ..Options::new(strategy) };
    let mut world = World::started(options, ["a", "b", "c"].map(worker).to_vec());
    let start = world.now;
    for &second in at {
        let then = start + Duration::from_secs(second);
        world.pass(then.saturating_sub(world.now));
        world.crash(&["b"], &Reason::Exit(1));
    }
    assert!(matches!(world.done, None | Some(Reason::Shutdown)), "it ends with shutdown");
    world.done.is_none()
}

#[test]
fn one_restart_too_many_ends_the_supervisor() {
    for (intensity, period, at, borne) in [
        (0, 5, &[0][..], false),
        (1, 5, &[0], true),
        (1, 5, &[0, 0], false),
        (1, 5, &[0, 5], false),
        (1, 5, &[0, 6], true),
        (3, 10, &[0, 1, 2], true),
        (3, 10, &[0, 1, 2, 10], false),
        (3, 10, &[0, 1, 2, 11], true),
        (3, 10, &[0, 1, 2, 11, 12, 13], true),
        (3, 10, &[0, 1, 2, 11, 11], false),
    ] {
        for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
            // A group restart counts once, so that the strategies do not differ.
            assert_eq!(bears(strategy, intensity, period, at), borne, "{strategy:?} {intensity}/{period} {at:?}");
        }
    }
}
