//! One line of what was measured.

use serde::{Deserialize, Serialize};

use super::{compare::Comparison, versions};

/// One figure beside its floor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The row, and after slashes the case.
    pub(crate) name: String,
    /// Of value and floor. `p50` and `p99` are in microseconds, whatever the unit.
    pub(crate) unit: String,
    /// What was measured: a median.
    pub(crate) value: f64,
    /// The same of the bare parts.
    pub(crate) floor: Option<f64>,
    /// How many times what the floor costs; of rates as well, so that less is better.
    pub(crate) ratio: Option<f64>,
    /// The lower and upper quartile of the ratio, batch beside batch.
    pub(crate) spread: Option<(f64, f64)>,
    /// What is asked for, of the ratio or of the value.
    pub(crate) target: Option<f64>,
    /// Of what the target is: `ratio` or `value`, or `aim` for a ratio that is out of reach.
    pub(crate) target_of: Option<Of>,
    /// Which values are better.
    pub(crate) better: Better,
    /// Whether the target is met.
    pub(crate) verdict: Verdict,
    /// Half of all operations took at most so many microseconds.
    pub(crate) p50: Option<f64>,
    /// All but one in a hundred.
    pub(crate) p99: Option<f64>,
    /// How long single operations took.
    pub(crate) distribution: Option<Distribution>,
    /// The commit that was measured.
    pub(crate) commit: String,
    /// With what.
    pub(crate) versions: versions::Versions,
}

/// How long operations took, in microseconds, of those shares of them that took no longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) shares: Vec<f64>,
    pub(crate) value: Vec<f64>,
    pub(crate) floor: Vec<f64>,
}

/// The shares of a [`Distribution`].
const SHARES: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999];

/// What a target is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Of {
    Ratio,
    Value,
    Aim,
}

/// Which values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// Whether a target is met. What has no target passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Pass,
    Miss,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// At most so many times the floor.
    Ratio(f64),
    /// At most so many times the floor, which is known to be out of reach: it is shown, and fails no check.
    Aim(f64),
    /// At least, or at most, so much of the value, whichever is better. Holds on a quiet machine only.
    Value(f64),
    /// Nothing: the figure shows how cost grows.
    None,
}

impl Record {
    /// A figure, and the bare one beside it.
    pub(crate) fn new(name: impl Into<String>, unit: &str, better: Better, value: f64, floor: Option<f64>) -> Self {
        let ratio = floor.map(|floor| match better {
            Better::Lower => value / floor,
            Better::Higher => floor / value,
        });
        Self {
            name: name.into(),
            unit: unit.to_owned(),
            value,
            floor,
            ratio,
            spread: None,
            target: None,
            target_of: None,
            better,
            verdict: Verdict::Pass,
            p50: None,
            p99: None,
            distribution: None,
            commit: versions::commit(),
            versions: versions::versions(),
        }
    }

    /// Microseconds for each operation.
    pub(crate) fn time(name: impl Into<String>, both: &Comparison) -> Self {
        let record = Self::new(name, "µs", Better::Lower, both.value.each(), Some(both.floor.each()));
        record.of(both)
    }

    /// Operations in a second.
    pub(crate) fn rate(name: impl Into<String>, both: &Comparison) -> Self {
        let [value, floor] = [&both.value, &both.floor].map(|side| 1e6 / side.each());
        Self::new(name, "/s", Better::Higher, value, Some(floor)).of(both)
    }

    fn of(mut self, both: &Comparison) -> Self {
        let [value, floor] = [&both.value, &both.floor].map(super::compare::Measured::latencies);
        if value.len() > 0 {
            self.p50 = Some(value.median());
            self.p99 = Some(value.at(0.99));
            let [value, floor] = [value, floor].map(|side| SHARES.iter().map(|share| side.at(*share)).collect());
            self.distribution = Some(Distribution { shares: SHARES.into(), value, floor });
        }
        self.ratio = Some(both.ratio());
        self.spread = Some(both.spread());
        self
    }

    /// Says what is asked for.
    pub(crate) fn target(mut self, target: Target) -> Self {
        let (of, limit, met) = match target {
            Target::Ratio(most) => (Of::Ratio, most, self.ratio.is_some_and(|ratio| ratio <= most)),
            Target::Aim(most) => (Of::Aim, most, self.ratio.is_some_and(|ratio| ratio <= most)),
            Target::Value(limit) => match self.better {
                Better::Lower => (Of::Value, limit, self.value <= limit),
                Better::Higher => (Of::Value, limit, self.value >= limit),
            },
            Target::None => return self,
        };
        self.target = Some(limit);
        self.target_of = Some(of);
        self.verdict = if met { Verdict::Pass } else { Verdict::Miss };
        self
    }

    /// The row that it belongs to.
    pub(crate) fn row(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}
