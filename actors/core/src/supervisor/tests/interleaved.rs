//! Everything at once: starts, stops, ends, timers and calls complete in any order. What must hold whatever happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{exit::Reason, supervisor::*};

use super::{super::backoff::Random, world::id};

/// Runs of one supervisor each: about a second.
const RUNS: u64 = 2_000;

/// Events of a run before the supervisor is told to end.
const EVENTS: usize = 150;

/// What a run knows: whatever the supervisor asked for and has not got yet.
struct Run {
    random: Random,
    supervisor: Supervisor<u8>,
    now: Duration,
    starting: Vec<Incarnation>,
    running: Vec<Incarnation>,
    told: Vec<Incarnation>,
    slots: BTreeMap<Incarnation, Slot>,
    timers: Vec<Timer>,
    unanswered: BTreeSet<CallId>,
    calls: u64,
    done: Option<Reason>,
}

impl Run {
    fn below(&mut self, most: usize) -> usize {
        (self.random.next() * most as f64) as usize
    }

    fn take(&mut self, from: fn(&mut Self) -> &mut Vec<Incarnation>) -> Option<Incarnation> {
        let len = from(self).len();
        let at = self.below(len);
        (len > 0).then(|| from(self).remove(at))
    }

    fn tell(&mut self, event: Event<u8>) {
        for effect in self.supervisor.handle(self.now, event) {
            let refusal = matches!(&effect, Effect::Reply { answer: Err(Error::Ended), .. });
            assert!(self.done.is_none() || refusal, "{effect:?} after the end");
            match effect {
                Effect::Start { slot, incarnation, .. } => {
                    assert!(!self.slots.values().any(|other| *other == slot), "two incarnations in one slot");
                    self.slots.insert(incarnation, slot);
                    self.starting.push(incarnation);
                }
                Effect::Stop { incarnation, .. } => {
                    if self.slots.contains_key(&incarnation) && !self.told.contains(&incarnation) {
                        self.told.push(incarnation);
                    }
                }
                Effect::SetTimer { timer, .. } => self.timers.push(timer),
                Effect::TakeBack { timer } => self.timers.retain(|other| *other != timer),
                Effect::Reply { to, .. } => assert!(self.unanswered.remove(&to), "two answers to {to:?}"),
                Effect::Vacated { slot, .. } => {
                    assert!(!self.slots.values().any(|other| *other == slot), "somebody lives there");
                }
                Effect::Report(_) | Effect::Ready => {}
                Effect::Done(reason) => {
                    assert_eq!(self.slots, BTreeMap::new(), "orphans");
                    self.done = Some(reason);
                }
            }
        }
    }

    fn gone(&mut self, incarnation: Incarnation, event: fn(Incarnation, Reason) -> Event<u8>, reason: Reason) {
        for list in [&mut self.starting, &mut self.running, &mut self.told] {
            list.retain(|other| *other != incarnation);
        }
        self.slots.remove(&incarnation);
        self.tell(event(incarnation, reason));
    }

    fn call(&mut self) {
        let name = id(["a", "b", "c", "d"][self.below(4)]);
        let incarnation = Incarnation(self.below(20) as u64);
        let call = match self.below(8) {
            0 => Call::StartChild(ChildSpec::worker(name, 0)),
            1 => Call::StartInstance(None),
            2 => Call::TerminateChild(Target::Id(name)),
            3 => Call::TerminateChild(Target::Instance(incarnation)),
            4 => Call::RestartChild(name),
            5 => Call::DeleteChild(name),
            6 => Call::WhichChildren,
            _ => Call::CountChildren,
        };
        let question = matches!(call, Call::WhichChildren | Call::CountChildren);
        let call_id = CallId(self.calls);
        self.calls += 1;
        self.unanswered.insert(call_id);
        self.tell(Event::Called(call_id, call));
        assert!(!question || !self.unanswered.contains(&call_id), "a question is answered at once");
    }

    fn step(&mut self) {
        let pause = self.below(500) as u64;
        self.now += Duration::from_millis(pause);
        match self.below(8) {
            0 | 1 => {
                if let Some(incarnation) = self.take(|run| &mut run.starting) {
                    self.running.push(incarnation);
                    self.tell(Event::Started(incarnation));
                }
            }
            2 => {
                if self.below(2) == 0
                    && let Some(incarnation) = self.take(|run| &mut run.starting)
                {
                    self.gone(incarnation, Event::StartFailed, Reason::start_failed("no"));
                }
            }
            3 => {
                if let Some(incarnation) = self.take(|run| &mut run.running) {
                    self.gone(incarnation, Event::Exited, Reason::Exit(1));
                }
            }
            4 | 5 => self.obey(),
            6 => {
                let at = self.below(self.timers.len().max(1));
                if at < self.timers.len() {
                    let timer = self.timers.remove(at);
                    self.tell(Event::Elapsed(timer));
                }
            }
            _ => self.call(),
        }
    }

    fn obey(&mut self) {
        if let Some(incarnation) = self.take(|run| &mut run.told) {
            self.gone(incarnation, Event::Exited, Reason::Shutdown);
        }
    }
}

fn run(seed: u64) -> Reason {
    let mut random = Random::new(seed);
    let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::SimpleOneForOne];
    let strategy = strategies[seed as usize % strategies.len()];
    let mut spec = |name: &str| {
        let restart = [Restart::Permanent, Restart::Transient, Restart::Temporary][(random.next() * 3.0) as usize];
        let (base, cap) = (Duration::from_millis(10), Duration::from_secs(1));
        let backoff = (random.next() < 0.5).then_some(Backoff { base, factor: 2.0, cap, jitter: 0.5 });
        ChildSpec { restart, backoff, ..ChildSpec::worker(id(name), 0) }
    };
    let options = Options { intensity: 30, ..Options::new(strategy) };
    let supervisor = match strategy {
        Strategy::SimpleOneForOne => Supervisor::simple(options, spec("a"), seed),
        _ => Supervisor::new(options, ["a", "b", "c"].map(spec).to_vec(), seed),
    };
    let mut run = Run {
        random: Random::new(!seed),
        supervisor: supervisor.unwrap(),
        now: Duration::ZERO,
        starting: vec![],
        running: vec![],
        told: vec![],
        slots: BTreeMap::new(),
        timers: vec![],
        unanswered: BTreeSet::new(),
        calls: 0,
        done: None,
    };
    run.tell(Event::Start);
    for _ in 0..EVENTS {
        run.step();
    }
    let kill = run.below(2) == 0;
    run.tell(if kill { Event::Kill } else { Event::Stop });
    while run.done.is_none() {
        assert!(!run.told.is_empty(), "it waits for nobody: {:?}", run.supervisor);
        run.obey();
    }
    run.call();
    assert_eq!(run.unanswered, BTreeSet::new(), "every call is answered");
    run.done.expect("it has ended")
}

#[test]
fn whatever_the_order_nobody_is_orphaned_and_every_call_is_answered() {
    let mut ends = BTreeMap::new();
    for seed in 0..RUNS {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let reason = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        *ends.entry(reason.code()).or_insert(0) += 1;
    }
    let codes: Vec<u8> = ends.keys().copied().collect();
    assert_eq!(codes, [126, 137, 143], "it could not start, was killed, was shut down: {ends:?}");
}
