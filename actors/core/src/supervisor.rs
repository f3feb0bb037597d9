//! Supervisors in the sense of OTP: they start, watch, restart and stop children.
//!
//! A [`Supervisor`] is a pure state machine. It is told what happened, as an [`Event`] with the time at which it
//! happened, and says what is to be done, as a list of [`Effect`]s in order. It has no clock, no thread and no random
//! numbers of its own: the same events give the same effects. Whoever drives it starts and stops the children, which
//! are cells or supervisors again, and reports their ends.
//!
//! The rules are those of the `supervisor` manual of OTP 25 and later. Three things are ours:
//!
//! - It never blocks. While a child starts slowly, shuts down or waits for its restart, the supervisor says which
//!   children there are and how many. Under `one-for-one` and `simple-one-for-one` it also goes on with the other
//!   children; what concerns the same child, or a group, happens one after another, as in OTP.
//! - It waits before a restart if the child's spec has a [`Backoff`]. The siblings of a group live on until the
//!   wait is over.
//! - A [`Slot`] outlives the incarnations in it, so that its mailbox and names can; [`Effect::Vacated`] says when
//!   nobody is coming any more.
//!
//! Bounded: children by [`Options::max_children`], calls that wait by [`MAX_WAITING_CALLS`], restarts that are
//! counted by the intensity, of which a few hundred moments are remembered. Timers that are no longer wanted elapse and do
//! nothing, or are taken back when there are more of them than twice as many as children.

mod backoff;
mod calls;
mod children;
mod intensity;
mod options;
mod plan;
mod protocol;
mod queue;
mod spec;
mod timers;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use crate::exit::Reason;

use self::{
    backoff::Random,
    children::{Children, State},
    intensity::Window,
    plan::{Goal, Plan, PlanId},
    queue::Job,
    timers::Alarm,
};

pub use self::{
    backoff::{Backoff, Invalid as InvalidBackoff},
    options::{AutoShutdown, DEFAULT_INTENSITY, DEFAULT_PERIOD, Invalid, MAX_INTENSITY, Options, Strategy},
    protocol::{
        Answer, Call, CallId, Child, Counts, Effect, Error, Escalation, Event, Incarnation, Report, Slot, Status, Stop,
        Target, Timer,
    },
    spec::{ChildId, ChildSpec, Invalid as InvalidSpec, Kind, MAX_ID_LEN, Restart, Shutdown, WORKER_SHUTDOWN},
};

/// Calls that may wait for a supervisor: a caller that finds as many before it does better to try again later.
pub const MAX_WAITING_CALLS: usize = 256;

/// A supervisor of children that are started from `C`s.
#[derive(Clone, Debug)]
pub struct Supervisor<C> {
    options: Options,
    /// What instances are made from, in a simple-one-for-one supervisor only.
    template: Option<ChildSpec<C>>,
    children: Children<C>,
    phase: Phase,
    plans: BTreeMap<PlanId, Plan>,
    queue: VecDeque<Job<C>>,
    timers: HashMap<Timer, Alarm>,
    window: Window,
    random: Random,
    next_plan: u64,
    next_timer: u64,
    /// The time of the event in progress.
    now: Duration,
    /// The effects of the event in progress.
    out: Vec<Effect<C>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Not started yet, or its first children are being started.
    Starting,
    Running,
    /// Its children are being stopped; the reason is its own.
    Ending(Reason),
    Ended,
}

impl<C: Clone> Supervisor<C> {
    /// A supervisor of these children, in this order; not for [`Strategy::SimpleOneForOne`]. `seed` is where the
    /// random numbers for the jitter of backoffs come from.
    ///
    /// # Errors
    ///
    /// Where the options or a spec contradict themselves or one another.
    pub fn new(options: Options, children: Vec<ChildSpec<C>>, seed: u64) -> Result<Self, Invalid> {
        if options.strategy == Strategy::SimpleOneForOne {
            return Err(Invalid::Template);
        }
        if children.len() > options.max_children as usize {
            return Err(Invalid::TooMany { found: children.len(), most: options.max_children });
        }
        let mut supervisor = Self::empty(options, None, seed)?;
        for spec in children {
            spec.check(options.auto_shutdown).map_err(|why| Invalid::Child { id: spec.id.clone(), why })?;
            if supervisor.children.find(&spec.id).is_some() {
                return Err(Invalid::Duplicate(spec.id));
            }
            supervisor.children.add(spec);
        }
        Ok(supervisor)
    }

    /// A supervisor of instances of a template, none to begin with; only for [`Strategy::SimpleOneForOne`].
    ///
    /// # Errors
    ///
    /// Where the options or the template contradict themselves or one another.
    pub fn simple(options: Options, template: ChildSpec<C>, seed: u64) -> Result<Self, Invalid> {
        if options.strategy != Strategy::SimpleOneForOne {
            return Err(Invalid::Template);
        }
        template.check(options.auto_shutdown).map_err(|why| Invalid::Child { id: template.id.clone(), why })?;
        Self::empty(options, Some(template), seed)
    }

