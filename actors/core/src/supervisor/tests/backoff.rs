//! Backoff: the delays, and what may happen meanwhile.

use std::time::Duration;

use crate::{exit::Reason, supervisor::*};

use super::world::{Seed, World, id, worker};

const CRASH: Reason = Reason::Exit(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn slow(name: &str) -> ChildSpec<Seed> {
    let backoff = Backoff { base: millis(10), factor: 2.0, cap: millis(1_000), jitter: 0.0 };
    ChildSpec { backoff: Some(backoff), ..worker(name) }
}

fn options(strategy: Strategy) -> Options {
    Options { intensity: 100, ..Options::new(strategy) }
}

fn delays(world: &World) -> Vec<u128> {
    let delay = |report: &Report| match report {
        Report::Restart { after, .. } => Some(after.as_millis()),
        Report::Escalated { .. } => None,
    };
    world.reports.iter().filter_map(delay).collect()
}

#[test]
fn delays_grow_until_an_incarnation_lives_for_long() {
    let mut world = World::started(options(Strategy::OneForOne), vec![slow("a")]);
    for delay in [10, 20, 40, 80] {
        assert_eq!(world.crash(&["a"], &CRASH), "");
        assert_eq!(world.pass(millis(delay - 1)), "", "not yet");
        assert_eq!(world.pass(millis(1)), "+a");
    }
    world.pass(millis(1_000));
    world.crash(&["a"], &CRASH);
    assert_eq!(delays(&world), [10, 20, 40, 80, 10]);
}

#[test]
fn failed_starts_back_off_too() {
    let mut world = World::started(options(Strategy::OneForOne), vec![slow("a")]);
    let mut failures = 3;
    world.fails = Box::new(move |_| {
        failures -= 1;
        failures >= 0
    });
    world.crash(&["a"], &CRASH);
    assert_eq!(world.pass(millis(10 + 20 + 40 + 80)), "/a /a /a +a");
    assert_eq!(delays(&world), [10, 20, 40, 80]);
}

#[test]
fn restarts_count_when_they_are_decided() {
    let mut world = World::started(Options { intensity: 1, ..Options::default() }, vec![slow("a"), worker("b")]);
    assert_eq!(world.crash(&["a"], &CRASH), "");
    assert_eq!(world.crash(&["b"], &CRASH), "=root", "a waits still, and has counted");
    assert_eq!(world.pass(millis(1_000)), "");
}

#[test]
fn waiting_does_not_block() {
    let mut world = World::started(options(Strategy::OneForOne), vec![slow("a"), worker("b")]);
    world.crash(&["a"], &CRASH);
    assert_eq!(world.which("root"), "a:restarting b:running");
    assert_eq!(world.crash(&["b"], &CRASH), "+b");
    assert_eq!(world.call("root", Call::StartChild(worker("c"))).0, "+c");
    assert_eq!(world.pass(millis(10)), "+a");
}

#[test]
fn siblings_live_until_the_wait_is_over() {
    for (strategy, trace) in [(Strategy::OneForAll, "-c -a +a +b +c"), (Strategy::RestForOne, "-c +b +c")] {
        let mut world = World::started(options(strategy), vec![worker("a"), slow("b"), worker("c")]);
        assert_eq!(world.crash(&["b"], &CRASH), "");
        assert_eq!(world.living(), ["a", "c"]);
        assert_eq!(world.pass(millis(10)), trace, "{strategy:?}");
    }
}

#[test]
fn a_siblings_restart_overtakes_the_wait() {
    let mut world = World::started(options(Strategy::OneForAll), vec![worker("a"), slow("b")]);
    world.crash(&["b"], &CRASH);
    assert_eq!(world.crash(&["a"], &CRASH), "+a +b");
    assert_eq!(world.pass(millis(10)), "", "b runs already");
}

#[test]
fn stopping_does_not_wait() {
    let mut world = World::started(options(Strategy::OneForOne), vec![slow("a"), worker("b")]);
    world.crash(&["a"], &CRASH);
    assert_eq!(world.event(Event::Stop), "-b =root");
    assert_eq!(world.pass(millis(10)), "");
}

#[test]
fn who_waits_for_a_group_that_never_comes_is_vacated() {
    let mut world = World::started(options(Strategy::RestForOne), vec![worker("a"), slow("b"), worker("c")]);
    let mut failing = true;
    world.fails = Box::new(move |name| name == "b" && std::mem::take(&mut failing));
    assert_eq!(world.crash(&["a"], &CRASH), "-c -b +a /b");
    assert_eq!(world.which("root"), "a:running b:restarting c:undefined");
    assert_eq!(world.vacated, []);
    world.call("root", Call::TerminateChild(Target::Id(id("b"))));
    let vacated: Vec<&str> = world.vacated.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(vacated, ["b", "c"]);
}

#[test]
fn jitter_differs_from_seed_to_seed_and_not_from_run_to_run() {
    let delay = |seed| {
        let backoff = Backoff { base: millis(1_000), factor: 1.0, cap: millis(1_000), jitter: 1.0 };
        let spec = ChildSpec { backoff: Some(backoff), ..worker("a") };
        let mut supervisor = Supervisor::new(Options::default(), vec![spec], seed).unwrap();
        supervisor.handle(Duration::ZERO, Event::Start);
        supervisor.handle(Duration::ZERO, Event::Started(Incarnation(1)));
        let effects = supervisor.handle(Duration::ZERO, Event::Exited(Incarnation(1), CRASH));
        let after = effects.iter().find_map(|effect| match effect {
            Effect::SetTimer { after, .. } => Some(*after),
            _ => None,
        });
        after.expect("it waits")
    };
    assert_eq!(delay(1), delay(1));
    assert_ne!(delay(1), delay(2));
    assert!(delay(3) <= millis(1_000));
}
