//! How long a supervisor waits before it starts a child again. OTP has no such thing: there every restart is at once.

use std::time::Duration;

use thiserror::Error;

/// Growing delays between the restarts of a child that keeps failing.
///
/// The n-th restart in a row waits `base * factor^n`, at most `cap`, of which `jitter` says how much is left to
/// chance: with 0 the delay is exact, with 1 it is anything between nothing and the whole. An incarnation that
/// lived for `cap` or longer ends the row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first delay.
    pub base: Duration,
    /// By how much each delay is longer than the one before; 1 or more.
    pub factor: f64,
    /// The longest delay; not less than `base`.
    pub cap: Duration,
    /// The share of each delay that is left to chance, 0 to 1.
    pub jitter: f64,
}

/// A backoff without meaning.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// The factor.
    #[error("the factor of the backoff is less than 1 or no number")]
    Factor,
    /// The jitter.
    #[error("the jitter of the backoff is not within 0 and 1")]
    Jitter,
    /// The cap.
    #[error("the cap of the backoff is less than its base")]
    Cap,
}

impl Backoff {
    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// Where one of them has no meaning.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(self.factor >= 1.0 && self.factor.is_finite()) {
            return Err(Invalid::Factor);
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Invalid::Jitter);
        }
        if self.cap < self.base {
            return Err(Invalid::Cap);
        }
        Ok(())
    }

    /// The delay before restart number `attempt` of a row, counted from 0; `random` is within 0 and 1.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let cap = self.cap.as_secs_f64();
        let exact = self.base.as_secs_f64() * self.factor.powi(i32::try_from(attempt).unwrap_or(i32::MAX));
        // Not a number only for 0 times infinity, which `min` turns into the cap: nothing is to be waited for then.
        let exact = if self.base.is_zero() { 0.0 } else { exact.min(cap) };
        let share = 1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0);
        Duration::try_from_secs_f64(exact * share).unwrap_or(self.cap).min(self.cap)
    }
}

/// The random numbers of one supervisor: SplitMix64 (Steele, Lea and Flood 2014). Good enough to spread restarts.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, 0 or more and less than 1.
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // The upper 53 bits, as many as an `f64` holds.
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { base: Duration::from_millis(10), factor: 2.0, cap: Duration::from_secs(1), jitter: 0.0 };

    #[test]
    fn delays_grow_up_to_the_cap() {
        for (attempt, millis) in [(0, 10), (1, 20), (2, 40), (6, 640), (7, 1_000), (u32::MAX, 1_000)] {
            assert_eq!(BACKOFF.delay(attempt, 0.5).as_millis(), millis, "attempt {attempt}");
        }
        let none = Backoff { base: Duration::ZERO, ..BACKOFF };
        assert_eq!(none.delay(u32::MAX, 0.5), Duration::ZERO);
    }

    #[test]
    fn jitter_shortens_and_never_lengthens() {
        for (jitter, random, millis) in [(1.0, 0.0, 10), (1.0, 1.0, 0), (0.5, 1.0, 5), (0.5, 0.5, 7), (0.0, 1.0, 10)] {
            let delay = Backoff { jitter, ..BACKOFF }.delay(0, random);
            assert_eq!(delay.as_millis(), millis, "jitter {jitter}, random {random}");
        }
    }

    #[test]
    fn numbers_without_meaning_are_refused() {
        let table = [
            (BACKOFF, Ok(())),
            (Backoff { factor: 0.9, ..BACKOFF }, Err(Invalid::Factor)),
            (Backoff { factor: f64::NAN, ..BACKOFF }, Err(Invalid::Factor)),
            (Backoff { factor: f64::INFINITY, ..BACKOFF }, Err(Invalid::Factor)),
            (Backoff { jitter: 1.1, ..BACKOFF }, Err(Invalid::Jitter)),
            (Backoff { jitter: f64::NAN, ..BACKOFF }, Err(Invalid::Jitter)),
            (Backoff { cap: Duration::from_millis(9), ..BACKOFF }, Err(Invalid::Cap)),
        ];
        for (backoff, outcome) in table {
            assert_eq!(backoff.check(), outcome, "{backoff:?}");
        }
    }

    #[test]
    fn random_numbers_are_within_their_range_and_differ() {
        let mut random = Random::new(1);
        let numbers: Vec<f64> = (0..1_000).map(|_| random.next()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f64>() / 1_000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }
}
