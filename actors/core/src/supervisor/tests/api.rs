//! What the calls return, in every state of a child.

use crate::{exit::Reason, supervisor::*};

use super::world::{Seed, World, id, supervisor, with, worker};

const CRASH: Reason = Reason::Exit(1);

fn start(name: &str) -> Call<Seed> {
    Call::StartChild(worker(name))
}

fn terminate(name: &str) -> Call<Seed> {
    Call::TerminateChild(Target::Id(id(name)))
}

fn restart(name: &str) -> Call<Seed> {
    Call::RestartChild(id(name))
}

fn delete(name: &str) -> Call<Seed> {
    Call::DeleteChild(id(name))
}

/// A slow backoff, to look at a child that is restarting.
fn restarting(name: &str) -> ChildSpec<Seed> {
    let hour = std::time::Duration::from_secs(3_600);
    ChildSpec { backoff: Some(Backoff { base: hour, factor: 1.0, cap: hour, jitter: 0.0 }), ..worker(name) }
}

#[test]
fn what_the_calls_return_in_every_state() {
    use Error::{AlreadyPresent, AlreadyStarted, NotFound, Restarting, Running};
    type Named = (&'static str, fn(&str) -> Call<Seed>);
    type Outcome = (&'static str, Result<(), Error>);
    // Each row: a fresh supervisor whose child `c` is in the state, and for each call what is done and answered.
    let states = ["running", "undefined", "restarting", "absent"];
    let calls: [Named; 4] = [("start", start), ("terminate", terminate), ("restart", restart), ("delete", delete)];
    let incarnation = Incarnation(1);
    let table: [[Outcome; 4]; 4] = [
        [("", Err(AlreadyStarted(incarnation))), ("-c", Ok(())), ("", Err(Running)), ("", Err(Running))],
        [("", Err(AlreadyPresent)), ("", Ok(())), ("+c", Ok(())), ("", Ok(()))],
        [("", Err(AlreadyPresent)), ("", Ok(())), ("", Err(Restarting)), ("", Err(Restarting))],
        [("+c", Ok(())), ("", Err(NotFound)), ("", Err(NotFound)), ("", Err(NotFound))],
    ];
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        for (state, row) in states.into_iter().zip(&table) {
            for ((what, call), (trace, answer)) in calls.into_iter().zip(row) {
                let child = if state == "restarting" { restarting("c") } else { worker("c") };
                let children = if state == "absent" { vec![] } else { vec![child] };
                let mut world = World::started(Options::new(strategy), children);
                match state {
                    "undefined" => drop(world.call("root", terminate("c"))),
                    "restarting" => drop(world.crash(&["c"], &CRASH)),
                    _ => {}
                }
                if state != "absent" {
                    assert_eq!(world.which("root"), format!("c:{state}"));
                }
                let (words, got) = world.call("root", call("c"));
                let got = got.expect("answered at once").map(|_| ());
                assert_eq!((words.as_str(), &got), (*trace, answer), "{strategy:?}: {what} of a child that is {state}");
            }
        }
    }
}

#[test]
fn a_terminated_child_is_not_restarted_and_a_temporary_one_is_forgotten() {
    let children = vec![worker("a"), with("t", Restart::Temporary)];
    let mut world = World::started(Options::default(), children);
    assert_eq!(world.call("root", terminate("a")), ("-a".into(), Some(Ok(Answer::Done))));
    assert_eq!(world.call("root", terminate("t")), ("-t".into(), Some(Ok(Answer::Done))));
    assert_eq!(world.which("root"), "a:undefined");
    assert_eq!(world.vacated, [("a".into(), Reason::Shutdown, true), ("t".into(), Reason::Shutdown, false)]);
    assert_eq!(world.call("root", restart("t")).1, Some(Err(Error::NotFound)));
    assert_eq!(world.call("root", restart("a")).1, Some(Ok(Answer::Started(world.incarnation("a")))));
    assert_eq!(world.reports, [], "none of this is a restart that counts");
}

#[test]
fn a_child_that_is_terminated_while_it_waits_is_not_restarted() {
    let mut world = World::started(Options::default(), vec![restarting("a")]);
    world.crash(&["a"], &CRASH);
    assert_eq!(world.call("root", terminate("a")), (String::new(), Some(Ok(Answer::Done))));
    assert_eq!(world.pass(std::time::Duration::from_secs(7_200)), "");
    assert_eq!(world.which("root"), "a:undefined");
}

#[test]
fn a_child_that_cannot_start_is_not_added_or_stays_down() {
    let mut world = World::started(Options::default(), vec![worker("a")]);
    world.call("root", terminate("a"));
    world.fails = Box::new(|_| true);
    let (_, answer) = world.call("root", start("b"));
    assert!(matches!(answer, Some(Err(Error::StartFailed(Reason::StartFailed(_))))), "{answer:?}");
    let (_, answer) = world.call("root", restart("a"));
    assert!(matches!(answer, Some(Err(Error::StartFailed(_)))), "{answer:?}");
    assert_eq!(world.which("root"), "a:undefined");
    assert_eq!(world.done, None);
}

#[test]
fn added_children_come_last() {
    let mut world = World::started(Options::new(Strategy::RestForOne), ["a", "b"].map(worker).to_vec());
    world.call("root", terminate("a"));
    world.call("root", delete("a"));
    world.call("root", start("a"));
    assert_eq!(world.which("root"), "b:running a:running");
    assert_eq!(world.crash(&["b"], &CRASH), "-a +b +a");
}

#[test]
fn a_simple_supervisor_knows_its_children_by_incarnation() {
    let mut world = World::started(Options::new(Strategy::SimpleOneForOne), vec![worker("pool")]);
    for call in [start("x"), terminate("pool"), restart("pool"), delete("pool")] {
        assert_eq!(world.call("root", call).1, Some(Err(Error::SimpleOneForOne)));
    }
    let (_, answer) = world.call("root", Call::StartInstance(None));
    let Some(Ok(Answer::Started(first))) = answer else { panic!("{answer:?}") };
    let instance = |incarnation| Call::TerminateChild(Target::Instance(incarnation));
    assert_eq!(world.call("root", instance(Incarnation(99))).1, Some(Err(Error::NotFound)));
    assert_eq!(world.call("root", instance(first)), ("-pool".into(), Some(Ok(Answer::Done))));
    assert_eq!(world.call("root", instance(first)), (String::new(), Some(Ok(Answer::Done))), "it has ended");
    assert_eq!(world.which("root"), "", "its slot is gone");

    let mut other = World::started(Options::default(), vec![worker("a")]);
    let incarnation = other.incarnation("a");
    assert_eq!(other.call("root", instance(incarnation)).1, Some(Err(Error::NotFound)));
    assert_eq!(other.call("root", Call::StartInstance(None)).1, Some(Err(Error::NoTemplate)));
}

#[test]
fn an_instance_that_waits_for_its_restart_is_known_by_its_last_incarnation() {
    let mut world = World::started(Options::new(Strategy::SimpleOneForOne), vec![restarting("pool")]);
    world.call("root", Call::StartInstance(None));
    let incarnation = world.incarnation("pool");
    world.crash(&["pool"], &CRASH);
    assert_eq!(world.which("root"), "-:restarting");
    let (_, answer) = world.call("root", Call::TerminateChild(Target::Instance(incarnation)));
    assert_eq!(answer, Some(Ok(Answer::Done)));
    assert_eq!(world.which("root"), "");
}

#[test]
fn an_instance_whose_restarts_fail_is_known_by_its_last_incarnation() {
    let options = Options { intensity: 10, ..Options::new(Strategy::SimpleOneForOne) };
    let short = std::time::Duration::from_millis(100);
    let backoff = Some(Backoff { base: short, factor: 1.0, cap: short, jitter: 0.0 });
    let mut world = World::started(options, vec![ChildSpec { backoff, ..worker("pool") }]);
    world.call("root", Call::StartInstance(None));
    let incarnation = world.incarnation("pool");
    world.crash(&["pool"], &CRASH);
    world.fails = Box::new(|_| true);
    assert_eq!(world.pass(short), "/pool");
    let (_, answer) = world.call("root", Call::TerminateChild(Target::Instance(incarnation)));
    assert_eq!((answer, world.which("root").as_str()), (Some(Ok(Answer::Done)), ""));
}

#[test]
fn an_instance_is_known_by_its_slot_also_when_another_incarnation_takes_over_meanwhile() {
    let mut world = World::started(Options::new(Strategy::SimpleOneForOne), vec![worker("pool")]);
    world.call("root", Call::StartInstance(None));
    let Some(Ok(Answer::Children(children))) = world.call("root", Call::WhichChildren).1 else { panic!("an answer") };
    world.slow.insert("pool".into());
    assert_eq!(world.crash(&["pool"], &CRASH), "+pool");
    let terminate = Call::TerminateChild(Target::Slot(children[0].slot));
    let (trace, answer) = world.call("root", terminate.clone());
    let trace = trace + &world.complete("pool");
    assert_eq!((trace.as_str(), world.which("root").as_str()), ("-pool", ""), "{answer:?}");
    assert_eq!(world.call("root", terminate).1, Some(Err(Error::NotFound)), "the slot is gone");
}

#[test]
fn children_are_counted() {
    let inner = |name| supervisor(name, Options::default(), vec![]);
    let children = vec![worker("a"), worker("b"), inner("s"), restarting("c")];
    let mut world = World::started(Options::default(), children);
    world.call("root", terminate("a"));
    world.crash(&["c"], &CRASH);
    let (_, answer) = world.call("root", Call::CountChildren);
    assert_eq!(answer, Some(Ok(Answer::Counts(Counts { specs: 4, active: 2, supervisors: 1, workers: 3 }))));

    let mut world = World::started(Options::new(Strategy::SimpleOneForOne), vec![restarting("pool")]);
    for _ in 0..3 {
        world.call("root", Call::StartInstance(None));
    }
    world.crash(&["pool"], &CRASH);
    let (_, answer) = world.call("root", Call::CountChildren);
    assert_eq!(answer, Some(Ok(Answer::Counts(Counts { specs: 1, active: 2, supervisors: 0, workers: 3 }))));
}

#[test]
fn the_supervisor_answers_whatever_it_is_doing() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll] {
        let children = vec![worker("slow"), worker("stubborn"), restarting("waiting")];
        let mut world = World::started(Options { intensity: 9, ..Options::new(strategy) }, children);
        world.crash(&["waiting"], &CRASH);
        assert_eq!(world.which("root"), "slow:running stubborn:running waiting:restarting");
        world.stubborn.insert("stubborn".into());
        assert_eq!(world.call("root", terminate("stubborn")), ("-stubborn".into(), None));
        assert_eq!(world.which("root"), "slow:running stubborn:stopping waiting:restarting");
        world.slow.insert("slow".into());
        // Under one-for-one the others go on meanwhile; in a group it is their turn afterwards.
        let trace = world.crash(&["slow"], &CRASH);
        assert_eq!(trace, if strategy == Strategy::OneForOne { "+slow" } else { "" });
        assert!(matches!(world.call("root", Call::CountChildren).1, Some(Ok(Answer::Counts(_)))));
        let later = world.pass(WORKER_SHUTDOWN);
        assert_eq!(later, if strategy == Strategy::OneForOne { "!stubborn" } else { "!stubborn +slow" });
        assert!(world.which("root").starts_with("slow:starting"));
    }
}

