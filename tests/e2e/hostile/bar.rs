//! What a node has to keep to beside one hostile principal, and for how long each attack goes on.

use std::{env, time::Duration};

/// Seconds for each attack. `make soak` sets it; then the narrow bar of latency holds.
const SOAK: &str = "WW_HOSTILE_SECONDS";

/// How much the node may grow beyond the account of the principal and the linear memory of its cells.
pub(super) const GROWTH: u64 = 64 << 20;

/// Answers of which 99 of 100 mean more than the slowest of a few.
pub(super) const ENOUGH: usize = 1_000;

/// The bar of this run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    /// How long each attack goes on.
    pub(super) time: Duration,
    /// How long an answer may take beside an attack: half of them in a run of the tests, 99 of 100 in a soak.
    pub(super) latency: Duration,
    /// `peer-timeout` of the node: in a run of the tests longer than a busy machine is silent.
    pub(super) silence: Duration,
    /// How long a message may keep the cell busy that everybody may send messages to.
    pub(super) deadline: Duration,
    /// Pause of each stranger before it opens a socket anew.
    pub(super) pause: Duration,
    /// Whether this is a soak: a node for each row, and also rows that take nearly the same way as others.
    pub(super) soaks: bool,
}

/// A run of the tests: without optimisation, beside other tests, on two cores. The moment is long enough for most attacks to
/// reach a bound.
const TESTS: Bar = Bar {
    time: Duration::from_millis(500),
    latency: Duration::from_secs(2),
    silence: Duration::from_secs(5),
    deadline: Duration::from_secs(10),
    pause: Duration::from_secs(1),
    soaks: false,
};

impl Bar {
    pub(super) fn of_this_run() -> Self {
        let Some(seconds) = env::var_os(SOAK) else { return TESTS };
        let seconds = seconds.to_str().and_then(|text| text.parse().ok());
        let seconds = seconds.unwrap_or_else(|| panic!("{SOAK}: expected a number of seconds"));
        Self {
            time: Duration::from_secs_f64(seconds),
            latency: Duration::from_millis(250),
            silence: Duration::from_secs(1),
            deadline: Duration::from_secs(2),
            pause: Duration::from_millis(100),
            soaks: true,
        }
    }
}
