//! The manual as a program: a supervisor that blocks in whatever it does, with a mailbox for what happens meanwhile.
//!
//! Written from the manual and not from the state machine, with which it shares the specs and nothing else. Slow and
//! without any cleverness: children are a list, a start or a stop is a function call.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{exit::Reason, supervisor::*};

use super::world::{Seed, Tree};

/// The world around the supervisors.
pub(super) struct Ctx {
    pub(super) now: Duration,
    pub(super) trace: Vec<String>,
    pub(super) stubborn: BTreeSet<String>,
    pub(super) fails: Box<dyn FnMut(&str) -> bool>,
}

pub(super) struct Sup {
    pub(super) name: String,
    options: Options,
    template: Option<ChildSpec<Seed>>,
    pub(super) children: Vec<Child>,
    restarts: Vec<Duration>,
    mailbox: VecDeque<Mail>,
}

pub(super) struct Child {
    pub(super) name: String,
    pub(super) spec: ChildSpec<Seed>,
    pub(super) pid: Pid,
}

pub(super) enum Pid {
    Undefined,
    Restarting,
    Worker,
    Supervisor(Box<Sup>),
    /// It has ended, and its supervisor has not heard of it yet.
    Dead,
}

enum Mail {
    Exit(String, Reason),
    TryAgain(String),
}

/// Whether the supervisor has ended, with `shutdown`.
type Ended = bool;

impl Sup {
    pub(super) fn start(ctx: &mut Ctx, name: &str, tree: &Tree) -> Option<Self> {
        let simple = tree.options.strategy == Strategy::SimpleOneForOne;
        let mut sup = Self {
            name: name.into(),
            options: tree.options,
            template: simple.then(|| tree.children[0].clone()),
            children: Vec::new(),
            restarts: Vec::new(),
            mailbox: VecDeque::new(),
        };
        for spec in tree.children.iter().filter(|_| !simple) {
            sup.children.push(Child { name: spec.from.name.clone(), spec: spec.clone(), pid: Pid::Undefined });
        }
        for at in 0..sup.children.len() {
            if !sup.start_child(ctx, at) {
                sup.terminate(ctx);
                return None;
            }
        }
        Some(sup)
    }

    fn start_child(&mut self, ctx: &mut Ctx, at: usize) -> bool {
        let child = &mut self.children[at];
        match &child.spec.from.tree {
            None if (ctx.fails)(&child.name) => {
                ctx.trace.push(format!("/{}", child.name));
                return false;
            }
            None => {
                ctx.trace.push(format!("+{}", child.name));
                child.pid = Pid::Worker;
            }
            Some(tree) => {
                ctx.trace.push(format!("+{}", child.name));
                match Self::start(ctx, &child.name, tree) {
                    Some(sup) => child.pid = Pid::Supervisor(Box::new(sup)),
                    None => return false,
                }
            }
        }
        true
    }

    fn stop_child(&mut self, ctx: &mut Ctx, at: usize) {
        let child = &mut self.children[at];
        let kills = child.spec.shutdown == Shutdown::BrutalKill;
        match &mut child.pid {
            Pid::Worker => {
                ctx.trace.push(format!("{}{}", if kills { '!' } else { '-' }, child.name));
                if let (Shutdown::Timeout(time), true) = (child.spec.shutdown, ctx.stubborn.contains(&child.name)) {
                    ctx.now += time;
                    ctx.trace.push(format!("!{}", child.name));
                }
            }
            Pid::Supervisor(sup) => {
                ctx.trace.push(format!("-{}", child.name));
                sup.terminate(ctx);
            }
            Pid::Undefined | Pid::Restarting | Pid::Dead => {}
        }
        child.pid = Pid::Undefined;
    }

