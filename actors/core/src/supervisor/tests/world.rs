//! Drives supervisors, nested ones too, without clock and threads, and writes down what they do.
//!
//! A trace is a sequence of words: `+a` a is started, `/a` a could not be started, `-a` a is told to shut down, `!a` a
//! is killed, `=a` the supervisor a has ended. Workers obey at once unless told otherwise.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{exit::Reason, supervisor::*};

/// What a child is started from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seed {
    pub(super) name: String,
    pub(super) tree: Option<Arc<Tree>>,
}

/// A supervisor and its children.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    pub(super) options: Options,
    /// The first one is the template, if the strategy is simple-one-for-one.
    pub(super) children: Vec<ChildSpec<Seed>>,
}

#[derive(Debug)]
struct Machine {
    name: String,
    supervisor: Supervisor<Seed>,
    parent: Option<(usize, Incarnation)>,
    ready: bool,
    living: BTreeMap<Incarnation, (String, Option<usize>)>,
    slots: BTreeMap<Slot, String>,
}

pub(super) struct World {
    pub(super) now: Duration,
    machines: BTreeMap<usize, Machine>,
    work: VecDeque<(usize, Effect<Seed>)>,
    timers: Vec<(Duration, usize, Timer)>,
    trace: Vec<String>,
    pub(super) vacated: Vec<(String, Reason, bool)>,
    pub(super) reports: Vec<Report>,
    pub(super) done: Option<Reason>,
    answers: BTreeMap<CallId, Result<Answer, Error>>,
    next: usize,
    calls: u64,
    /// Who ignores being told to shut down.
    pub(super) stubborn: BTreeSet<String>,
    /// Whose start takes until [`World::started`].
    pub(super) slow: BTreeSet<String>,
    /// Whether this start of this child fails.
    pub(super) fails: Box<dyn FnMut(&str) -> bool>,
}

pub(super) fn id(id: &str) -> ChildId {
    ChildId::new(id).unwrap()
}

pub(super) fn worker(name: &str) -> ChildSpec<Seed> {
    ChildSpec::worker(id(name), Seed { name: name.into(), tree: None })
}

pub(super) fn with(name: &str, restart: Restart) -> ChildSpec<Seed> {
    ChildSpec { restart, ..worker(name) }
}

pub(super) fn supervisor(name: &str, options: Options, children: Vec<ChildSpec<Seed>>) -> ChildSpec<Seed> {
    let tree = Some(Arc::new(Tree { options, children }));
    ChildSpec::supervisor(id(name), Seed { name: name.into(), tree })
}

