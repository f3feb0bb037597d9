//! The end that somebody asks for.

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;
use ww_core::exit::Reason;

/// Ends an incarnation, from any thread, within milliseconds also while it computes.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<StopState>);

#[derive(Debug, Default)]
struct StopState {
    reason: OnceLock<Reason>,
    requested: Notify,
    ending: AtomicBool,
}

impl Stop {
    /// Asks for the end. The first reason counts; nothing happens to an incarnation that has ended.
    pub fn request(&self, reason: Reason) {
        if self.0.reason.set(reason).is_ok() {
            self.0.requested.notify_waiters();
        }
    }

    /// Whether the incarnation is about to end, whatever the reason. Set before its streams are closed, so that
    /// whoever sees them close can tell an end from a guest that goes on without them.
    pub fn is_ending(&self) -> bool {
        self.0.ending.load(Ordering::Acquire)
    }

    /// The instance has run for the last time.
    pub(crate) fn set_ending(&self) {
        self.0.ending.store(true, Ordering::Release);
    }

    /// Why it was asked to end, if it was.
    pub fn reason(&self) -> Option<&Reason> {
        self.0.reason.get()
    }

    /// Waits until somebody asks for the end: the reason. Cancel safe.
    pub async fn requested(&self) -> Reason {
        let mut notified = pin!(self.0.requested.notified());
        // Before the look at the reason, so that a request between the two is not missed.
        notified.as_mut().enable();
        match self.reason() {
            Some(reason) => reason.clone(),
            None => {
                notified.await;
                self.reason().cloned().unwrap_or(Reason::Shutdown)
            }
        }
    }
}
