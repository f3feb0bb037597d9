//! How long turns are expected to be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A turn of somebody who computes.
pub(super) const LONG: Duration = Duration::from_micros(500);

/// Turns that are left to the threads of the runtime after a long one.
pub(super) const AVOIDED: u32 = 256;

/// Of a mean, one part in so many is the last turn.
const SMOOTHING: u32 = 8;

/// How the turns of some tasks have been. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<Turns>);

#[derive(Debug, Default)]
struct Turns {
    /// The mean of the last ones, in nanoseconds.
    mean: AtomicU32,
    /// Turns that are still to be left to others, after a long one.
    avoided: AtomicU32,
}

impl Pace {
    /// Whether the next turn is expected to take no more than this.
    pub(super) fn is_within(&self, most: Duration) -> bool {
        let Turns { mean, avoided } = &*self.0;
        // Two at the same time may count as one.
        match avoided.load(Ordering::Relaxed) {
            0 => u128::from(mean.load(Ordering::Relaxed)) <= most.as_nanos(),
            left => {
                avoided.store(left - 1, Ordering::Relaxed);
                false
            }
        }
    }

    /// A turn took so long.
    pub(super) fn took(&self, time: Duration) {
        let Turns { mean, avoided } = &*self.0;
        if time > LONG {
            avoided.store(AVOIDED, Ordering::Relaxed);
            return;
        }
        // What others write at the same time may be lost.
        let before = mean.load(Ordering::Relaxed);
        mean.store(before - before / SMOOTHING + time.subsec_nanos() / SMOOTHING, Ordering::Relaxed);
    }

    /// Whether turns are still left to others, after a long one.
    #[cfg(test)]
    pub(super) fn avoids(&self) -> bool {
        self.0.avoided.load(Ordering::Relaxed) > 0
    }

    /// Nothing is known of them any more: how slow the machine was must not decide a test.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.0.mean.store(0, Ordering::Relaxed);
        self.0.avoided.store(0, Ordering::Relaxed);
    }
}
