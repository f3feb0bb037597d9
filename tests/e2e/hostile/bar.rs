//! What a node has to keep to beside one hostile principal, and for how long each attack goes on.

use std::{env, time::Duration};

/// Seconds for each attack. `make soak` sets it; then the narrow bar of latency holds.
const SOAK: &str = "WW_HOSTILE_SECONDS";

/// How long each attack goes on in a run of the tests: long enough for most to reach a bound.
const MOMENT: Duration = Duration::from_millis(700);

/// How long 99 of 100 answers may take at most beside an attack.
const NARROW: Duration = Duration::from_millis(250);

/// The same in a run of the tests: without optimisation, beside other tests, on two cores.
const WIDE: Duration = Duration::from_secs(2);

/// How much the node may grow beyond the account of the principal and the linear memory of its cells.
pub(super) const GROWTH: u64 = 64 << 20;

/// The bar of this run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    pub(super) time: Duration,
    pub(super) latency: Duration,
    /// Whether this is a soak: one test at a time, and also rows that take nearly the same way as others.
    pub(super) soaks: bool,
}

impl Bar {
    pub(super) fn of_this_run() -> Self {
        let Some(seconds) = env::var_os(SOAK) else {
            return Self { time: MOMENT, latency: WIDE, soaks: false };
        };
        let seconds = seconds.to_str().and_then(|text| text.parse().ok());
        let seconds = seconds.unwrap_or_else(|| panic!("{SOAK}: expected a number of seconds"));
        Self { time: Duration::from_secs_f64(seconds), latency: NARROW, soaks: true }
    }
}
