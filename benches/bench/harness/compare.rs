//! One operation beside another.
//!
//! Batches of both alternate, so that a machine that is slow for a while is so for both, and take turns in going first. What
//! an operation costs is the median over the batches; how often that is what the floor costs, the median over the ratios of
//! batches side by side, which more of them are measured for until it is known well enough, whatever it is. How long single
//! operations take is asked in batches of their own, because a look at the clock costs as much as a small operation.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;
use ww_core::task;

use super::{Only, Plan, sample::Sorted};

/// Single operations that are timed of each side, at most.
const LATENCIES: usize = 200_000;

/// One batch in so many times single operations.
const LATENCY_BATCH: usize = 5;

/// How wide the interval may be in which the ratio lies, as a share of it: a tenth of what a target of 1.5 allows.
const WELL_KNOWN: f64 = 0.05;

/// How many times as many batches are measured for that, at most.
const PATIENCE: usize = 4;

/// A batch that runs: how long single operations took, in microseconds.
type Running = Pin<Box<dyn Future<Output = Result<Vec<f64>>> + Send>>;

/// An operation that is to be timed, by one task or by several at once.
#[derive(Clone)]
pub(crate) struct Side {
    run: Arc<dyn Fn(Batch) -> Running + Send + Sync>,
    in_flight: usize,
    weight: usize,
}

/// So many tasks, each of which does it so often.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) tasks: usize,
    pub(crate) times: usize,
    /// Whether single operations are timed.
    pub(crate) timed: bool,
}

/// What was measured of one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Microseconds for each operation, batch by batch.
    batches: Vec<f64>,
    /// Microseconds that single operations took.
    latencies: Vec<f64>,
}

/// What was measured of both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) value: Measured,
    pub(crate) floor: Measured,
}

impl Side {
    /// One operation at a time, on the workers, as everything inside a node. Each gets a clone of what it works with.
    pub(crate) fn new<T, F, O>(with: T, operation: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(T) -> O + Send + Sync + 'static,
        O: Future<Output = Result<()>> + Send,
    {
        let operation = Arc::new(move || operation(with.clone()));
        Self::of(move |batch| {
            let operation = Arc::clone(&operation);
            Box::pin(async move {
                let tasks: Vec<_> = (0..batch.tasks)
                    .map(|_| {
                        let operation = Arc::clone(&operation);
                        let kind = task::Kind::owned("batch", "bench");
                        task::spawn(&Handle::current(), kind, async move { batch.repeat(&*operation).await })
                    })
                    .collect();
                let mut latencies = Vec::new();
                for task in tasks {
                    latencies.extend(task.await??);
                }
                Ok(latencies)
            })
        })
    }

    /// Batches that are run elsewhere.
    pub(crate) fn of(run: impl Fn(Batch) -> Running + Send + Sync + 'static) -> Self {
        Self { run: Arc::new(run), in_flight: 1, weight: 1 }
    }

    /// So many at once, each by a task of its own.
    pub(crate) fn in_flight(&self, tasks: usize) -> Self {
        Self { in_flight: tasks, ..self.clone() }
    }

    /// Each call stands for so many operations.
    pub(crate) fn weight(self, operations: usize) -> Self {
        Self { weight: operations, ..self }
    }

    /// Does it so often in all.
    async fn run(&self, times: usize, timed: bool) -> Result<(Duration, Vec<f64>)> {
        let batch = Batch { tasks: self.in_flight, times: times.div_ceil(self.in_flight), timed };
        let begun = Instant::now();
        let latencies = (self.run)(batch).await?;
        Ok((begun.elapsed(), latencies))
    }

    /// How often it is done within a batch.
    async fn calibrate(&self, plan: &Plan) -> Result<usize> {
        let mut times = self.in_flight;
        loop {
            let (took, _) = self.run(times, false).await?;
            if took >= plan.batch || plan.is_smoke() {
                return Ok(times);
            }
            let missing = plan.batch.as_secs_f64() / took.as_secs_f64().max(1e-6);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 2 and 10 times as many"
            )]
            let more = (times as f64 * (missing * 1.2).clamp(2.0, 10.0)) as usize;
            times = more;
        }
    }

    async fn sample(&self, times: usize, timed: bool, into: &mut Measured) -> Result<()> {
        let (took, latencies) = self.run(times, timed).await?;
        if timed {
            let room = LATENCIES.saturating_sub(into.latencies.len());
            into.latencies.extend(latencies.into_iter().take(room));
        } else {
            let operations = times.div_ceil(self.in_flight) * self.in_flight * self.weight;
            into.batches.push(micros(took) / operations as f64);
        }
        Ok(())
    }
}

impl Batch {
    /// What one of its tasks does.
    pub(crate) async fn repeat<F, O>(&self, operation: &F) -> Result<Vec<f64>>
    where
        F: Fn() -> O,
        O: Future<Output = Result<()>>,
    {
        let mut latencies = Vec::new();
        for _ in 0..self.times {
            if self.timed {
                let begun = Instant::now();
                operation().await?;
                latencies.push(micros(begun.elapsed()));
            } else {
                operation().await?;
            }
        }
        Ok(latencies)
    }
}

/// Times both sides in turn.
pub(crate) async fn compare(plan: &Plan, value: &Side, floor: &Side) -> Result<Comparison> {
    let (value, floor) = match plan.only {
        None => (value, floor),
        Some(Only::Node) => (value, value),
        Some(Only::Floor) => (floor, floor),
    };
    let mut both = Comparison::default();
    let value_times = value.calibrate(plan).await.context("the node's side")?;
    let floor_times = floor.calibrate(plan).await.context("the floor")?;
    for pair in 0..PATIENCE * plan.pairs {
        if pair >= plan.pairs && (plan.is_smoke() || both.is_well_known()) {
            break;
        }
        for timed in [false, true] {
            // What one call does many times has no time of its own.
            if timed && (pair % LATENCY_BATCH != 0 || value.weight > 1) {
                continue;
            }
            // Whoever goes second finds what the first one has left behind.
            let floor_first = pair % 2 == 0;
            if floor_first {
                floor.sample(floor_times, timed, &mut both.floor).await.context("the floor")?;
            }
            value.sample(value_times, timed, &mut both.value).await.context("the node's side")?;
            if !floor_first {
                floor.sample(floor_times, timed, &mut both.floor).await.context("the floor")?;
            }
        }
    }
    Ok(both)
}

impl Measured {
    /// Microseconds for one operation.
    pub(crate) fn each(&self) -> f64 {
        Sorted::new(self.batches.clone()).median()
    }

    /// How long single operations took, in microseconds.
    pub(crate) fn latencies(&self) -> Sorted {
        Sorted::new(self.latencies.clone())
    }
}

impl Comparison {
    /// How many times what the floor costs.
    pub(crate) fn ratio(&self) -> f64 {
        self.ratios().median()
    }

    /// The lower and the upper quartile of the same.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let ratios = self.ratios();
        (ratios.at(0.25), ratios.at(0.75))
    }

    /// Batch beside batch.
    fn ratios(&self) -> Sorted {
        let pairs = self.value.batches.iter().zip(&self.floor.batches);
        Sorted::new(pairs.map(|(value, floor)| value / floor).collect())
    }

    /// Whether more batches would hardly change the ratio.
    fn is_well_known(&self) -> bool {
        let ratios = self.ratios();
        let (low, high) = ratios.around_median();
        high - low <= WELL_KNOWN * ratios.median()
    }
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
