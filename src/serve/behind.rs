//! How far behind a caller may be while others wait for the cell.
//!
//! What counts is the time in which the guest waits for its caller, for bytes of the request or for room for the reply,
//! and messages of others wait for the cell. While nobody else waits, nothing counts; a message of the same caller is
//! nobody else. A caller makes up for a second with each [`MIN_RATE`] bytes that it sends or takes, and may be ahead by
//! [`AHEAD`], so that what comes in bursts may come. One that is behind by [`ALLOWED`] is given up: its message fails, the
//! guest finds a failed input and an output that is discarded, and finishes. For a caller that was given up it is
//! [less](LAGGARD) for [a while](crate::laggards).

use std::time::Duration;

use tokio::time::sleep;
use ww_cell::{Envelope, Slot, pipe::Gauge};

use crate::gate::{Caller, Gate};

/// Bytes that a caller sends or takes in a second, while others wait: a tenth of the slowest line that is in use for
/// anything but telegrams.
const MIN_RATE: u64 = 16 * 1024;

/// How often the cell and those who wait for it are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How far behind a caller may be: as long as a round trip to the other side of the earth takes, and so short that those
/// who wait hardly notice.
const ALLOWED: Duration = Duration::from_millis(200);

/// How far ahead it may be: a few round trips on a slow line, within which a burst of bytes comes again.
const AHEAD: Duration = Duration::from_millis(500);

/// The most for a caller that was given up lately: two looks, as one may be an accident.
const LAGGARD: Duration = LOOK.saturating_mul(2);

/// What is forgiven at a look at which nobody else waits for the caller: in a cell with several instances others wait for
/// moments, some of which a look meets.
const FORGIVEN: Duration = Duration::from_micros(12_500);

/// Others at a cell, besides one caller.
pub(super) struct Others<'a> {
    slot: &'a Slot,
    /// A message of the caller, and where it came in; `None` where everybody is another one.
    caller: Option<(Envelope, &'a Gate, Caller)>,
}

/// The time for which one caller may still be waited for.
#[derive(Debug)]
struct Patience {
    left: Duration,
    passed: u64,
}

impl<'a> Others<'a> {
    /// All that wait at a slot.
    pub(super) fn of_anybody(slot: &'a Slot) -> Self {
        Self { slot, caller: None }
    }

    /// Those at a slot that are others than the caller with this message.
    pub(super) fn than(envelope: Envelope, slot: &'a Slot, (gate, caller): (&'a Gate, Caller)) -> Self {
        Self { slot, caller: Some((envelope, gate, caller)) }
    }

    /// Returns when the caller is to be given up, whose message goes through these pipes.
    pub(super) async fn lose_patience(&self, request: &Gauge, reply: &Gauge) {
        let mut patience = Patience::default();
        loop {
            sleep(LOOK).await;
            // As a rule the guest does not wait, and no look at the mailbox is needed.
            let counts = (request.reader_waits() || reply.writer_waits()) && self.wait();
            let most = if self.caller_lagged() { LAGGARD } else { ALLOWED + AHEAD };
            if !patience.lasts(counts, request.passed().saturating_add(reply.passed()), most) {
                return;
            }
        }
    }

    /// Whether others wait now.
    fn wait(&self) -> bool {
        match &self.caller {
            Some((envelope, ..)) => self.slot.others_wait(envelope),
            None => self.slot.mailbox().0 > 0,
        }
    }

    /// Whether the caller was given up lately.
    fn caller_lagged(&self) -> bool {
        self.caller.as_ref().is_some_and(|(_, gate, caller)| gate.has_lagged(caller))
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: ALLOWED, passed: 0 }
    }
}

impl Patience {
    /// Whether there is some after one look: others waited for the caller, or did not; so many bytes have passed in all;
    /// and there may be so much of it.
    fn lasts(&mut self, others_waited: bool, passed: u64, most: Duration) -> bool {
        let bytes = passed.saturating_sub(std::mem::replace(&mut self.passed, passed));
        let made_up = Duration::from_micros(bytes.saturating_mul(1_000_000) / MIN_RATE);
        self.left = (self.left + made_up).min(most);
        if others_waited {
            self.left = self.left.saturating_sub(LOOK);
        } else if self.left < ALLOWED {
            self.left = (self.left + FORGIVEN).min(ALLOWED);
        }
        // Others came in the middle of one look at the most, so that the next one would be too many.
        !others_waited || self.left >= LOOK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = ALLOWED.saturating_add(AHEAD);

    /// After so many looks, of at most 1,000, a caller is given up for which others wait at each, and which has moved so many
    /// bytes by then.
    fn given_up_after(most: Duration, bytes: impl Fn(u64) -> u64) -> Option<u64> {
        let mut patience = Patience::default();
        (1..=1_000).find(|&look| !patience.lasts(true, bytes(look), most))
    }

    #[test]
    fn a_caller_keeps_up_or_is_given_up() {
        let each = MIN_RATE / 20;
        assert_eq!(given_up_after(MOST, |_| 0), Some(4), "it is silent");
        assert_eq!(given_up_after(MOST, |look| look), Some(4), "it is as good as silent");
        assert_eq!(given_up_after(MOST, |look| each / 2 * look), Some(6), "it is too slow");
        assert_eq!(given_up_after(MOST, |look| (each + 1) * look), None, "it keeps up");
    }

    #[test]
    fn a_burst_excuses_a_silence_of_some_round_trips_and_no_longer_one() {
        assert_eq!(given_up_after(MOST, |_| 1 << 30), Some(14));
        let each_600_ms = |look| MIN_RATE * (1 + look / 12);
        assert_eq!(given_up_after(MOST, each_600_ms), None);
    }

    #[test]
    fn a_caller_that_lagged_has_less_and_is_not_given_up_at_one_look() {
        assert_eq!(given_up_after(LAGGARD, |_| 0), Some(2));
        assert_eq!(given_up_after(LAGGARD, |_| 1 << 30), Some(2), "it has no credit");
        assert_eq!(given_up_after(LAGGARD, |look| MIN_RATE * look), None, "it keeps up");
    }

    #[test]
    fn nothing_counts_while_nobody_waits_and_what_did_is_forgiven() {
        let mut patience = Patience::default();
        assert!((0..3).all(|_| patience.lasts(true, 0, MOST)));
        assert!((0..1_000).all(|_| patience.lasts(false, 0, MOST)));
        assert_eq!(patience.left, ALLOWED, "but nobody gets ahead by that");
        assert!((0..1_000).all(|look| patience.lasts(look % 5 == 0, 0, MOST)), "others wait for moments");
        assert!(!(0..1_000).all(|look| patience.lasts(look % 2 == 0, 0, MOST)), "others wait again and again");
    }
}
