//! The clock of supervisors: when something happened, and how they wait.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;

/// A clock that never goes back.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time since any moment that stays the same.
    fn now(&self) -> Duration;

    /// Waits. Cancel safe.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}
