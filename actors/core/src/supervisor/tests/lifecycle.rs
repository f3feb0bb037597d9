//! Start, stop, shutdown kinds, failed starts, automatic shutdown, nested supervisors.

use std::time::Duration;

use crate::{exit::Reason, supervisor::*};

use super::world::{World, id, supervisor, with, worker};

const CRASH: Reason = Reason::Exit(1);

fn options(strategy: Strategy, intensity: u32) -> Options {
    Options { intensity, ..Options::new(strategy) }
}

/// Lets the starts of these children fail, each as often as it is named.
fn failing(world: &mut World, names: &[&str]) {
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    world.fails = Box::new(move |name| match names.iter().position(|other| other == name) {
        Some(at) => {
            names.remove(at);
            true
        }
        None => false,
    });
}

#[test]
fn children_start_in_order_and_stop_in_reverse() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let mut world = World::new(Options::new(strategy), ["a", "b", "c"].map(worker).to_vec());
        assert_eq!(world.begin(), "+a +b +c");
        assert_eq!(world.event(Event::Start), "", "once");
        assert_eq!(world.event(Event::Stop), "-c -b -a =root");
        assert_eq!(world.done, Some(Reason::Shutdown));
    }
}

#[test]
fn each_start_is_complete_before_the_next() {
    let mut world = World::new(Options::default(), ["a", "b"].map(worker).to_vec());
    world.slow.insert("a".into());
    assert_eq!(world.begin(), "+a");
    assert_eq!(world.which("root"), "a:starting b:undefined");
    assert_eq!(world.complete("a"), "+b");
}

#[test]
fn each_stop_is_complete_before_the_next() {
    let mut world = World::started(Options::default(), ["a", "b"].map(worker).to_vec());
    world.stubborn.insert("b".into());
    assert_eq!(world.event(Event::Stop), "-b");
    assert_eq!(world.which("root"), "a:running b:stopping");
    assert_eq!(world.pass(WORKER_SHUTDOWN), "!b -a =root");
}

#[test]
fn a_failing_first_start_takes_down_the_others_and_the_supervisor() {
    let mut world = World::new(Options::default(), ["a", "b", "c", "d"].map(worker).to_vec());
    failing(&mut world, &["c"]);
    assert_eq!(world.begin(), "+a +b /c -b -a =root");
    assert!(matches!(&world.done, Some(Reason::StartFailed(why)) if why.contains("child c")), "{:?}", world.done);
}

#[test]
fn shutdown_kinds() {
    let second = Duration::from_secs(1);
    for (shutdown, obeys, trace) in [
        (Shutdown::BrutalKill, true, "!a"),
        (Shutdown::BrutalKill, false, "!a"),
        (Shutdown::Timeout(second), true, "-a"),
        (Shutdown::Timeout(second), false, "-a, !a"),
        (Shutdown::Timeout(Duration::ZERO), false, "-a, !a"),
        (Shutdown::Infinity, true, "-a"),
        (Shutdown::Infinity, false, "-a, "),
    ] {
        let mut world = World::started(Options::default(), vec![ChildSpec { shutdown, ..worker("a") }]);
        if !obeys {
            world.stubborn.insert("a".into());
        }
        let (mut words, _) = world.call("root", Call::TerminateChild(Target::Id(id("a"))));
        if !obeys && shutdown != Shutdown::BrutalKill {
            words = format!("{words}, {}", world.pass(second));
        }
        assert_eq!(words, trace, "{shutdown:?}, obeys: {obeys}");
        let ended = shutdown != Shutdown::Infinity || obeys;
        assert_eq!(world.living().is_empty(), ended);
    }
    assert_eq!(worker("a").shutdown, Shutdown::Timeout(Duration::from_secs(5)));
    assert_eq!(supervisor("s", Options::default(), vec![]).shutdown, Shutdown::Infinity);
}

