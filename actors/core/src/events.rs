//! What happens in the supervision tree, for whoever wants to know: the log, the console, a test.
//!
//! Every event is a [`tracing`] event and goes to every [`Listener`]. A listener that is slow loses the oldest events
//! and is told how many; the publisher never waits.

use std::time::Duration;

use tokio::sync::broadcast::{self, error};

use crate::{CellId, Name, exit::Reason, id::SlotId, supervisor::Escalation};

/// Events that wait for the slowest listener, unless told otherwise: a storm of a few hundred restarts, each of which
/// is an exit, a restart and a start.
pub const DEFAULT_CAPACITY: usize = 1_024;

/// Something that happened in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An incarnation has started.
    Started {
        /// Where.
        slot: SlotId,
        /// The incarnation.
        cell: CellId,
    },
    /// An incarnation could not be started.
    StartFailed {
        /// Where.
        slot: SlotId,
        /// Why.
        reason: Reason,
    },
    /// An incarnation has ended.
    Exited {
        /// Where.
        slot: SlotId,
        /// The incarnation.
        cell: CellId,
        /// Why.
        reason: Reason,
    },
    /// A supervisor is going to restart a child.
    Restarting {
        /// Which.
        slot: SlotId,
        /// After what delay.
        after: Duration,
        /// Restarts in the supervisor's window, with this one.
        count: usize,
    },
    /// A supervisor gave up, and its own supervisor decides.
    Escalated {
        /// The supervisor.
        slot: SlotId,
        /// Why.
        why: Escalation,
    },
    /// A name was registered.
    Registered {
        /// The name.
        name: Name,
        /// Whose it is, if somebody lives there.
        cell: Option<CellId>,
    },
    /// A name was released.
    Unregistered {
        /// The name.
        name: Name,
    },
}

/// Publishes events. Clones publish to the same listeners.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Event>);

/// Receives the events that are published after it was made.
#[derive(Debug)]
pub struct Listener {
    rx: broadcast::Receiver<Event>,
    lost: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl Events {
    /// A stream in which at least `capacity` events wait for a slow listener. Memory for them is taken at once.
    ///
    /// # Panics
    ///
    /// Where the capacity is 0 or more than half of what can be addressed.
    pub fn new(capacity: usize) -> Self {
        Self(broadcast::Sender::new(capacity))
    }

    /// Publishes an event. Never waits.
    pub fn publish(&self, event: Event) {
        event.trace();
        self.send(event);
    }

    /// Publishes an event that is no news to the log, like many before it or told elsewhere: only to those who debug. Never
    /// waits.
    pub fn publish_quietly(&self, event: Event) {
        tracing::debug!(?event, "no news");
        self.send(event);
    }

    fn send(&self, event: Event) {
        // An error means that nobody listens, which is nobody's loss.
        drop(self.0.send(event));
    }

    /// Listens from now on.
    pub fn listen(&self) -> Listener {
        Listener { rx: self.0.subscribe(), lost: 0 }
    }
}

impl Listener {
    /// The next event; `None` once there is nobody left to publish one. Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.rx.recv().await {
                Ok(event) => return Some(event),
                Err(error::RecvError::Lagged(lost)) => self.lost += lost,
                Err(error::RecvError::Closed) => return None,
            }
        }
    }

    /// Events that were lost so far because this listener was slow.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Event {
    fn trace(&self) {
        match self {
            Self::Started { slot, cell } => tracing::debug!(%slot, %cell, "a cell started"),
            Self::StartFailed { slot, reason } => tracing::warn!(%slot, %reason, "a cell could not be started"),
            // Whoever runs the cell says more of an end that is not orderly.
            Self::Exited { slot, cell, reason } => tracing::debug!(%slot, %cell, %reason, "a cell ended"),
            Self::Restarting { slot, after, count } => tracing::info!(%slot, ?after, count, "a cell is restarted"),
            Self::Escalated { slot, why } => tracing::warn!(%slot, ?why, "a supervisor gave up"),
            Self::Registered { name, cell } => {
                tracing::debug!(%name, cell = cell.map(CellId::get), "a name was registered");
            }
            Self::Unregistered { name } => tracing::debug!(%name, "a name was released"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(number: u64) -> Event {
        Event::Started { slot: SlotId::new(number), cell: CellId::new(number) }
    }

    #[tokio::test]
    async fn every_listener_hears_everything_in_order() {
        let events = Events::new(8);
        events.publish(started(0));
        let mut listeners = [events.listen(), events.listen()];
        for number in 1..=5 {
            events.publish(started(number));
        }
        drop(events);
        for listener in &mut listeners {
            for number in 1..=5 {
                assert_eq!(listener.next().await, Some(started(number)));
            }
            assert_eq!((listener.next().await, listener.lost()), (None, 0));
        }
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_and_knows_how_many() {
        let events = Events::new(4);
        let mut slow = events.listen();
        for number in 0..10 {
            events.publish(started(number));
        }
        drop(events);
        for number in 6..10 {
            assert_eq!(slow.next().await, Some(started(number)));
        }
        assert_eq!((slow.next().await, slow.lost()), (None, 6));
    }
}
