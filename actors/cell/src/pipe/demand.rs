//! What the reader of a pipe waits for, so that a source is read no earlier than its reader reads, and no further.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Closed, Shared, Writer};

/// Bytes that a reader gets that waits and has not said how many: a line or a key as a rule, which is less.
pub(super) const UNSAID: usize = 4 * 1024;

/// Learns when the reader of a pipe waits. Clones are the same; none of them keeps the pipe open.
#[derive(Clone, Debug)]
pub struct Demand(Arc<Shared>);

impl Demand {
    /// Waits until the reader waits while nothing is in the pipe, and returns how many bytes it takes at most. What is
    /// written then is what it asked for. Cancel safe.
    ///
    /// # Errors
    ///
    /// Where the pipe is closed: nobody asks any more.
    pub async fn wanted(&self) -> Result<usize, Closed> {
        poll_fn(|cx| self.poll_wanted(cx)).await
    }

    fn poll_wanted(&self, cx: &Context<'_>) -> Poll<Result<usize, Closed>> {
        let mut state = self.0.lock();
        if let Some(closed) = &state.closed {
            return Poll::Ready(Err(closed.clone()));
        }
        if state.wanted > 0 {
            return Poll::Ready(Ok(state.wanted));
        }
        // Who waits for room and who waits for a question wait for the same: a reader that has taken what there was.
        let crowd = state.writers.register(cx);
        drop(state);
        crowd.wake();
        Poll::Pending
    }
}

impl Writer {
    /// Learns when the reader waits.
    pub fn demand(&self) -> Demand {
        Demand(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::pipe::{CAPACITY, pipe};

    #[test]
    fn nothing_is_wanted_until_the_reader_finds_nothing() {
        let (tx, rx) = pipe(CAPACITY);
        let demand = tx.demand();
        assert_eq!(demand.wanted().now_or_never(), None);
        assert_eq!(rx.try_read(7), Ok(None));
        assert_eq!(demand.wanted().now_or_never(), Some(Ok(7)));
        assert_eq!(rx.ready().now_or_never(), None);
        assert_eq!(demand.wanted().now_or_never(), Some(Ok(7)), "it has said how many");
        assert_eq!(tx.try_write(b"ab"), Ok(2));
        assert_eq!(demand.wanted().now_or_never(), None, "it got something");
        assert_eq!(rx.try_read(1).map(|read| read.map_or(0, |bytes| bytes.len())), Ok(1));
        assert_eq!(demand.wanted().now_or_never(), None, "there is more");
        assert_eq!(rx.try_read(9).map(|read| read.map_or(0, |bytes| bytes.len())), Ok(1));
        assert_eq!(rx.ready().now_or_never(), None);
        assert_eq!(demand.wanted().now_or_never(), Some(Ok(UNSAID)));
        drop(rx);
        assert_eq!(demand.wanted().now_or_never(), Some(Err(Closed::End)));
    }

    #[tokio::test]
    async fn a_source_learns_of_a_reader_that_begins_to_wait() {
        let (tx, rx) = pipe(CAPACITY);
        let demand = tx.demand();
        let source = async {
            let wanted = demand.wanted().await;
            tx.try_write(b"abc").map(|written| (wanted, written))
        };
        let (read, source) = tokio::join!(rx.read(3), source);
        assert_eq!((read.as_deref(), source), (Ok(&b"abc"[..]), Ok((Ok(3), 3))));
    }
}
