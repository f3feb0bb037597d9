//! Calls to a supervisor and their answers: between what callers know, ids and slots, and what the machine knows.

use ww_core::supervisor::{self as machine, Answer, Call, Incarnation, Target};

use super::{
    CallError, Child, ChildInfo, ChildStatus, Driver, Which,
    inbox::{Ask, Told},
    lives::State,
    places::Place,
};
use crate::Blueprint;

impl Driver {
    pub(super) fn call(&self, ask: Ask) -> Result<Call<Blueprint>, CallError> {
        Ok(match ask {
            Ask::Start(spec) => Call::StartChild(spec),
            Ask::StartInstance(from) => Call::StartInstance(from),
            Ask::Terminate(Which::Id(id)) => Call::TerminateChild(Target::Id(id)),
            Ask::Terminate(Which::Instance(slot)) => {
                let place = self.places.iter().find(|(_, place)| place.id() == slot);
                let (child, _) = place.ok_or(machine::Error::NotFound)?;
                Call::TerminateChild(Target::Slot(*child))
            }
            Ask::Restart(id) => Call::RestartChild(id),
            Ask::Delete(id) => Call::DeleteChild(id),
            Ask::Children => Call::WhichChildren,
            Ask::Count => Call::CountChildren,
        })
    }

    pub(super) fn told(&self, answer: Answer) -> Told {
        match answer {
            Answer::Started(incarnation) => {
                let slot = self.lives.get(&incarnation).map(|life| life.slot);
                Told::Child(ChildInfo {
                    id: None,
                    slot: slot.and_then(|slot| self.places.get(&slot)).map(Place::id),
                    kind: machine::Kind::Worker,
                    status: self.child(incarnation).map_or(ChildStatus::Stopped, ChildStatus::Running),
                })
            }
            Answer::Children(children) => Told::Children(children.into_iter().map(|child| self.info(child)).collect()),
            Answer::Counts(counts) => Told::Counts(counts),
            // The machine of this version has no others.
            Answer::Done | _ => Told::Done,
        }
    }

    fn info(&self, machine::Child { slot, id, status, kind }: machine::Child) -> ChildInfo {
        let status = match status {
            machine::Status::Starting(_) => ChildStatus::Starting,
            machine::Status::Running(incarnation) => {
                // Its end is known to this actor before the machine has heard of it.
                self.child(incarnation).map_or(ChildStatus::Stopped, ChildStatus::Running)
            }
            machine::Status::Stopping(_) => ChildStatus::Stopping,
            machine::Status::Restarting => ChildStatus::Restarting,
            machine::Status::Undefined => ChildStatus::Stopped,
        };
        ChildInfo { id, slot: self.places.get(&slot).map(Place::id), kind, status }
    }

    fn child(&self, incarnation: Incarnation) -> Option<Child> {
        match &self.lives.get(&incarnation)?.state {
            State::Cell { process, .. } => Some(Child::Cell(process.observer())),
            State::Supervisor { handle, .. } => Some(Child::Supervisor(handle.clone())),
            State::Paused(_) | State::Waiting(_) | State::Loading(_) => None,
        }
    }
}
