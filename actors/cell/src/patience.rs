//! The time that a cell has for a message: it runs while the guest computes or waits for anything but its peer.
//!
//! A peer that sends or takes a byte now and then must not use up the deadline of a cell that others need. How long a
//! peer may be silent is for whoever connects it to say.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Shortest sleep before another look: what is left of a deadline may be nothing but a wait that just ended.
const TICK: Duration = Duration::from_millis(1);

/// How long a guest has waited for its peer. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience(Arc<Mutex<Waited>>);

#[derive(Debug, Default)]
struct Waited {
    total: Duration,
    since: Option<Instant>,
}

/// A wait for the peer, until it is dropped.
pub(crate) struct Wait<'a>(&'a Patience);

impl Patience {
    /// The guest begins to wait for its peer.
    pub(crate) fn wait(&self) -> Wait<'_> {
        self.lock().since.get_or_insert_with(Instant::now);
        Wait(self)
    }

    /// Returns when the guest has used up a deadline, which begins now, without the time that it waited for its peer.
    pub(crate) async fn exhausted(&self, deadline: Option<Duration>) {
        let Some(deadline) = deadline else { return std::future::pending().await };
        let started = Instant::now();
        let before = self.waited();
        loop {
            let used = started.elapsed().saturating_sub(self.waited().saturating_sub(before));
            if used >= deadline {
                return;
            }
            sleep((deadline - used).max(TICK)).await;
        }
    }

    fn waited(&self) -> Duration {
        let waited = self.lock();
        waited.total + waited.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Waited> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waited = self.0.lock();
        if let Some(since) = waited.since.take() {
            waited.total += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_peer_does_not_count() {
        let patience = Patience::default();
        let started = Instant::now();
        let deadline = patience.exhausted(Some(Duration::from_secs(3)));
        let guest = async {
            sleep(Duration::from_secs(1)).await;
            let wait = patience.wait();
            sleep(Duration::from_secs(100)).await;
            drop(wait);
            sleep(Duration::from_secs(1)).await;
            let wait = patience.wait();
            sleep(Duration::from_secs(100)).await;
            drop(wait);
            std::future::pending::<()>().await;
        };
        futures::select! {
            () = deadline.fuse() => {}
            () = guest.fuse() => {}
        }
        let taken = started.elapsed();
        assert!((Duration::from_secs(203)..Duration::from_millis(203_010)).contains(&taken), "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_message_has_its_own_deadline() {
        let patience = Patience::default();
        for _ in 0..2 {
            let started = Instant::now();
            patience.exhausted(Some(Duration::from_secs(3))).await;
            assert!(started.elapsed() < Duration::from_millis(3_010));
        }
        assert!(patience.exhausted(None).now_or_never().is_none());
    }
}
