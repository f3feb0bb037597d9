//! The timers that a supervisor has asked for.

use std::time::Duration;

use super::{
    Supervisor,
    children::State,
    protocol::{Effect, Incarnation, Slot, Stop, Timer},
    queue::Job,
};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// The incarnation had time enough to shut down.
    Kill(Incarnation),
    /// The child has waited long enough for its restart.
    Restart(Slot),
}

impl<C: Clone> Supervisor<C> {
    pub(super) fn set_timer(&mut self, after: Duration, alarm: Alarm) -> Timer {
        let timer = Timer(self.next_timer);
        self.next_timer += 1;
        self.timers.insert(timer, alarm);
        self.out.push(Effect::SetTimer { timer, after });
        timer
    }

    pub(super) fn elapsed(&mut self, timer: Timer) {
        match self.timers.remove(&timer) {
            Some(Alarm::Kill(incarnation)) => {
                let slot = self.children.find_incarnation(incarnation);
                if slot.and_then(|slot| self.children.state(slot)) == Some(State::Stopping(incarnation)) {
                    self.out.push(Effect::Stop { incarnation, how: Stop::Kill });
                }
            }
            Some(Alarm::Restart(slot)) => self.queue.push_back(Job::Due(slot, timer)),
            None => {}
        }
    }
}
