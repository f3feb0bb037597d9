//! What a thousand cells keep of their throughput and latency beside as many guests that compute for ever as there are
//! workers.
//!
//! The floor is the same without those guests. Whoever sends lives inside the node, on its workers.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime::Handle;
use ww::{
    cell::{Cell, Class},
    exit::Reason,
};
use ww_core::task;

use super::{Row, command, same};
use crate::{
    harness::{Plan, Record, Target, compare::micros, record::Better, sample::Sorted, threads},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row = Row { name: "fairness", about: "cells beside guests that compute for ever", run };

const GUEST: &str = "relay";
const MESSAGE: &[u8] = &[b'.'; 16];
const LOOPERS: usize = 2;

fn run(plan: &Plan) -> Result<Vec<Record>> {
    let time = plan.pick(Duration::from_secs(1), Duration::from_millis(20));
    let rounds = plan.pick(5, 1);
    threads()?.block_on(async {
        let sandbox = Sandbox::start()?;
        let program = sandbox.load(GUEST, Class::Small).await?;
        let cells = (0..plan.pick(1_000, 20)).map(|_| sandbox.cell(&program, node::small()));
        let cells: Vec<Cell> = cells.collect::<Result<_>>()?;
        // Both sides: how many in a second, the 99th of a hundred, the worst.
        let (mut quiet, mut beside) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
        let note = |measured: &Sorted, into: &mut [Vec<f64>; 3]| {
            let figures = [measured.len() as f64 / time.as_secs_f64(), measured.at(0.99), measured.at(1.0)];
            into.iter_mut().zip(figures).for_each(|(all, figure)| all.push(figure));
        };
        for _ in 0..rounds {
            note(&talk(&cells, time).await?, &mut quiet);
            let loopers: Vec<Cell> =
                (0..LOOPERS).map(|_| sandbox.cell(&program, node::small())).collect::<Result<_>>()?;
            for looper in &loopers {
                looper.send(looper.envelope(None), command(b'l', &[])).await?;
            }
            note(&talk(&cells, time).await?, &mut beside);
            for looper in &loopers {
                looper.stop(Reason::Killed);
                looper.exit().wait().await;
            }
        }
        let [[rate, p99, worst], [quiet_rate, quiet_p99, quiet_worst]] =
            [beside, quiet].map(|side| side.map(|figures| Sorted::new(figures).median()));
        let milliseconds = |name: &str, value: f64, floor: f64, most: f64| {
            let record = Record::new(name, "ms", Better::Lower, value / 1e3, Some(floor / 1e3));
            record.target(Target::Value(most))
        };
        Ok(vec![
            Record::new("fairness", "/s", Better::Higher, rate, Some(quiet_rate)).target(Target::Ratio(2.0)),
            milliseconds("fairness/p99", p99, quiet_p99, 25.0),
            milliseconds("fairness/worst", worst, quiet_worst, 250.0),
        ])
    })
}

/// How long each message took, in microseconds.
async fn talk(cells: &[Cell], time: Duration) -> Result<Sorted> {
    let until = Instant::now() + time;
    let talking: Vec<_> = cells
        .iter()
        .map(|cell| {
            let cell = cell.clone();
            task::spawn(&Handle::current(), task::Kind::owned("talk", "bench"), async move {
                let mut took = Vec::new();
                while Instant::now() < until {
                    let begun = Instant::now();
                    same(&cell.ask(cell.envelope(None), MESSAGE).await?, MESSAGE)?;
                    took.push(micros(begun.elapsed()));
                }
                anyhow::Ok(took)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in talking {
        all.extend(task.await??);
    }
    Ok(Sorted::new(all))
}