#[test]
fn calls_about_a_child_in_transition_wait_for_it() {
    let mut world = World::started(Options::default(), vec![worker("a")]);
    world.stubborn.insert("a".into());
    assert_eq!(world.call("root", terminate("a")).1, None);
    assert_eq!(world.call("root", restart("a")).1, None);
    assert_eq!(world.call("root", start("b")).0, "+b", "that is another child");
    assert_eq!(world.pass(WORKER_SHUTDOWN), "!a +a");
    assert_eq!(world.answer(2), Some(Ok(Answer::Done)));
    assert!(matches!(world.answer(1), Some(Ok(Answer::Started(_)))));
}

#[test]
fn calls_and_children_are_bounded() {
    let mut world = World::started(Options { max_children: 2, ..Options::default() }, vec![worker("a")]);
    assert!(matches!(world.call("root", start("b")).1, Some(Ok(_))));
    assert_eq!(world.call("root", start("c")).1, Some(Err(Error::TooMany(2))));
    world.stubborn.insert("a".into());
    world.call("root", terminate("a"));
    for _ in 0..MAX_WAITING_CALLS {
        assert_eq!(world.call("root", terminate("a")).1, None);
    }
    assert_eq!(world.call("root", terminate("a")).1, Some(Err(Error::Busy)));
    assert_eq!(world.which("root"), "a:stopping b:running");
    world.event(Event::Stop);
    world.pass(WORKER_SHUTDOWN);
    for call in 2..MAX_WAITING_CALLS as u64 {
        assert_eq!(world.answer(call), Some(Err(Error::Ended)), "nobody waits forever");
    }
}

#[test]
fn an_invalid_spec_is_not_added() {
    let mut world = World::started(Options::default(), vec![]);
    let spec = ChildSpec { significant: true, ..with("a", Restart::Transient) };
    let (_, answer) = world.call("root", Call::StartChild(spec));
    assert_eq!(answer, Some(Err(Error::Invalid(InvalidSpec::SignificantNever))));
}
