//! The calls of a supervisor: start, terminate, restart and delete a child; which children there are, and how many.

use std::collections::VecDeque;

use crate::exit::Reason;

use super::{
    MAX_WAITING_CALLS, Phase, Supervisor,
    children::State,
    plan::Goal,
    protocol::{Answer, Call, CallId, Effect, Error, Slot, Target},
    queue::Job,
    spec::ChildSpec,
};

impl<C: Clone> Supervisor<C> {
    /// Answers a question at once, and lets everything else wait for its turn.
    pub(super) fn called(&mut self, id: CallId, call: Call<C>) {
        match call {
            _ if self.phase == Phase::Ended => self.reply(id, Err(Error::Ended)),
            Call::WhichChildren => self.reply(id, Ok(Answer::Children(self.children.lines()))),
            Call::CountChildren => self.reply(id, Ok(Answer::Counts(self.children.counts()))),
            _ if matches!(self.phase, Phase::Ending(_)) => self.reply(id, Err(Error::Ended)),
            _ if self.queue.iter().filter(|job| matches!(job, Job::Call(..))).count() >= MAX_WAITING_CALLS => {
                self.reply(id, Err(Error::Busy));
            }
            call => self.queue.push_back(Job::Call(id, call)),
        }
    }

    pub(super) fn reply(&mut self, to: CallId, answer: Result<Answer, Error>) {
        self.out.push(Effect::Reply { to, answer });
    }

    /// The child that a call is about, if it is there.
    pub(super) fn target(&self, call: &Call<C>) -> Option<Slot> {
        match call {
            Call::StartChild(spec) => self.children.find(&spec.id),
            Call::TerminateChild(Target::Id(id)) | Call::RestartChild(id) | Call::DeleteChild(id) => {
                self.children.find(id)
            }
            Call::TerminateChild(Target::Instance(incarnation)) => {
                self.children.find_incarnation(*incarnation).filter(|_| self.template.is_some())
            }
            Call::TerminateChild(Target::Slot(slot)) => {
                self.children.state(*slot).and(self.template.as_ref()).map(|_| *slot)
            }
            Call::StartInstance(_) | Call::WhichChildren | Call::CountChildren => None,
        }
    }

    /// Does what a call asks for. Nothing else is in progress with its child.
    pub(super) fn execute(&mut self, id: CallId, call: Call<C>) {
        let target = self.target(&call);
        let simple = self.template.is_some();
        let failed = match call {
            Call::StartChild(_) | Call::RestartChild(_) | Call::DeleteChild(_) if simple => Err(Error::SimpleOneForOne),
            Call::StartChild(spec) => self.add(id, spec),
            Call::StartInstance(from) => match &self.template {
                Some(template) => {
                    let from = from.unwrap_or_else(|| template.from.clone());
                    let spec = ChildSpec { from, ..template.clone() };
                    self.add(id, spec)
                }
                None => Err(Error::NoTemplate),
            },
            Call::TerminateChild(Target::Id(_)) if simple => Err(Error::SimpleOneForOne),
            Call::TerminateChild(Target::Instance(gone))
                if target.is_none() && simple && self.children.has_been(gone) =>
            {
                // As in OTP: who has ended already is terminated.
                self.reply(id, Ok(Answer::Done));
                Ok(())
            }
            Call::TerminateChild(_) => target.ok_or(Error::NotFound).map(|slot| {
                self.begin(Goal::Terminate(id), VecDeque::from([slot]), VecDeque::new());
            }),
            Call::RestartChild(_) => self.down(target).map(|slot| {
                self.begin(Goal::Again(id), VecDeque::new(), VecDeque::from([slot]));
            }),
            Call::DeleteChild(_) => self.down(target).map(|slot| {
                self.children.remove(slot);
                self.out.push(Effect::Vacated { slot, reason: Reason::Shutdown, kept: false });
                self.reply(id, Ok(Answer::Done));
            }),
            // Answered when they came.
            Call::WhichChildren | Call::CountChildren => Ok(()),
        };
        if let Err(error) = failed {
            self.reply(id, Err(error));
        }
    }

    fn add(&mut self, id: CallId, spec: ChildSpec<C>) -> Result<(), Error> {
        spec.check(self.options.auto_shutdown)?;
        if let Some(slot) = self.children.find(&spec.id) {
            return Err(match self.children.state(slot) {
                Some(State::Up { incarnation, .. }) => Error::AlreadyStarted(incarnation),
                _ => Error::AlreadyPresent,
            });
        }
        if self.children.len() >= self.options.max_children as usize {
            return Err(Error::TooMany(self.options.max_children));
        }
        let slot = self.children.add(spec);
        self.begin(Goal::Add(id), VecDeque::new(), VecDeque::from([slot]));
        Ok(())
    }

    /// The target, if it has no incarnation and none is under way.
    fn down(&self, target: Option<Slot>) -> Result<Slot, Error> {
        let slot = target.ok_or(Error::NotFound)?;
        match self.children.state(slot) {
            Some(State::Down { .. }) => Ok(slot),
            Some(State::Restarting { .. }) => Err(Error::Restarting),
            Some(State::Starting { .. } | State::Up { .. } | State::Stopping(_)) => Err(Error::Running),
            None => Err(Error::NotFound),
        }
    }
}