impl World {
    pub(super) fn new(options: Options, children: Vec<ChildSpec<Seed>>) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1_000),
            machines: BTreeMap::new(),
            work: VecDeque::new(),
            timers: Vec::new(),
            trace: Vec::new(),
            vacated: Vec::new(),
            reports: Vec::new(),
            done: None,
            answers: BTreeMap::new(),
            next: 0,
            calls: 0,
            stubborn: BTreeSet::new(),
            slow: BTreeSet::new(),
            fails: Box::new(|_| false),
        };
        world.machine("root", &Tree { options, children }, None);
        world
    }

    /// A world whose root has started these children.
    pub(super) fn started(options: Options, children: Vec<ChildSpec<Seed>>) -> Self {
        let mut world = Self::new(options, children);
        world.begin();
        world
    }

    pub(super) fn begin(&mut self) -> String {
        self.event(Event::Start)
    }

    fn machine(&mut self, name: &str, tree: &Tree, parent: Option<(usize, Incarnation)>) -> usize {
        let key = self.next;
        self.next += 1;
        let supervisor = match tree.options.strategy {
            Strategy::SimpleOneForOne => Supervisor::simple(tree.options, tree.children[0].clone(), 1),
            _ => Supervisor::new(tree.options, tree.children.clone(), 1),
        };
        let machine = Machine {
            name: name.into(),
            supervisor: supervisor.unwrap(),
            parent,
            ready: false,
            living: BTreeMap::new(),
            slots: BTreeMap::new(),
        };
        self.machines.insert(key, machine);
        key
    }

    /// Timers that were asked for, and have neither elapsed nor been taken back.
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Lets an event happen to the root, and everything that follows from it. What happened.
    pub(super) fn event(&mut self, event: Event<Seed>) -> String {
        self.tell(0, event);
        self.run()
    }

    fn tell(&mut self, key: usize, event: Event<Seed>) {
        let Some(machine) = self.machines.get_mut(&key) else { return };
        let effects = machine.supervisor.handle(self.now, event);
        self.work.extend(effects.into_iter().map(|effect| (key, effect)));
    }

    pub(super) fn run(&mut self) -> String {
        while let Some((key, effect)) = self.work.pop_front() {
            self.perform(key, effect);
        }
        std::mem::take(&mut self.trace).join(" ")
    }

    fn perform(&mut self, key: usize, effect: Effect<Seed>) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&key) else { panic!("{effect:?} after the end") };
        match effect {
            Effect::Start { slot, incarnation, from, .. } => {
                machine.slots.insert(slot, from.name.clone());
                if let Some(tree) = &from.tree {
                    self.trace.push(format!("+{}", from.name));
                    let nested = self.machine(&from.name, tree, Some((key, incarnation)));
                    let machine = self.machines.get_mut(&key).unwrap();
                    machine.living.insert(incarnation, (from.name, Some(nested)));
                    self.tell(nested, Event::Start);
                } else if (self.fails)(&from.name) {
                    self.trace.push(format!("/{}", from.name));
                    self.tell(key, Event::StartFailed(incarnation, Reason::start_failed("no")));
                } else {
                    self.trace.push(format!("+{}", from.name));
                    machine.living.insert(incarnation, (from.name.clone(), None));
                    if !self.slow.contains(&from.name) {
                        self.tell(key, Event::Started(incarnation));
                    }
                }
            }
            Effect::Stop { incarnation, how } => {
                let Some((name, nested)) = machine.living.get(&incarnation).cloned() else { return };
                self.trace.push(format!("{}{name}", if how == Stop::Kill { '!' } else { '-' }));
                match (nested, how) {
                    (Some(nested), Stop::Shutdown) => self.tell(nested, Event::Stop),
                    (Some(nested), Stop::Kill) => self.tell(nested, Event::Kill),
                    (None, Stop::Shutdown) if self.stubborn.contains(&name) => {}
                    (None, how) => {
                        machine.living.remove(&incarnation);
                        let reason = if how == Stop::Kill { Reason::Killed } else { Reason::Shutdown };
                        self.tell(key, Event::Exited(incarnation, reason));
                    }
                }
            }
            Effect::SetTimer { timer, after } => self.timers.push((now + after, key, timer)),
            Effect::TakeBack { timer } => self.timers.retain(|&(_, whose, other)| (whose, other) != (key, timer)),
            Effect::Reply { to, answer } => {
                assert!(self.answers.insert(to, answer).is_none(), "two answers to {to:?}");
            }
            Effect::Vacated { slot, reason, kept } => {
                let name = machine.slots.get(&slot).cloned().unwrap_or_default();
                self.vacated.push((name, reason, kept));
            }
            Effect::Report(report) => self.reports.push(report),
            Effect::Ready => {
                machine.ready = true;
                if let Some((parent, incarnation)) = machine.parent {
                    self.tell(parent, Event::Started(incarnation));
                }
            }
            Effect::Done(reason) => {
                assert!(machine.living.is_empty(), "orphans: {:?}", machine.living);
                assert!(machine.supervisor.has_ended());
                let (name, ready, parent) = (machine.name.clone(), machine.ready, machine.parent);
                self.trace.push(format!("={name}"));
                self.machines.remove(&key);
                match parent {
                    Some((parent, incarnation)) => {
                        self.machines.get_mut(&parent).unwrap().living.remove(&incarnation);
                        let event = if ready { Event::Exited } else { Event::StartFailed };
                        self.tell(parent, event(incarnation, reason));
                    }
                    None => self.done = Some(reason),
                }
            }
        }
    }

    /// Where a living child is.
    fn find(&self, name: &str) -> Option<(usize, Incarnation)> {
        self.machines.iter().find_map(|(&key, machine)| {
            let (&incarnation, _) = machine.living.iter().find(|(_, (living, _))| living == name)?;
            Some((key, incarnation))
        })
    }

    pub(super) fn incarnation(&self, name: &str) -> Incarnation {
        self.find(name).unwrap_or_else(|| panic!("{name} does not live")).1
    }

    /// Lets living workers end at the same moment, in this order.
    pub(super) fn crash(&mut self, names: &[&str], reason: &Reason) -> String {
        let found: Vec<_> = names.iter().map(|name| self.find(name).unwrap_or_else(|| panic!("no {name}"))).collect();
        for (key, incarnation) in &found {
            self.machines.get_mut(key).unwrap().living.remove(incarnation);
        }
        for (key, incarnation) in found {
            self.tell(key, Event::Exited(incarnation, reason.clone()));
        }
        self.run()
    }

    /// The slow start of a child is complete.
    pub(super) fn complete(&mut self, name: &str) -> String {
        let (key, incarnation) = self.find(name).unwrap();
        self.tell(key, Event::Started(incarnation));
        self.run()
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) -> String {
        let end = self.now + time;
        let mut trace = Vec::new();
        while let Some(at) = self.next_timer().filter(|&at| self.timers[at].0 <= end) {
            let (due, key, timer) = self.timers.remove(at);
            self.now = self.now.max(due);
            self.tell(key, Event::Elapsed(timer));
            trace.push(self.run());
        }
        self.now = end;
        trace.retain(|words| !words.is_empty());
        trace.join(" ")
    }

    fn next_timer(&self) -> Option<usize> {
        (0..self.timers.len()).min_by_key(|&at| self.timers[at])
    }

    /// Makes a call to the supervisor of this name. The trace, and the answer if there is one by now.
    pub(super) fn call(&mut self, name: &str, call: Call<Seed>) -> (String, Option<Result<Answer, Error>>) {
        let call_id = CallId(self.calls);
        self.calls += 1;
        let key = *self.machines.iter().find(|(_, machine)| machine.name == name).unwrap().0;
        self.tell(key, Event::Called(call_id, call));
        let trace = self.run();
        (trace, self.answers.get(&call_id).cloned())
    }

    /// The answer to the call before this many others.
    pub(super) fn answer(&self, call: u64) -> Option<Result<Answer, Error>> {
        self.answers.get(&CallId(self.calls - 1 - call)).cloned()
    }

    /// What `which` says of the supervisor of this name: `a:running b:undefined`.
    pub(super) fn which(&mut self, name: &str) -> String {
        let (_, Some(Ok(Answer::Children(children)))) = self.call(name, Call::WhichChildren) else {
            panic!("no answer")
        };
        let word = |child: Child| {
            let status = match child.status {
                Status::Starting(_) => "starting",
                Status::Running(_) => "running",
                Status::Stopping(_) => "stopping",
                Status::Restarting => "restarting",
                Status::Undefined => "undefined",
            };
            format!("{}:{status}", child.id.map_or("-".into(), |id| id.to_string()))
        };
        children.into_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn living(&self) -> Vec<String> {
        let names = self.machines.values().flat_map(|machine| machine.living.values().map(|(name, _)| name.clone()));
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Lets time pass until nobody ignores being told to shut down.
    pub(super) fn settle(&mut self) -> String {
        let mut trace = self.run();
        loop {
            let stopping = self.machines.values_mut().any(|machine| {
                let effects = machine.supervisor.handle(self.now, Event::Called(CallId(u64::MAX), Call::WhichChildren));
                let [Effect::Reply { answer: Ok(Answer::Children(children)), .. }] = &effects[..] else {
                    panic!("{effects:?}")
                };
                let stubborn = |child: &Child| match child.status {
                    Status::Stopping(incarnation) => machine.living.get(&incarnation).is_some_and(|(_, n)| n.is_none()),
                    _ => false,
                };
                children.iter().any(stubborn)
            });
            let Some(at) = self.next_timer().filter(|_| stopping) else { return trace };
            let more = self.pass(self.timers[at].0.saturating_sub(self.now));
            trace = [trace, more].join(" ").trim().to_owned();
        }
    }
}
