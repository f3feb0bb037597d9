//! What waits for its turn: the mailbox of OTP's supervisor, except that what concerns other children may overtake.

use std::{collections::VecDeque, time::Duration};

use crate::exit::Reason;

use super::{
    Phase, Supervisor,
    children::{Child, State},
    options::{AutoShutdown, Strategy},
    plan::Goal,
    protocol::{Call, CallId, Effect, Escalation, Incarnation, Report, Slot, Timer},
    spec::Restart,
    timers::Alarm,
};

/// Something to do. Only calls are bounded by number; of the others there is at most one per child and state.
#[derive(Clone, Debug)]
pub(super) enum Job<C> {
    /// A child has ended by itself.
    Exit(Slot, Incarnation, Reason),
    /// The restart of a child has failed, and is tried again.
    Retry(Slot),
    /// A child has waited long enough for its restart.
    Due(Slot, Timer),
    /// A call that changes something.
    Call(CallId, Call<C>),
}

impl<C: Clone> Supervisor<C> {
    /// Does whatever can be done now.
    ///
    /// In a group strategy everything concerns everybody: one thing after another. Otherwise the children are
    /// independent, and only what concerns the same child is kept in order.
    pub(super) fn pump(&mut self) {
        let mut at = 0;
        while self.phase == Phase::Running && at < self.queue.len() {
            let group = self.options.strategy.is_group();
            let blocked = if group {
                !self.plans.is_empty()
            } else {
                let slot = self.queue.get(at).and_then(|job| self.concerns(job));
                // No plan ends while the queue is looked through: what is blocked stays so, and in order.
                slot.and_then(|slot| self.children.get(slot)).is_some_and(|child| child.plan.is_some())
            };
            match blocked {
                true if group => return,
                true => at += 1,
                false => {
                    if let Some(job) = self.queue.remove(at) {
                        self.run(job);
                    }
                }
            }
        }
    }

    fn concerns(&self, job: &Job<C>) -> Option<Slot> {
        match job {
            Job::Exit(slot, ..) | Job::Retry(slot) | Job::Due(slot, _) => Some(*slot),
            Job::Call(_, call) => self.target(call),
        }
    }

    fn run(&mut self, job: Job<C>) {
        match job {
            Job::Exit(slot, incarnation, reason) => {
                // Otherwise it was to be stopped anyway, and has been.
                if let Some(State::Up { incarnation: now, since, .. }) = self.children.state(slot)
                    && now == incarnation
                {
                    self.exited(slot, incarnation, since, reason);
                }
            }
            Job::Retry(slot) => {
                if let Some(State::Restarting { last, timer: None }) = self.children.state(slot) {
                    self.restart(slot, last);
                }
            }
            Job::Due(slot, timer) => {
                if let Some(State::Restarting { timer: Some(awaited), .. }) = self.children.state(slot)
                    && awaited == timer
                {
                    self.begin_restart(slot);
                }
            }
            Job::Call(id, call) => self.execute(id, call),
        }
    }

    /// A child has ended by itself.
    fn exited(&mut self, slot: Slot, incarnation: Incarnation, since: Duration, reason: Reason) {
        let now = self.now;
        let Some(child) = self.children.get_mut(slot) else { return };
        if child.spec.backoff.is_some_and(|backoff| now.saturating_sub(since) >= backoff.cap) {
            child.attempts = 0;
        }
        let (restart, significant) = (child.spec.restart, child.spec.significant);
        if restart.applies(&reason) {
            self.restart(slot, Some(incarnation));
            return;
        }
        self.retire(slot, reason);
        let ends = significant
            && match self.options.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self
                    .children
                    .iter()
                    .any(|(_, child)| child.spec.significant && !matches!(child.state, State::Down { .. })),
            };
        if ends {
            self.escalate(slot, Escalation::AutoShutdown);
        }
    }

    /// Counts a restart, and begins it now, later, or not at all.
    fn restart(&mut self, slot: Slot, last: Option<Incarnation>) {
        let allowed = self.window.admit(self.now);
        let Some(child) = self.children.get_mut(slot) else { return };
        if !allowed {
            self.children.set(slot, State::DOWN);
            self.escalate(slot, Escalation::Intensity);
            return;
        }
        let random = &mut self.random;
        let attempts = child.attempts;
        let after = child.spec.backoff.map_or(Duration::ZERO, |backoff| backoff.delay(attempts, random.next()));
        child.attempts = attempts.saturating_add(1);
        self.out.push(Effect::Report(Report::Restart { slot, after, count: self.window.count() }));
        let timer = (!after.is_zero()).then(|| self.set_timer(after, Alarm::Restart(slot)));
        self.children.set(slot, State::Restarting { last, timer });
        if timer.is_none() {
            self.begin_restart(slot);
        }
    }

    /// Restarts a child, and with it whom the strategy names: all are stopped, then all but the temporary ones, who
    /// are gone then, are started. That includes those who were down for whatever reason.
    fn begin_restart(&mut self, slot: Slot) {
        let group: Vec<Slot> = match self.options.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => {
                return self.begin(Goal::Restart, VecDeque::new(), VecDeque::from([slot]));
            }
            Strategy::OneForAll => self.children.slots().collect(),
            Strategy::RestForOne => self.children.slots().filter(|&other| other >= slot).collect(),
        };
        let stays =
            |slot: &Slot| self.children.get(*slot).is_some_and(|child| child.spec.restart != Restart::Temporary);
        let start = group.iter().copied().filter(stays).collect();
        self.begin(Goal::Restart, group.into_iter().rev().collect(), start);
    }

    /// A child has ended and is not restarted: its spec goes if it is temporary or an instance.
    pub(super) fn retire(&mut self, slot: Slot, reason: Reason) {
        let Some(child) = self.children.get(slot) else { return };
        let kept = child.spec.restart != Restart::Temporary && self.template.is_none();
        if kept {
            self.children.set(slot, State::DOWN);
        } else {
            self.children.remove(slot);
        }
        self.out.push(Effect::Vacated { slot, reason, kept });
    }

    /// Vacates those who waited for a restart of their group that is not going to happen any more.
    pub(super) fn forsake(&mut self) {
        let restarting = self.children.iter().find(|(_, child)| matches!(child.state, State::Restarting { .. }));
        let first = match (restarting, self.options.strategy) {
            (Some(_), Strategy::OneForAll) => return,
            (first, _) => first.map(|(slot, _)| slot),
        };
        let coming = |(slot, child): (Slot, &Child<C>)| {
            let covered = first.is_some_and(|first| first < slot);
            (child.state == State::Down { coming: true } && !covered).then_some(slot)
        };
        for slot in self.children.iter().filter_map(coming).collect::<Vec<_>>() {
            self.children.set(slot, State::DOWN);
            self.out.push(Effect::Vacated { slot, reason: Reason::Shutdown, kept: true });
        }
    }

    fn escalate(&mut self, slot: Slot, why: Escalation) {
        self.out.push(Effect::Report(Report::Escalated { slot, why }));
        self.end(Reason::Shutdown);
    }
}
