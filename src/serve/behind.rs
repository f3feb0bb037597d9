//! How far behind a caller may be while others wait for the cell.
//!
//! What counts is the time in which the guest waits for its caller, for bytes of the request or for room for the reply,
//! and other messages wait for the cell. While nobody else waits, nothing counts. A caller makes up for a second with each
//! [`MIN_RATE`] bytes that it sends or takes, and is never ahead: what it sent at once excuses no silence after it. One
//! that is behind by [`ALLOWED`] is given up: its message fails, the guest finds a failed input and an output that is
//! discarded, and finishes. A caller that was given up may not be behind at all [for a while](crate::laggards).

use std::time::Duration;

use tokio::time::sleep;
use ww_cell::{Slot, pipe::Gauge};

use crate::gate::{Caller, Gate};

/// Bytes that a caller sends or takes in a second, while others wait: a tenth of the slowest line that is in use for
/// anything but telegrams.
const MIN_RATE: u64 = 16 * 1024;

/// How often the cell and those who wait for it are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The same for a caller that was given up lately, while others wait: many of its messages may be inside already.
const QUICK_LOOK: Duration = Duration::from_millis(2);

/// How far behind a caller may be: as long as a round trip to the other side of the earth takes, and so short that those
/// who wait hardly notice.
const ALLOWED: Duration = Duration::from_millis(200);

/// The same at a look. Others came in the middle of one at the most, so that the last one makes it the whole.
const UP_TO: Duration = ALLOWED.saturating_sub(LOOK);

/// Others at a cell, besides one caller.
#[derive(Clone, Copy)]
pub(super) struct Others<'a> {
    slot: &'a Slot,
    /// Where the caller came in, if its cell has a gate.
    gate: Option<(&'a Gate, Caller)>,
}

/// How far one caller is behind.
#[derive(Debug, Default)]
struct Behind {
    by: Duration,
    passed: u64,
}

impl<'a> Others<'a> {
    /// Those who wait at a slot, and outside of its gate.
    pub(super) fn new(slot: &'a Slot, gate: Option<(&'a Gate, Caller)>) -> Self {
        Self { slot, gate }
    }

    /// Returns when the caller is to be given up, whose message goes through these pipes.
    pub(super) async fn lose_patience(&self, request: &Gauge, reply: &Gauge) {
        let mut behind = Behind::default();
        loop {
            let look = if self.caller_lagged() && self.wait() { QUICK_LOOK } else { LOOK };
            sleep(look).await;
            let counts = (request.reader_waits() || reply.writer_waits()) && self.wait();
            let by = behind.look(counts.then_some(look), request.passed().saturating_add(reply.passed()));
            let allowed = if self.caller_lagged() { Duration::ZERO } else { UP_TO };
            if counts && by > allowed {
                return;
            }
        }
    }

    /// Whether others wait now.
    fn wait(&self) -> bool {
        self.slot.mailbox().0 > 0 || self.gate.is_some_and(|(gate, _)| gate.has_outside())
    }

    /// Whether the caller was given up lately.
    fn caller_lagged(&self) -> bool {
        self.gate.is_some_and(|(gate, caller)| gate.has_lagged(&caller))
    }
}

impl Behind {
    /// How far behind it is after one look: it was waited for, for so long, or not; and so many bytes have passed in all.
    fn look(&mut self, waited: Option<Duration>, passed: u64) -> Duration {
        let bytes = passed.saturating_sub(std::mem::replace(&mut self.passed, passed));
        let made_up = Duration::from_micros(bytes.saturating_mul(1_000_000) / MIN_RATE);
        self.by = (self.by + waited.unwrap_or_default()).saturating_sub(made_up);
        self.by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After so many looks a caller is given up that moves so many bytes between two of them; of at most 1,000.
    fn given_up_after(bytes: u64) -> Option<usize> {
        let mut behind = Behind::default();
        (1..=1_000).find(|&look| behind.look(Some(LOOK), bytes * look as u64) > UP_TO)
    }

    #[test]
    fn a_caller_keeps_up_or_is_given_up() {
        let each = MIN_RATE / 20;
        assert_eq!(given_up_after(0), Some(4), "it is silent");
        assert_eq!(given_up_after(1), Some(4), "it is as good as silent");
        assert_eq!(given_up_after(each / 2), Some(6), "it is too slow");
        assert_eq!(given_up_after(each + 1), None, "it keeps up");
    }

    #[test]
    fn what_was_sent_at_once_excuses_no_silence_after_it() {
        let mut behind = Behind::default();
        assert_eq!(behind.look(Some(LOOK), 1 << 30), Duration::ZERO);
        assert_eq!(behind.look(Some(LOOK), 1 << 30), LOOK);
    }

    #[test]
    fn nothing_counts_while_nobody_waits() {
        let mut behind = Behind::default();
        assert_eq!(behind.look(Some(LOOK), 0), LOOK);
        assert!((0..1_000).all(|_| behind.look(None, 0) == LOOK));
        assert_eq!(behind.look(Some(LOOK), 0), 2 * LOOK, "but it adds up");
    }
}