#[test]
fn instances_are_stopped_all_at_once() {
    let mut world = World::started(Options::new(Strategy::SimpleOneForOne), vec![worker("pool")]);
    for _ in 0..3 {
        world.call("root", Call::StartInstance(None));
    }
    world.stubborn.insert("pool".into());
    assert_eq!(world.event(Event::Stop), "-pool -pool -pool");
    assert_eq!(world.pass(WORKER_SHUTDOWN), "!pool !pool !pool =root", "within one timeout, not three");
}

#[test]
fn a_failed_restart_counts_again() {
    // The end counts 1, and every failure 1 more.
    for (intensity, failures, trace, borne) in [
        (1, 0, "+a", true),
        (1, 1, "/a =root", false),
        (2, 1, "/a +a", true),
        (3, 2, "/a /a +a", true),
        (3, 3, "/a /a /a =root", false),
    ] {
        let mut world = World::started(options(Strategy::OneForOne, intensity), vec![worker("a")]);
        failing(&mut world, &vec!["a"; failures]);
        assert_eq!(world.crash(&["a"], &CRASH), trace, "{failures} failures, {intensity} allowed");
        assert_eq!(world.done.is_none(), borne);
    }
}

#[test]
fn a_group_whose_restart_fails_is_tried_again_from_the_one_that_failed() {
    for (strategy, trace) in [
        (Strategy::OneForAll, "-d -c -b +a +b /c -b -a +a +b +c +d"),
        (Strategy::RestForOne, "-d -c -b +a +b /c +c +d"),
    ] {
        let mut world = World::started(options(strategy, 2), ["a", "b", "c", "d"].map(worker).to_vec());
        failing(&mut world, &["c"]);
        assert_eq!(world.crash(&["a"], &CRASH), trace, "{strategy:?}");
    }
}

#[test]
fn exceeding_the_intensity_ends_all_children_in_reverse() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let mut world = World::started(options(strategy, 0), ["a", "b", "c"].map(worker).to_vec());
        assert_eq!(world.crash(&["b"], &CRASH), "-c -a =root", "{strategy:?}");
        assert_eq!(world.done, Some(Reason::Shutdown));
        let escalations = world.reports.iter().filter(|report| matches!(report, Report::Escalated { .. })).count();
        assert_eq!(escalations, 1);
    }
}

