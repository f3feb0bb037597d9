//! How slow a caller may be in any case, whether others wait or not.
//!
//! It must not be silent for longer than the patience that there is with it, and a message must not take longer than
//! [`MESSAGE_TIMEOUT`]; there is no end to the patience with one that holds the process. While others wait for the cell,
//! [much less](super::behind) is allowed.
//!
//! A request that keeps its guest busy for most of the cell's deadline breaks off, so that a message without end fails
//! that message and does not end the cell.

use std::{pin::pin, sync::OnceLock, task::Poll, time::Duration};

use futures::poll;
use tokio::time::{Instant, timeout_at};
use ww_cell::pipe::Gauge;

use super::MESSAGE_TIMEOUT;

/// The bounds on one caller.
#[derive(Debug)]
pub(super) struct Pace {
    /// How long the caller may be silent, and until when the message may take at all.
    patience: Option<(Duration, Instant)>,
    /// How long a request may keep the guest busy.
    turn: Option<Duration>,
    /// When the cell was told of the message, and where it writes the reply.
    begun: OnceLock<(Instant, Gauge)>,
}

/// The guest was given more than it took at once.
pub(super) struct Given {
    at: Instant,
    /// For how long it had waited for its reply to be taken by then.
    waited: Duration,
}

/// A request has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// A caller was silent for too long: longer than this, as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silent(pub(super) Duration);

impl Pace {
    /// From now on; `None` for as long as the caller likes.
    pub(super) fn new(patience: Option<Duration>) -> Self {
        let patience = patience.map(|patience| (patience, Instant::now() + MESSAGE_TIMEOUT));
        Self { patience, turn: None, begun: OnceLock::new() }
    }

    /// For a cell that has this long for one message.
    pub(super) fn for_deadline(self, deadline: Option<Duration>) -> Self {
        Self { turn: deadline.map(|deadline| deadline * 3 / 4), ..self }
    }

    /// The cell is told of the message, and writes its reply there.
    pub(super) fn begin(&self, reply: Gauge) {
        self.begun.get_or_init(|| (Instant::now(), reply));
    }

    /// Waits for a caller to send or take something.
    pub(super) async fn wait<T>(&self, step: impl Future<Output = T>) -> Result<T, Silent> {
        let mut step = pin!(step);
        // As a rule there is nothing to wait for, and no need for a look at the clock.
        if let Poll::Ready(done) = poll!(step.as_mut()) {
            return Ok(done);
        }
        let Some((patience, until)) = self.patience else { return Ok(step.await) };
        timeout_at(until.min(Instant::now() + patience), step).await.map_err(|_| Silent(patience))
    }

    /// The guest is given more than it takes at once.
    pub(super) fn give(&self) -> Given {
        let waited = self.begun.get().map(|(_, reply)| reply.writer_waited()).unwrap_or_default();
        Given { at: Instant::now(), waited }
    }

    /// The guest took what it was given. Before it was told, it had nothing to do with it; and while its reply is not
    /// taken, it can do nothing.
    pub(super) fn kept_busy(&self, busy: &mut Duration, Given { at, waited }: Given) -> Result<(), TooLong> {
        let (Some(turn), Some((begun, reply))) = (self.turn, self.begun.get()) else { return Ok(()) };
        let waited = reply.writer_waited().saturating_sub(waited);
        *busy += at.max(*begun).elapsed().saturating_sub(waited);
        if *busy > turn { Err(TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use ww_cell::pipe;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_silent_peer_and_one_that_never_ends_are_given_up_in_any_case() {
        let short = Duration::from_millis(10);
        let pace = Pace::new(Some(short));
        assert_eq!(pace.wait(pending::<()>()).await, Err(Silent(short)));
        assert_eq!(pace.wait(ready(7)).await, Ok(7));
        let over = Pace { patience: Some((PATIENCE, Instant::now())), ..Pace::new(None) };
        assert_eq!(over.wait(pending::<()>()).await, Err(Silent(PATIENCE)));
    }

    #[tokio::test]
    async fn a_request_without_end_breaks_off_before_the_deadline_of_the_cell() {
        let pace = Pace::new(Some(PATIENCE)).for_deadline(Some(Duration::from_secs(40)));
        let mut busy = Duration::ZERO;
        let earlier = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the machine runs");
        let given = |seconds| Given { at: earlier(seconds), waited: Duration::ZERO };
        let (reply, _) = pipe::pipe(1);
        assert_eq!(pace.kept_busy(&mut busy, given(31)), Ok(()), "the cell was not told");
        pace.begun.set((earlier(16), reply.gauge())).expect("it has not begun");
        assert_eq!(pace.kept_busy(&mut busy, given(31)), Ok(()), "most of it was before");
        assert_eq!(pace.kept_busy(&mut busy, given(15)), Err(TooLong));
        let free = Pace::new(Some(PATIENCE));
        free.begin(reply.gauge());
        assert_eq!(free.kept_busy(&mut busy, given(31)), Ok(()), "there is no deadline");
    }
}
