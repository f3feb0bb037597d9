//! Random trees and random faults: the state machine does what the model of the manual does.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::{exit::Reason, supervisor::*};

use super::{
    super::backoff::Random,
    model::{Ctx, Sup},
    world::{Seed, Tree, World, id, supervisor, worker},
};

/// Trees for one test, as many as fit into a second or two.
const TREES: u64 = 3_000;

/// What happens to one tree, at most.
const STEPS: usize = 30;

/// Sets the first seed, and lets the test try that one only.
const SEED: &str = "WW_SUPERVISOR_SEED";

struct Dice(Random);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        (self.0.next() * most as f64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn reason(&mut self) -> Reason {
        self.pick(&[Reason::Normal, Reason::Shutdown, Reason::Exit(1), Reason::Killed, Reason::Exit(2)])
    }

    fn child(&mut self, name: &str, auto_shutdown: AutoShutdown) -> ChildSpec<Seed> {
        let mut spec = worker(name);
        spec.restart = self.pick(&[Restart::Permanent, Restart::Permanent, Restart::Transient, Restart::Temporary]);
        if self.below(4) == 0 {
            spec.shutdown = Shutdown::BrutalKill;
        }
        let can = auto_shutdown != AutoShutdown::Never && spec.restart != Restart::Permanent;
        spec.significant = can && self.below(2) == 0;
        spec
    }

    fn tree(&mut self, path: &str, depth: usize) -> Tree {
        use Strategy::{OneForAll, OneForOne, RestForOne, SimpleOneForOne};
        let strategies = [OneForOne, OneForAll, RestForOne, SimpleOneForOne];
        let strategy = self.pick(if depth == 0 { &strategies[..3] } else { &strategies });
        let auto_shutdown =
            self.pick(&[AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant]);
        let options = Options {
            strategy,
            intensity: self.pick(&[0, 1, 2, 3, 5, 20]),
            period: Duration::from_secs(1 + self.below(9) as u64),
            auto_shutdown,
            ..Options::default()
        };
        if strategy == SimpleOneForOne {
            return Tree { options, children: vec![self.child(&format!("{path}.t"), auto_shutdown)] };
        }
        let children = (0..1 + self.below(4)).map(|n| {
            let name = format!("{path}.{n}");
            let spec = self.child(&name, auto_shutdown);
            if depth < 2 && self.below(3) == 0 {
                let Tree { options, children } = self.tree(&name, depth + 1);
                let nested = supervisor(&name, options, children);
                return ChildSpec { shutdown: nested.shutdown, kind: nested.kind, from: nested.from, ..spec };
            }
            spec
        });
        Tree { options, children: children.collect() }
    }
}

/// Decides from the seed, the name and the number of the start whether it fails: for both in the same way.
fn fails(seed: u64) -> Box<dyn FnMut(&str) -> bool> {
    let mut starts: HashMap<String, u64> = HashMap::new();
    Box::new(move |name| {
        let start = starts.entry(name.into()).or_default();
        *start += 1;
        let mix = name.bytes().fold(seed ^ *start << 32, |mix, byte| mix.rotate_left(7) ^ u64::from(byte));
        Random::new(mix).next() < 0.07
    })
}

/// Some workers ignore being told to shut down; instances are all of one kind.
fn stubborn(seed: u64, names: &[String]) -> BTreeSet<String> {
    let odd = |name: &String| Random::new(name.bytes().fold(seed, |mix, b| mix.rotate_left(5) ^ u64::from(b))).next();
    names.iter().filter(|name| odd(name) < 0.15).cloned().collect()
}

fn word(answer: &Result<Answer, Error>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Error::AlreadyPresent) => "already_present",
        Err(Error::AlreadyStarted(_)) => "already_started",
        Err(Error::NotFound) => "not_found",
        Err(Error::Running) => "running",
        Err(Error::Restarting) => "restarting",
        Err(Error::SimpleOneForOne) => "simple_one_for_one",
        Err(Error::NoTemplate) => "no_template",
        Err(Error::StartFailed(_)) => "start_failed",
        Err(error) => panic!("not in the model: {error}"),
    }
}

fn names(tree: &Tree) -> Vec<String> {
    let below = |spec: &ChildSpec<Seed>| spec.from.tree.as_deref().map(names).unwrap_or_default();
    tree.children.iter().flat_map(|spec| [vec![spec.from.name.clone()], below(spec)].concat()).collect()
}

/// What one seed has exercised.
#[derive(Debug, Default)]
struct Seen {
    steps: usize,
    words: usize,
    ends: usize,
    failed_starts: usize,
}

