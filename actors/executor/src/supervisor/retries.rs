//! When a child is started again whose start has failed again and again.
//!
//! OTP tries again at once, as often as the intensity allows. Here the first retry is at once, and
//! each one after that waits: what fails at once, under an intensity that is never reached, would
//! keep a core busy and fill the log otherwise. Meanwhile the child is being started, and everybody
//! else is served.

use std::{collections::HashMap, time::Duration};

use ww_core::{exit::Reason, supervisor as machine};

/// The wait before the second retry in a row; each one after that waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest wait: an intensity of less than ten restarts in a second is reached as in OTP, and what
/// can be started again is hardly late.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Failed starts in a row of which the log tells everybody; more of them are told to those who debug.
const TOLD: u32 = 3;

/// The rows of failed starts, by the child that was to start.
#[derive(Debug, Default)]
pub(super) struct Retries(HashMap<machine::Slot, Row>);

#[derive(Debug, Default)]
struct Row {
    failed: u32,
    /// What its backoff has made it wait already.
    waited: Duration,
}

/// Whether somebody has ended a start, so that it has not failed.
pub(super) fn was_ended(reason: &Reason) -> bool {
    matches!(reason, Reason::Shutdown | Reason::Killed)
}

impl Retries {
    /// A start has failed.
    pub(super) fn failed(&mut self, child: machine::Slot) {
        let row = self.0.entry(child).or_default();
        row.failed = row.failed.saturating_add(1);
    }

    /// A restart is decided, and begins after this time.
    pub(super) fn decided(&mut self, child: machine::Slot, after: Duration) {
        if let Some(row) = self.0.get_mut(&child) {
            row.waited = after;
        }
    }

    /// How long the next start has to wait.
    pub(super) fn pause(&mut self, child: machine::Slot) -> Duration {
        let Some(row) = self.0.get_mut(&child) else { return Duration::ZERO };
        let Some(doubled) = row.failed.checked_sub(2) else { return Duration::ZERO };
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doubled)).min(LONGEST_PAUSE);
        pause.saturating_sub(std::mem::take(&mut row.waited))
    }

    /// Whether so many starts have failed that another one is no news.
    pub(super) fn is_old_news(&self, child: machine::Slot) -> bool {
        self.0.get(&child).is_some_and(|row| row.failed > TOLD)
    }

    /// The child has started, or is forgotten.
    pub(super) fn end(&mut self, child: machine::Slot) {
        self.0.remove(&child);
    }
}
