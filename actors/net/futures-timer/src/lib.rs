//! The delays of libp2p, on the timers of the runtime that polls them.
//!
//! libp2p bounds the negotiation of every stream by a delay of the crate `futures-timer`, which knows no runtime: a thread of
//! its own keeps all delays of the process, and is woken for each that begins or ends. For a stream that lives for
//! some microseconds that was the dearest part of it, see `docs/performance.md`. libp2p runs on tokio here, whose timers belong to
//! the thread that polls. So the workspace puts this crate in the place of the other one; a program that uses `ww`
//! as a library gets this one only if its own workspace does the same, and works with either.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Is ready once, and stays so, after a time. To be polled within a runtime of tokio that has timers.
pub struct Delay {
    /// `None` where that is later than the clock can say.
    until: Option<Instant>,
    /// Made where it is needed: most delays are dropped soon.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Delay {
    /// A delay that begins now.
    pub fn new(after: Duration) -> Self {
        Self { until: Instant::now().checked_add(after), sleep: None }
    }

    /// Begins again, whether it was over or not. Whoever waits has to poll it again.
    pub fn reset(&mut self, after: Duration) {
        *self = Self::new(after);
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.until {
            Some(until) => self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delay").field("until", &self.until).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn it_is_ready_after_its_time_and_stays_so() {
        // Made where there is no runtime.
        let begun = Instant::now();
        let mut delay = Delay::new(SHORT);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
        runtime.block_on(async {
            (&mut delay).await;
            assert!(begun.elapsed() >= SHORT);
            assert_eq!((&mut delay).now_or_never(), Some(()));
        });
    }

    #[tokio::test]
    async fn it_begins_again_whether_it_was_over_or_not() {
        let mut delay = Delay::new(LONG);
        assert_eq!((&mut delay).now_or_never(), None);
        delay.reset(SHORT);
        (&mut delay).await;
        delay.reset(LONG);
        assert_eq!((&mut delay).now_or_never(), None);
    }

    #[tokio::test]
    async fn one_beyond_the_clock_is_never_over() {
        assert_eq!(Delay::new(Duration::MAX).now_or_never(), None);
    }
}
