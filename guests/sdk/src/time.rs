//! Sleeping without blocking.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use wasip2::clocks::monotonic_clock;

use crate::executor::Source;

/// A future that is ready when its time has come.
pub struct Sleep(Source);

/// Waits for a duration, of at most 584 years. Other parts of the future go on meanwhile.
pub fn sleep(duration: Duration) -> Sleep {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Sleep(Source::new(monotonic_clock::subscribe_duration(nanoseconds)))
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.is_ready() {
            return Poll::Ready(());
        }
        self.0.arm(cx);
        Poll::Pending
    }
}