fn run(seed: u64, seen: &mut Seen) {
    let mut dice = Dice(Random::new(seed));
    let tree = dice.tree("r", 0);
    let instances: Vec<String> = (0..STEPS).map(|n| format!("i{n}")).collect();
    let stubborn = stubborn(seed, &[names(&tree), instances].concat());

    let mut world = World::new(tree.options, tree.children.clone());
    world.fails = fails(seed);
    world.stubborn = stubborn.clone();
    let mut ctx = Ctx { now: world.now, trace: Vec::new(), stubborn, fails: fails(seed) };

    let mut trace = world.begin();
    trace = [trace, world.settle()].join(" ").trim().to_owned();
    let mut model = Sup::start(&mut ctx, "root", &tree);
    let mut what = "start".to_owned();
    for step in 0..STEPS {
        assert_eq!(trace, std::mem::take(&mut ctx.trace).join(" "), "step {step}: {what}");
        assert_eq!(world.now, ctx.now, "step {step}: {what}");
        seen.steps += 1;
        seen.words += trace.split(' ').count();
        seen.failed_starts += trace.matches('/').count();
        let Some(root) = &mut model else {
            seen.ends += 1;
            assert!(world.done.is_some(), "step {step}: {what}");
            return;
        };
        assert_eq!(world.done, None, "step {step}: {what}");
        for sup in root.all() {
            assert_eq!(world.which(&sup.name), sup.which(), "step {step}: {what}: {}", sup.name);
        }

        let pause = Duration::from_millis(dice.below(3_000) as u64);
        assert_eq!(world.pass(pause), "", "nothing is left to be done");
        ctx.now += pause;

        let sups: Vec<(String, Vec<String>, Vec<String>)> = root
            .all()
            .iter()
            .map(|sup| {
                let children = sup.children.iter().map(|child| child.spec.id.as_str().to_owned()).collect();
                (sup.name.clone(), sup.workers(), children)
            })
            .collect();
        let (sup, mut workers, mut children) = dice.pick(&sups);
        let ended;
        if dice.below(3) > 0 && !workers.is_empty() {
            let mut victims = Vec::new();
            for _ in 0..1 + dice.below(2) {
                if !workers.is_empty() {
                    victims.push(workers.remove(dice.below(workers.len())));
                }
            }
            let reason = dice.reason();
            what = format!("{victims:?} of {sup} end with {reason}");
            let victims_of_world: Vec<&str> = victims.iter().map(String::as_str).collect();
            trace = world.crash(&victims_of_world, &reason);
            ended = root.crash(&mut ctx, &sup, &victims, &reason);
        } else {
            children.push("nobody".into());
            children.push(format!("{sup}.new"));
            let child = dice.pick(&children);
            let instance = workers.first().cloned().unwrap_or_default();
            let call = match dice.below(6) {
                0 => Call::StartChild(dice.child(&format!("{sup}.new"), AutoShutdown::Never)),
                1 | 2 => Call::StartInstance(Some(Seed { name: format!("i{step}"), tree: None })),
                3 if !instance.is_empty() => Call::TerminateChild(Target::Instance(world.incarnation(&instance))),
                3 | 4 => Call::TerminateChild(Target::Id(id(&child))),
                _ if dice.below(2) == 0 => Call::DeleteChild(id(&child)),
                _ => Call::RestartChild(id(&child)),
            };
            what = format!("{sup} is asked for {call:?}");
            let (words, answer) = world.call(&sup, call.clone());
            trace = [words, world.settle()].join(" ").trim().to_owned();
            let answer = answer.or_else(|| world.answer(0)).expect("answered by now");
            let (over, expected) = root.call(&mut ctx, &sup, &call, &instance);
            assert_eq!(word(&answer), expected, "step {step}: {what}");
            ended = over;
        }
        trace = [trace, world.settle()].join(" ").trim().to_owned();
        if ended {
            assert_eq!(world.done, Some(Reason::Shutdown), "step {step}: {what}");
            model = None;
        }
    }
}

#[test]
fn random_trees_with_random_faults_behave_like_the_model() {
    let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("the seed is a number"));
    let first = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_micros()).unwrap()
    });
    let trees = if given.is_some() { 1 } else { TREES };
    println!("seeds {first} and the {} after it", trees - 1);
    let mut seen = Seen::default();
    for seed in first..first + trees {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut seen)));
        assert!(outcome.is_ok(), "set {SEED}={seed} to see this again");
    }
    println!("{seen:?}");
    if given.is_none() {
        assert!(seen.steps > 20_000 && seen.ends > 100 && seen.failed_starts > 1_000, "too little happened: {seen:?}");
    }
}
