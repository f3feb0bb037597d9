//! The timers that a supervisor has asked for.

use std::time::Duration;

use super::{
    Supervisor,
    children::State,
    protocol::{Effect, Incarnation, Slot, Stop, Timer},
    queue::Job,
};

/// Timers that may be there besides two for each child. With more of them those that nobody waits for
/// any more are taken back.
const SPARE: usize = 16;

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

    /// Takes back the timers that nobody waits for any more, if they are many: a child that may take
    /// years to stop may have stopped at once.
    pub(super) fn take_back(&mut self) {
        if self.timers.len() <= 2 * self.children.len() + SPARE {
            return;
        }
        let wanted = |(&timer, alarm): (&Timer, &Alarm)| match *alarm {
            Alarm::Kill(incarnation) => {
                let slot = self.children.find_incarnation(incarnation);
                slot.and_then(|slot| self.children.state(slot)) == Some(State::Stopping(incarnation))
            }
            Alarm::Restart(slot) => matches!(
                self.children.state(slot),
                Some(State::Restarting { timer: Some(awaited), .. }) if awaited == timer
            ),
        };
        let mut gone: Vec<Timer> =
            self.timers.iter().filter(|&entry| !wanted(entry)).map(|(&timer, _)| timer).collect();
        gone.sort_unstable();
        for timer in gone {
            self.timers.remove(&timer);
            self.out.push(Effect::TakeBack { timer });
        }
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
