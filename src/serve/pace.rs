//! How slow a peer may be.
//!
//! In any case it must not be silent for longer than the patience that there is with it, and a message must not take
//! longer than [`MESSAGE_TIMEOUT`]. While others wait for the cell it must keep up with [`MIN_RATE`] besides: what it
//! may have been waited for, in all, is the patience and a second for that many bytes.
//!
//! A request that keeps its guest busy for most of the cell's deadline breaks off, so that a message without end fails
//! that message and does not end the cell.

use std::{pin::pin, sync::OnceLock, task::Poll, time::Duration};

use futures::poll;
use tokio::time::{Instant, timeout_at};

use super::MESSAGE_TIMEOUT;
use crate::gate::Gate;

/// Bytes that a peer sends or takes in a second of waiting for it, while others wait: a tenth of the slowest line that is
/// in use for anything but telegrams.
pub(super) const MIN_RATE: u32 = 16 * 1024;

/// The bounds on one peer.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    patience: Duration,
    until: Instant,
    gate: Option<&'a Gate>,
    /// How long a request may keep the guest busy.
    turn: Option<Duration>,
    /// When the cell was told of the message.
    begun: OnceLock<Instant>,
}

/// What a peer has made others wait for, in one direction.
#[derive(Debug, Default)]
pub(super) struct Spent {
    waited: Duration,
    bytes: u64,
    busy: Duration,
}

/// A request has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// A peer is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

impl<'a> Pace<'a> {
    /// From now on. Others wait at the gate.
    pub(super) fn new(patience: Duration, gate: Option<&'a Gate>) -> Self {
        Self { patience, until: Instant::now() + MESSAGE_TIMEOUT, gate, turn: None, begun: OnceLock::new() }
    }

    /// For a cell that has this long for one message.
    pub(super) fn for_deadline(self, deadline: Option<Duration>) -> Self {
        Self { turn: deadline.map(|deadline| deadline * 3 / 4), ..self }
    }

    /// The cell is told of the message.
    pub(super) fn begin(&self) {
        self.begun.get_or_init(Instant::now);
    }

    /// How long a peer may be silent.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits for a peer to send or take something.
    pub(super) async fn wait<T>(&self, spent: &mut Spent, step: impl Future<Output = T>) -> Result<T, TooSlow> {
        let mut step = pin!(step);
        // As a rule there is nothing to wait for, and no need for a look at the clock.
        if let Poll::Ready(done) = poll!(step.as_mut()) {
            return Ok(done);
        }
        timeout_at(self.until.min(Instant::now() + self.patience), spent.measure(step)).await.map_err(|_| TooSlow)
    }

    /// It sent or took this many bytes.
    pub(super) fn went_on(&self, spent: &mut Spent, bytes: usize) -> Result<(), TooSlow> {
        spent.bytes = spent.bytes.saturating_add(bytes as u64);
        let allowed = self.patience + Duration::from_millis(spent.bytes.saturating_mul(1_000) / u64::from(MIN_RATE));
        if spent.waited > allowed && self.gate.is_some_and(Gate::is_crowded) { Err(TooSlow) } else { Ok(()) }
    }

    /// The guest took what it was given, which was ready at a moment. Before it was told, it had nothing to do with it.
    pub(super) fn kept_busy(&self, spent: &mut Spent, since: Instant) -> Result<(), TooLong> {
        let (Some(turn), Some(begun)) = (self.turn, self.begun.get()) else { return Ok(()) };
        spent.busy += since.max(*begun).elapsed();
        if spent.busy > turn { Err(TooLong) } else { Ok(()) }
    }
}

impl Spent {
    /// Counts the time that a step takes, which has bounds of its own.
    pub(super) async fn measure<T>(&mut self, step: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = step.await;
        self.waited += began.elapsed();
        done
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use ww_net::PeerId;

    use super::*;
    use crate::gate::Caller;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_slow_peer_is_given_up_while_others_wait() {
        let gate = Gate::new(1);
        let pace = Pace::new(PATIENCE, Some(&gate));
        let after = |seconds, bytes| {
            pace.went_on(&mut Spent { waited: Duration::from_secs(seconds), ..Spent::default() }, bytes)
        };
        let rate = MIN_RATE as usize;
        assert_eq!(after(1_000, 1), Ok(()), "nobody waits");
        let _inside = [Caller::Peer(PeerId::random()); 2].map(|caller| gate.enter(caller));
        for (seconds, bytes, outcome) in [
            (10, 1, Ok(())),
            (11, 1, Err(TooSlow)),
            (11, rate, Ok(())),
            (12, rate, Err(TooSlow)),
            (1_010, 1_000 * rate, Ok(())),
            (1_011, 1_000 * rate, Err(TooSlow)),
        ] {
            assert_eq!(after(seconds, bytes), outcome, "{seconds} s, {bytes} B");
        }
    }

    #[tokio::test]
    async fn a_silent_peer_and_one_that_never_ends_are_given_up_in_any_case() {
        let mut spent = Spent::default();
        let pace = Pace::new(Duration::from_millis(10), None);
        assert_eq!(pace.wait(&mut spent, pending::<()>()).await, Err(TooSlow));
        assert_eq!(pace.wait(&mut spent, ready(7)).await, Ok(7));
        let over = Pace { until: Instant::now(), ..Pace::new(PATIENCE, None) };
        assert_eq!(over.wait(&mut spent, pending::<()>()).await, Err(TooSlow));
    }

    #[tokio::test]
    async fn a_request_without_end_breaks_off_before_the_deadline_of_the_cell() {
        let pace = Pace::new(PATIENCE, None).for_deadline(Some(Duration::from_secs(40)));
        let mut spent = Spent::default();
        let earlier = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the machine runs");
        assert_eq!(pace.kept_busy(&mut spent, earlier(31)), Ok(()), "the cell was not told");
        pace.begun.set(earlier(16)).expect("it has not begun");
        assert_eq!(pace.kept_busy(&mut spent, earlier(31)), Ok(()), "most of it was before");
        assert_eq!(pace.kept_busy(&mut spent, earlier(15)), Err(TooLong));
        let free = Pace::new(PATIENCE, None);
        free.begin();
        assert_eq!(free.kept_busy(&mut spent, earlier(31)), Ok(()), "there is no deadline");
    }
}
