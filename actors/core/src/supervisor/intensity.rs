//! The sliding window in which restarts are counted.

use std::{collections::VecDeque, time::Duration};

/// Restarts of which each is remembered by itself. Beyond these, those within one 256th of the period
/// count as one moment, the first of them, so that a window takes some KiB whatever the intensity.
const REMEMBERED: usize = 256;

/// The restarts of the last `period`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    intensity: u32,
    period: Duration,
    /// When how many of them happened, the oldest first.
    restarts: VecDeque<(Duration, usize)>,
    /// How many there are, at most one more than the intensity.
    count: usize,
}

impl Window {
    pub(super) fn new(intensity: u32, period: Duration) -> Self {
        Self { intensity, period, restarts: VecDeque::new(), count: 0 }
    }

    /// Counts a restart, and says whether it is still one of those that are allowed.
    ///
    /// As in OTP, a restart that is exactly as old as the period counts still.
    pub(super) fn admit(&mut self, now: Duration) -> bool {
        while let Some(&(then, count)) = self.restarts.front()
            && now.saturating_sub(then) > self.period
        {
            self.restarts.pop_front();
            self.count -= count;
        }
        let many = self.restarts.len() >= REMEMBERED;
        match self.restarts.back_mut() {
            Some((then, count)) if many && now.saturating_sub(*then) < self.period / REMEMBERED as u32 => *count += 1,
            _ => self.restarts.push_back((now, 1)),
        }
        self.count += 1;
        let allowed = self.count <= self.intensity as usize;
        if !allowed && let Some((_, count)) = self.restarts.front_mut() {
            self.count -= 1;
            *count -= 1;
            if *count == 0 {
                self.restarts.pop_front();
            }
        }
        allowed
    }

    /// Restarts that the last call of `admit` left in the window.
    pub(super) fn count(&self) -> usize {
        self.count
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

    #[test]
    fn a_window_of_many_restarts_is_small_and_counts_all() {
        let mut window = Window::new(10_000, Duration::from_secs(1));
        for restart in 0..10_000 {
            assert!(window.admit(Duration::from_micros(restart)), "{restart}");
        }
        assert_eq!(window.count(), 10_000);
        assert!(window.restarts.len() <= 2 * REMEMBERED + 1, "{}", window.restarts.len());
        assert!(!window.admit(Duration::from_millis(10)));
        assert!(window.admit(Duration::from_millis(1_100)), "they are forgotten");
        assert_eq!(window.count(), 1);
    }
}