#[test]
fn significant_children_end_their_supervisor() {
    use AutoShutdown::{AllSignificant, AnySignificant};
    use Restart::{Temporary, Transient};
    // a and b are significant, c is not. (auto-shutdown, restart, who ends how, what follows each)
    let orderly = Reason::Normal;
    type Step<'a> = (&'a str, &'a Reason, &'a str);
    let table: [(_, _, &[Step<'_>]); 9] = [
        (AnySignificant, Transient, &[("c", &orderly, ""), ("a", &orderly, "-b =root")]),
        (AnySignificant, Transient, &[("a", &CRASH, "+a")]),
        (AnySignificant, Temporary, &[("a", &CRASH, "-c -b =root")]),
        (AnySignificant, Temporary, &[("b", &orderly, "-c -a =root")]),
        (AllSignificant, Transient, &[("a", &orderly, ""), ("b", &orderly, "-c =root")]),
        (AllSignificant, Transient, &[("a", &orderly, ""), ("b", &CRASH, "+b")]),
        (AllSignificant, Temporary, &[("b", &CRASH, ""), ("a", &orderly, "-c =root")]),
        (AllSignificant, Temporary, &[("b", &CRASH, ""), ("c", &CRASH, "")]),
        (AllSignificant, Transient, &[("c", &orderly, ""), ("b", &orderly, ""), ("a", &orderly, "=root")]),
    ];
    for (auto_shutdown, restart, steps) in table {
        let significant = |name| ChildSpec { significant: true, ..with(name, restart) };
        let children = vec![significant("a"), significant("b"), with("c", restart)];
        let mut world = World::started(Options { auto_shutdown, intensity: 5, ..Options::default() }, children);
        for (name, reason, trace) in steps {
            assert_eq!(world.crash(&[name], reason), *trace, "{auto_shutdown:?}, {restart:?}, {name}: {reason}");
        }
        assert!(matches!(world.done, None | Some(Reason::Shutdown)));
    }
}

#[test]
fn only_a_childs_own_end_counts_for_auto_shutdown() {
    let significant = |name| ChildSpec { significant: true, ..with(name, Restart::Temporary) };
    let auto_shutdown = AutoShutdown::AnySignificant;
    let options = Options { auto_shutdown, ..Options::new(Strategy::OneForAll) };
    let mut world = World::started(options, vec![worker("a"), significant("b"), significant("c")]);
    assert_eq!(world.call("root", Call::TerminateChild(Target::Id(id("c")))).0, "-c");
    assert_eq!(world.crash(&["a"], &CRASH), "-b +a", "b is terminated with its group");
    assert_eq!(world.done, None);
}

#[test]
fn a_template_may_be_significant() {
    let template = ChildSpec { significant: true, ..with("pool", Restart::Temporary) };
    for (auto_shutdown, traces) in
        [(AutoShutdown::AnySignificant, vec!["-pool =root"]), (AutoShutdown::AllSignificant, vec!["", "=root"])]
    {
        let options = Options { auto_shutdown, ..Options::new(Strategy::SimpleOneForOne) };
        let mut world = World::started(options, vec![template.clone()]);
        world.call("root", Call::StartInstance(None));
        world.call("root", Call::StartInstance(None));
        for trace in traces {
            assert_eq!(world.crash(&["pool"], &Reason::Normal), trace, "{auto_shutdown:?}");
        }
    }
}

#[test]
fn a_supervisor_that_gives_up_leaves_the_decision_to_its_own() {
    // (restart of the inner supervisor, what follows when its worker ends once too often)
    for (restart, trace, living) in [
        (Restart::Permanent, "-d =s +s +c +d", 4),
        // It ends with `shutdown`, which is orderly.
        (Restart::Transient, "-d =s", 1),
        (Restart::Temporary, "-d =s", 1),
    ] {
        let inner = supervisor("s", options(Strategy::OneForOne, 0), ["c", "d"].map(worker).to_vec());
        let children = vec![worker("a"), ChildSpec { restart, ..inner }];
        let mut world = World::started(options(Strategy::OneForOne, 1), children);
        assert_eq!(world.crash(&["c"], &CRASH), trace, "{restart:?}");
        assert_eq!(world.living().len(), living, "{:?}", world.living());
    }
}

#[test]
fn escalation_reaches_the_root() {
    let leaf = supervisor("t", options(Strategy::OneForAll, 0), ["d", "e"].map(worker).to_vec());
    let middle = supervisor("s", options(Strategy::RestForOne, 1), vec![worker("b"), leaf, worker("c")]);
    let mut world = World::new(options(Strategy::OneForOne, 0), vec![worker("a"), middle]);
    assert_eq!(world.begin(), "+a +s +b +t +d +e +c");
    assert_eq!(world.crash(&["e"], &CRASH), "-d =t -c +t +d +e +c");
    assert_eq!(world.crash(&["e"], &CRASH), "-d =t -c -b =s -a =root");
}

#[test]
fn a_nested_supervisor_that_cannot_start_is_a_failed_start() {
    let inner = || supervisor("s", Options::default(), ["b", "c"].map(worker).to_vec());
    let mut world = World::new(Options::default(), vec![worker("a"), inner()]);
    failing(&mut world, &["c"]);
    assert_eq!(world.begin(), "+a +s +b /c -b =s -a =root");

    // As a restart, it counts again.
    let mut world = World::started(options(Strategy::OneForAll, 2), vec![worker("a"), inner()]);
    failing(&mut world, &["c"]);
    assert_eq!(world.crash(&["a"], &CRASH), "-s -c -b =s +a +s +b /c -b =s -a +a +s +b +c");
}

#[test]
fn a_killed_supervisor_leaves_no_orphans() {
    let inner = supervisor("s", Options::default(), ["b", "c"].map(worker).to_vec());
    let mut world = World::started(Options::default(), vec![worker("a"), inner]);
    assert_eq!(world.event(Event::Kill), "!s !a !c !b =s =root");
    assert_eq!(world.done, Some(Reason::Killed));

    let mut world = World::started(Options::default(), vec![ChildSpec { shutdown: Shutdown::Infinity, ..worker("a") }]);
    world.stubborn.insert("a".into());
    assert_eq!(world.event(Event::Stop), "-a");
    assert_eq!(world.event(Event::Kill), "!a =root", "also while it shuts down");
    assert_eq!(world.done, Some(Reason::Killed));
}

#[test]
fn a_supervisor_that_is_stopped_while_it_starts_stops_what_has_started() {
    let mut world = World::new(Options::default(), ["a", "b", "c"].map(worker).to_vec());
    world.slow.insert("b".into());
    assert_eq!(world.begin(), "+a +b");
    assert_eq!(world.event(Event::Stop), "-b -a =root");
}

#[test]
fn an_end_that_is_not_news_any_more_does_nothing() {
    let mut world = World::started(options(Strategy::OneForAll, 5), ["a", "b"].map(worker).to_vec());
    let (first, second) = (world.incarnation("a"), world.incarnation("b"));
    assert_eq!(world.crash(&["a"], &CRASH), "-b +a +b");
    for incarnation in [first, second] {
        assert_eq!(world.event(Event::Exited(incarnation, CRASH)), "");
        assert_eq!(world.event(Event::Started(incarnation)), "");
    }
    assert_eq!(world.which("root"), "a:running b:running");
}

#[test]
fn options_and_specs_that_contradict_themselves_are_refused() {
    let new = |options, children| Supervisor::new(options, children, 0).map(|_| ()).unwrap_err();
    let child = |why| Invalid::Child { id: id("a"), why };
    let significant = |restart| vec![ChildSpec { significant: true, ..with("a", restart) }];
    let auto = Options { auto_shutdown: AutoShutdown::AnySignificant, ..Options::default() };
    assert_eq!(new(Options { period: Duration::ZERO, ..Options::default() }, vec![]), Invalid::Period);
    assert_eq!(
        new(Options { intensity: MAX_INTENSITY + 1, ..Options::default() }, vec![]),
        Invalid::Intensity(MAX_INTENSITY + 1)
    );
    assert_eq!(new(Options::default(), vec![worker("a"), worker("a")]), Invalid::Duplicate(id("a")));
    assert_eq!(
        new(Options { max_children: 1, ..Options::default() }, ["a", "b"].map(worker).to_vec()),
        Invalid::TooMany { found: 2, most: 1 }
    );
    assert_eq!(new(Options::default(), significant(Restart::Transient)), child(InvalidSpec::SignificantNever));
    assert_eq!(new(auto, significant(Restart::Permanent)), child(InvalidSpec::SignificantPermanent));
    assert_eq!(new(Options::new(Strategy::SimpleOneForOne), vec![]), Invalid::Template);
    assert_eq!(Supervisor::simple(Options::default(), worker("a"), 0).map(|_| ()).unwrap_err(), Invalid::Template);
    assert_eq!(ChildId::new(""), Err(InvalidSpec::Id(0)));
    assert_eq!(ChildId::new("x".repeat(MAX_ID_LEN + 1)), Err(InvalidSpec::Id(MAX_ID_LEN + 1)));
}

#[test]
fn timers_that_nobody_waits_for_are_taken_back() {
    let years = Shutdown::Timeout(Duration::from_secs(1_000_000_000));
    let child = |name| ChildSpec { shutdown: years, ..worker(name) };
    let mut world = World::started(Options::default(), vec![child("a"), child("b")]);
    world.stubborn = ["b".to_owned()].into();
    world.call("root", Call::TerminateChild(Target::Id(id("b"))));
    for _ in 0..1_000 {
        assert_eq!(world.call("root", Call::TerminateChild(Target::Id(id("a")))).0, "-a");
        assert_eq!(world.call("root", Call::RestartChild(id("a"))).0, "+a");
        assert!(world.timers() <= 20, "{}", world.timers());
    }
    assert_eq!(world.pass(Duration::from_secs(1_000_000_000)), "!b", "what is waited for is still there");
}
