//! The sliding window in which restarts are counted.

use std::{collections::VecDeque, time::Duration};

/// The restarts of the last `period`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    intensity: u32,
    period: Duration,
    /// When they happened, the oldest first. At most one more than the intensity.
    restarts: VecDeque<Duration>,
}

impl Window {
    pub(super) fn new(intensity: u32, period: Duration) -> Self {
        Self { intensity, period, restarts: VecDeque::new() }
    }

    /// Counts a restart, and says whether it is still one of those that are allowed.
    ///
    /// As in OTP, a restart that is exactly as old as the period counts still.
    pub(super) fn admit(&mut self, now: Duration) -> bool {
        while self.restarts.front().is_some_and(|&then| now.saturating_sub(then) > self.period) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        let allowed = self.restarts.len() <= self.intensity as usize;
        if !allowed {
            self.restarts.pop_front();
        }
        allowed
    }

    /// Restarts that the last call of `admit` left in the window.
    pub(super) fn count(&self) -> usize {
        self.restarts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_allowed_within_the_period_is_too_many() {
        // (intensity, period in seconds, times of the restarts in milliseconds, whether the last one is allowed)
        let table: [(u32, u64, &[u64], bool); 10] = [
            (0, 5, &[0], false),
            (1, 5, &[0], true),
            (1, 5, &[0, 0], false),
            (1, 5, &[0, 4_999], false),
            (1, 5, &[0, 5_000], false),
            (1, 5, &[0, 5_001], true),
            (1, 5, &[0, 5_001, 10_001], false),
            (2, 5, &[0, 3_000, 5_001], true),
            (2, 5, &[0, 3_000, 5_001, 8_000], false),
            (3, 1, &[0, 0, 0, 1_001], true),
        ];
        for (intensity, period, times, allowed) in table {
            let mut window = Window::new(intensity, Duration::from_secs(period));
            let mut last = true;
            for &time in times {
                assert!(last, "only the last may be refused: {times:?}");
                last = window.admit(Duration::from_millis(time));
            }
            assert_eq!(last, allowed, "{intensity} in {period} s at {times:?}");
        }
    }
}