    fn empty(options: Options, template: Option<ChildSpec<C>>, seed: u64) -> Result<Self, Invalid> {
        options.check()?;
        Ok(Self {
            options,
            children: Children::new(template.is_some()),
            template,
            phase: Phase::Starting,
            plans: BTreeMap::new(),
            queue: VecDeque::new(),
            timers: HashMap::new(),
            window: Window::new(options.intensity, options.period),
            random: Random::new(seed),
            next_plan: 0,
            next_timer: 0,
            now: Duration::ZERO,
            out: Vec::new(),
        })
    }

    /// Takes an event that happened at `now`, and says what is to be done, in this order.
    ///
    /// `now` is the time since any moment that stays the same, and never goes back. Events that make no sense, such as
    /// the end of an incarnation that has ended, do nothing.
    pub fn handle(&mut self, now: Duration, event: Event<C>) -> Vec<Effect<C>> {
        self.now = self.now.max(now);
        match event {
            Event::Start => {
                if self.phase == Phase::Starting && self.plans.is_empty() {
                    self.begin(Goal::Begin, VecDeque::new(), self.children.slots().collect());
                }
            }
            Event::Started(incarnation) => self.started(incarnation),
            Event::StartFailed(incarnation, reason) | Event::Exited(incarnation, reason) => {
                self.gone(incarnation, reason);
            }
            Event::Elapsed(timer) => self.elapsed(timer),
            Event::Called(id, call) => self.called(id, call),
            Event::Stop => self.end(Reason::Shutdown),
            Event::Kill => self.kill(),
        }
        self.pump();
        self.take_back();
        std::mem::take(&mut self.out)
    }

    /// Whether the supervisor has ended: it only refuses calls from now on.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    fn started(&mut self, incarnation: Incarnation) {
        let Some(slot) = self.children.find_incarnation(incarnation) else { return };
        // One that is being stopped already has nothing to say but its end.
        if matches!(self.children.state(slot), Some(State::Starting { incarnation: new, .. }) if new == incarnation) {
            self.children.set(slot, State::Up { incarnation, since: self.now, ended: false });
            self.has_started(slot);
        }
    }

    /// An incarnation has ended, or never was.
    fn gone(&mut self, incarnation: Incarnation, reason: Reason) {
        let Some(slot) = self.children.find_incarnation(incarnation) else { return };
        match self.children.state(slot).filter(|state| state.incarnation() == Some(incarnation)) {
            Some(State::Starting { .. }) => self.has_failed(slot, reason),
            Some(State::Stopping(_)) => self.has_stopped(slot),
            Some(State::Up { since, ended: false, .. }) => {
                self.children.set(slot, State::Up { incarnation, since, ended: true });
                self.queue.push_back(Job::Exit(slot, incarnation, reason));
            }
            Some(State::Up { .. } | State::Restarting { .. } | State::Down { .. }) | None => {}
        }
    }

    /// Ends the supervisor with `reason`: its children first, the last one first. Instances are stopped all at once.
    fn end(&mut self, reason: Reason) {
        if matches!(self.phase, Phase::Ending(_) | Phase::Ended) {
            return;
        }
        self.phase = Phase::Ending(reason);
        for plan in std::mem::take(&mut self.plans).into_values() {
            if let Goal::Add(call) | Goal::Again(call) | Goal::Terminate(call) = plan.goal {
                self.reply(call, Err(Error::Ended));
            }
        }
        for job in std::mem::take(&mut self.queue) {
            if let Job::Call(call, _) = job {
                self.reply(call, Err(Error::Ended));
            }
        }
        let order: VecDeque<Slot> = self.children.slots().rev().collect();
        if self.template.is_some() {
            for &slot in &order {
                self.stop(slot);
            }
        }
        self.begin(Goal::End, order, VecDeque::new());
    }

    /// Ends the supervisor and all its children at once.
    fn kill(&mut self) {
        if self.phase == Phase::Ended {
            return;
        }
        let living: Vec<(Slot, Incarnation)> = self
            .children
            .iter()
            .rev()
            .filter_map(|(slot, child)| match child.state {
                State::Starting { incarnation, .. }
                | State::Up { incarnation, ended: false, .. }
                | State::Stopping(incarnation) => Some((slot, incarnation)),
                State::Up { .. } | State::Down { .. } | State::Restarting { .. } => None,
            })
            .collect();
        for (slot, incarnation) in living {
            self.children.set(slot, State::Stopping(incarnation));
            self.out.push(Effect::Stop { incarnation, how: Stop::Kill });
        }
        self.end(Reason::Killed);
        if let Phase::Ending(reason) = &mut self.phase {
            *reason = Reason::Killed;
        }
    }
}

#[cfg(test)]
mod tests;