    pub(super) fn terminate(&mut self, ctx: &mut Ctx) {
        if self.template.is_some() {
            let living = self.children.iter().rev().filter(|child| matches!(child.pid, Pid::Worker));
            let mut late = Vec::new();
            for child in living {
                let kills = child.spec.shutdown == Shutdown::BrutalKill;
                ctx.trace.push(format!("{}{}", if kills { '!' } else { '-' }, child.name));
                if !kills && ctx.stubborn.contains(&child.name) {
                    late.push(format!("!{}", child.name));
                }
            }
            if !late.is_empty() {
                ctx.now += WORKER_SHUTDOWN;
            }
            ctx.trace.extend(late);
        } else {
            for at in (0..self.children.len()).rev() {
                self.stop_child(ctx, at);
            }
        }
        ctx.trace.push(format!("={}", self.name));
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.children.iter().position(|child| child.name == name)
    }

    /// A child that has ended: temporary children and instances are forgotten, of others the spec stays.
    fn del_child(&mut self, at: usize) {
        if self.template.is_some() || self.children[at].spec.restart == Restart::Temporary {
            self.children.remove(at);
        } else {
            self.children[at].pid = Pid::Undefined;
        }
    }

    fn child_exited(&mut self, ctx: &mut Ctx, name: &str, reason: &Reason) -> Ended {
        let Some(at) = self.at(name).filter(|&at| matches!(self.children[at].pid, Pid::Dead)) else { return false };
        let spec = self.children[at].spec.clone();
        let restarts = match spec.restart {
            Restart::Permanent => true,
            Restart::Transient => !matches!(reason, Reason::Normal | Reason::Shutdown),
            Restart::Temporary => false,
        };
        if restarts {
            return self.restart(ctx, at);
        }
        self.del_child(at);
        let alive = |child: &Child| child.spec.significant && !matches!(child.pid, Pid::Undefined);
        let ends = spec.significant
            && match self.options.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children.iter().any(alive),
            };
        if ends {
            self.terminate(ctx);
        }
        ends
    }

    fn restart(&mut self, ctx: &mut Ctx, at: usize) -> Ended {
        let (now, period) = (ctx.now, self.options.period);
        self.restarts.push(now);
        self.restarts.retain(|&then| then + period >= now);
        self.children[at].pid = Pid::Undefined;
        if self.restarts.len() > self.options.intensity as usize {
            self.terminate(ctx);
            return true;
        }
        let group = match self.options.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => at..at + 1,
            Strategy::OneForAll => 0..self.children.len(),
            Strategy::RestForOne => at..self.children.len(),
        };
        for other in group.clone().rev() {
            self.stop_child(ctx, other);
        }
        let names: Vec<String> = self.children[group].iter().map(|child| child.name.clone()).collect();
        self.children.retain(|child| child.spec.restart != Restart::Temporary || !names.contains(&child.name));
        for name in names {
            let Some(other) = self.at(&name) else { continue };
            if !self.start_child(ctx, other) {
                self.children[other].pid = Pid::Restarting;
                self.mailbox.push_back(Mail::TryAgain(name));
                return false;
            }
        }
        false
    }

    fn serve(&mut self, ctx: &mut Ctx) -> Ended {
        while let Some(mail) = self.mailbox.pop_front() {
            let ended = match mail {
                Mail::Exit(name, reason) => self.child_exited(ctx, &name, &reason),
                Mail::TryAgain(name) => match self.at(&name) {
                    Some(at) if matches!(self.children[at].pid, Pid::Restarting) => self.restart(ctx, at),
                    _ => false,
                },
            };
            if ended {
                return true;
            }
        }
        false
    }

    /// Does something to the supervisor of this name, and lets everybody above hear what became of it.
    fn reach(&mut self, ctx: &mut Ctx, name: &str, act: &mut dyn FnMut(&mut Self, &mut Ctx)) -> Ended {
        if self.name == name {
            act(self, ctx);
        } else {
            for at in 0..self.children.len() {
                let child = &mut self.children[at];
                if let Pid::Supervisor(sup) = &mut child.pid
                    && sup.reach(ctx, name, act)
                {
                    child.pid = Pid::Dead;
                    self.mailbox.push_back(Mail::Exit(child.name.clone(), Reason::Shutdown));
                }
            }
        }
        self.serve(ctx)
    }

    /// Workers of one supervisor end at the same moment.
    pub(super) fn crash(&mut self, ctx: &mut Ctx, sup: &str, names: &[String], reason: &Reason) -> Ended {
        self.reach(ctx, sup, &mut |sup, _| {
            for name in names {
                let at = sup.at(name).expect("it lives");
                sup.children[at].pid = Pid::Dead;
                sup.mailbox.push_back(Mail::Exit(name.clone(), reason.clone()));
            }
        })
    }

    /// A call to the supervisor of this name: OTP's answer, in a word. `instance` says which instance is meant.
    pub(super) fn call(&mut self, ctx: &mut Ctx, sup: &str, call: &Call<Seed>, instance: &str) -> (Ended, String) {
        let mut answer = String::new();
        let ended = self.reach(ctx, sup, &mut |sup, ctx| answer = sup.answer(ctx, call, instance).into());
        (ended, answer)
    }

    fn answer(&mut self, ctx: &mut Ctx, call: &Call<Seed>, instance: &str) -> &'static str {
        let simple = self.template.is_some();
        let find = |sup: &Self, id: &ChildId| sup.children.iter().position(|child| child.spec.id == *id);
        match call {
            Call::StartInstance(Some(seed)) => {
                let Some(template) = self.template.clone() else { return "no_template" };
                let spec = ChildSpec { from: seed.clone(), ..template };
                self.children.push(Child { name: seed.name.clone(), spec, pid: Pid::Undefined });
                self.start_last(ctx)
            }
            Call::TerminateChild(Target::Instance(_)) => {
                let Some(at) = self.at(instance).filter(|_| simple) else { return "not_found" };
                self.stop_child(ctx, at);
                self.del_child(at);
                "ok"
            }
            _ if simple => "simple_one_for_one",
            Call::StartChild(spec) => match find(self, &spec.id).map(|at| &self.children[at].pid) {
                Some(Pid::Undefined | Pid::Restarting) => "already_present",
                Some(_) => "already_started",
                None => {
                    self.children.push(Child { name: spec.from.name.clone(), spec: spec.clone(), pid: Pid::Undefined });
                    self.start_last(ctx)
                }
            },
            Call::TerminateChild(Target::Id(id)) => {
                let Some(at) = find(self, id) else { return "not_found" };
                self.stop_child(ctx, at);
                self.del_child(at);
                "ok"
            }
            Call::RestartChild(id) | Call::DeleteChild(id) => {
                let Some(at) = find(self, id) else { return "not_found" };
                match self.children[at].pid {
                    Pid::Restarting => return "restarting",
                    Pid::Undefined => {}
                    _ => return "running",
                }
                if matches!(call, Call::RestartChild(_)) {
                    return if self.start_child(ctx, at) { "ok" } else { "start_failed" };
                }
                self.children.remove(at);
                "ok"
            }
            _ => panic!("not in the model: {call:?}"),
        }
    }

    fn start_last(&mut self, ctx: &mut Ctx) -> &'static str {
        if self.start_child(ctx, self.children.len() - 1) {
            return "ok";
        }
        self.children.pop();
        "start_failed"
    }

    /// What `which` says.
    pub(super) fn which(&self) -> String {
        let word = |child: &Child| {
            let status = match child.pid {
                Pid::Undefined => "undefined",
                Pid::Restarting => "restarting",
                Pid::Worker | Pid::Supervisor(_) | Pid::Dead => "running",
            };
            let id = if self.template.is_some() { "-" } else { child.spec.id.as_str() };
            format!("{id}:{status}")
        };
        self.children.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// This supervisor and all below it.
    pub(super) fn all(&self) -> Vec<&Self> {
        let below = self.children.iter().filter_map(|child| match &child.pid {
            Pid::Supervisor(sup) => Some(sup.all()),
            _ => None,
        });
        std::iter::once(self).chain(below.flatten()).collect()
    }

    pub(super) fn workers(&self) -> Vec<String> {
        let workers = self.children.iter().filter(|child| matches!(child.pid, Pid::Worker));
        workers.map(|child| child.name.clone()).collect()
    }
}
