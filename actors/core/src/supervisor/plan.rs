//! What a supervisor has begun and not finished: children to stop, one after another, then children to start, one
//! after another.
//!
//! OTP's supervisor does nothing else meanwhile. Ours keeps the plan, so that it can answer; whatever concerns the
//! same children waits until the plan is finished, and the outcome is OTP's.

use std::collections::VecDeque;

use crate::exit::Reason;

use super::{
    Phase, Supervisor,
    children::State,
    protocol::{Answer, CallId, Effect, Error, Slot, Stop},
    queue::Job,
    spec::{Restart, Shutdown},
    timers::Alarm,
};

/// Names a plan that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PlanId(pub(super) u64);

/// The first of `stop`, or if there is none the first of `start`, is the one that is being stopped or started.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) stop: VecDeque<Slot>,
    pub(super) start: VecDeque<Slot>,
    pub(super) goal: Goal,
    /// All whom it concerns.
    pub(super) members: Vec<Slot>,
}

/// What a plan is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// The supervisor starts.
    Begin,
    /// A child is restarted, with its siblings if the strategy says so.
    Restart,
    /// A child is added.
    Add(CallId),
    /// A child that was down is started.
    Again(CallId),
    /// A child is terminated.
    Terminate(CallId),
    /// The supervisor ends.
    End,
}

impl<C: Clone> Supervisor<C> {
    pub(super) fn begin(&mut self, goal: Goal, stop: VecDeque<Slot>, start: VecDeque<Slot>) {
        let id = PlanId(self.next_plan);
        self.next_plan += 1;
        let members: Vec<Slot> = stop.iter().chain(&start).copied().collect();
        for &slot in &members {
            if let Some(child) = self.children.get_mut(slot) {
                child.plan = Some(id);
            }
        }
        self.plans.insert(id, Plan { stop, start, goal, members });
        self.advance(id);
    }

    /// Does what can be done of a plan without waiting.
    fn advance(&mut self, id: PlanId) {
        while let Some(slot) = self.plans.get(&id).and_then(|plan| plan.stop.front().copied()) {
            if self.stop(slot) {
                return;
            }
            let Some(plan) = self.plans.get_mut(&id) else { return };
            plan.stop.pop_front();
            let goal = plan.goal.clone();
            self.stopped(slot, &goal);
        }
        match self.plans.get(&id).and_then(|plan| plan.start.front().copied()) {
            Some(slot) => self.start(slot),
            None => self.finish(id),
        }
    }

    /// Makes sure that a child ends. Whether that has to be waited for.
    pub(super) fn stop(&mut self, slot: Slot) -> bool {
        let Some(child) = self.children.get(slot) else { return false };
        let shutdown = child.spec.shutdown;
        let incarnation = match child.state {
            State::Starting { incarnation, .. } | State::Up { incarnation, ended: false, .. } => incarnation,
            State::Stopping(_) => return true,
            State::Up { .. } | State::Down { .. } | State::Restarting { .. } => return false,
        };
        self.children.set(slot, State::Stopping(incarnation));
        let how = if shutdown == Shutdown::BrutalKill { Stop::Kill } else { Stop::Shutdown };
        self.out.push(Effect::Stop { incarnation, how });
        if let Shutdown::Timeout(after) = shutdown {
            self.set_timer(after, Alarm::Kill(incarnation));
        }
        true
    }

    fn stopped(&mut self, slot: Slot, goal: &Goal) {
        match goal {
            Goal::Restart => {
                if self.children.get(slot).is_some_and(|child| child.spec.restart == Restart::Temporary) {
                    self.retire(slot, Reason::Shutdown);
                } else {
                    self.children.set(slot, State::Down { coming: true });
                }
            }
            Goal::Terminate(_) => self.retire(slot, Reason::Shutdown),
            Goal::Begin | Goal::Add(_) | Goal::Again(_) | Goal::End => self.children.set(slot, State::DOWN),
        }
    }

    fn start(&mut self, slot: Slot) {
        let incarnation = self.children.next_incarnation();
        let last = self.children.state(slot).and_then(State::last);
        self.children.set(slot, State::Starting { incarnation, last });
        if let Some(child) = self.children.get(slot) {
            let (id, from) = (child.spec.id.clone(), child.spec.from.clone());
            self.out.push(Effect::Start { slot, incarnation, id, from });
        }
    }

    /// The child that its plan was stopping has ended.
    pub(super) fn has_stopped(&mut self, slot: Slot) {
        self.children.set(slot, State::DOWN);
        // A plan that stops it later finds it down.
        if let Some(id) = self.plan_of(slot) {
            self.advance(id);
        }
    }

    /// The child that its plan was starting has started.
    pub(super) fn has_started(&mut self, slot: Slot) {
        let Some(id) = self.plan_of(slot) else { return };
        if let Some(plan) = self.plans.get_mut(&id) {
            plan.start.pop_front();
        }
        self.advance(id);
    }

    /// The child that its plan was starting has not started.
    pub(super) fn has_failed(&mut self, slot: Slot, reason: Reason) {
        let last = self.children.state(slot).and_then(State::last);
        let Some(id) = self.plan_of(slot) else { return };
        let Some(plan) = self.plans.get(&id) else { return };
        match plan.goal {
            Goal::Restart => {
                // Who comes after it in the group stays down: it comes with the next attempt.
                self.children.set(slot, State::Restarting { last, timer: None });
                self.queue.push_back(Job::Retry(slot));
                self.close(id);
            }
            Goal::Add(call) => {
                self.close(id);
                self.children.remove(slot);
                self.out.push(Effect::Vacated { slot, reason: reason.clone(), kept: false });
                self.reply(call, Err(Error::StartFailed(reason)));
            }
            Goal::Again(call) => {
                self.close(id);
                self.children.set(slot, State::DOWN);
                self.out.push(Effect::Vacated { slot, reason: reason.clone(), kept: true });
                self.reply(call, Err(Error::StartFailed(reason)));
            }
            Goal::Begin | Goal::Terminate(_) | Goal::End => {
                self.children.set(slot, State::DOWN);
                let child = self.children.get(slot).map(|child| child.spec.id.to_string()).unwrap_or_default();
                self.end(Reason::start_failed(format_args!("child {child}: {reason}")));
            }
        }
    }

    fn finish(&mut self, id: PlanId) {
        let Some(plan) = self.close(id) else { return };
        match plan.goal {
            Goal::Begin => {
                self.phase = Phase::Running;
                self.out.push(Effect::Ready);
            }
            Goal::Restart => {}
            Goal::Add(call) | Goal::Again(call) => {
                let started = plan.members.first().and_then(|&slot| self.children.state(slot)?.incarnation());
                self.reply(call, started.map(Answer::Started).ok_or(Error::NotFound));
            }
            Goal::Terminate(call) => {
                self.forsake();
                self.reply(call, Ok(Answer::Done));
            }
            Goal::End => {
                if let Phase::Ending(reason) = std::mem::replace(&mut self.phase, Phase::Ended) {
                    self.out.push(Effect::Done(reason));
                }
            }
        }
    }

    /// Forgets a plan, and lets go of its children.
    fn close(&mut self, id: PlanId) -> Option<Plan> {
        let plan = self.plans.remove(&id)?;
        for &slot in &plan.members {
            if let Some(child) = self.children.get_mut(slot) {
                child.plan = None;
            }
        }
        Some(plan)
    }

    fn plan_of(&self, slot: Slot) -> Option<PlanId> {
        self.children.get(slot)?.plan
    }
}
