//! Live cells that do nothing: how much memory each holds, how long it takes to bring all of them up, and to send each a
//! message.
//!
//! The floor is as many bare instances, with the same settings of the engine and without a task or a mailbox. Each side and
//! number has a process of its own.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::{runtime::Handle, task::yield_now};
use ww::cell::{Cells, Class};
use ww_core::task;

use super::{Row, same};
use crate::{
    floor::{Answer as _, Handling, Program, Settings},
    harness::{
        Plan, Record, Target,
        compare::micros,
        process::{Figures, measure, resident, tell},
        record::Better,
        threads,
    },
    node::{self, Sandbox, guest},
};

pub(crate) const ROW: Row = Row { name: "density", about: "memory of live cells that do nothing", run };

/// The part that is measured in a process of its own.
pub(crate) const PART: &str = "density";

const GUEST: &str = "mite";
const MESSAGE: &[u8] = &[b'.'; 16];

/// Cells that are started or asked at the same time.
const AT_ONCE: usize = 64;

fn run(plan: &Plan) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let sizes: &[usize] = plan.pick(&[1, 10, 100, 1_000, 10_000, 30_000], &[20]);
    for &cells in sizes {
        let [value, floor] = ["cells", "bare"].map(|side| measure(PART, &[side.to_owned(), cells.to_string()]));
        let (value, floor) = (value?, floor?);
        let figure = |what: &str, unit: &str| {
            let of = |figures: &Figures| figures.get(what).copied().context("a figure");
            let record =
                Record::new(format!("density/{cells}/{what}"), unit, Better::Lower, of(&value)?, Some(of(&floor)?));
            anyhow::Ok(record)
        };
        // Few cells are smaller than what allocators keep.
        let most = if cells >= 1_000 { Target::Ratio(1.25) } else { Target::None };
        records.push(figure("memory", "KiB")?.target(most));
        if cells == 30_000 {
            let mut each = figure("memory", "KiB")?.target(Target::Value(64.0));
            each.name = format!("density/{cells}/at-most");
            records.push(each);
        }
        records.push(figure("start", "µs")?.target(Target::None));
        records.push(figure("message", "µs")?.target(Target::None));
    }
    Ok(records)
}

/// What a process does that was called for one number of cells.
pub(crate) fn part(arguments: &[String]) -> Result<()> {
    let [side, cells] = arguments else { anyhow::bail!("expected a side and a number") };
    let cells: usize = cells.parse()?;
    let figures = threads()?.block_on(async move {
        match side.as_str() {
            "cells" => live(cells).await,
            _ => bare(cells).await,
        }
    })?;
    tell(&figures)
}

/// Starts things, sends each a message, and looks at the process in between.
async fn watch<T, S, A>(cells: usize, start: impl Fn() -> S, ask: impl Fn(T) -> A) -> Result<Figures>
where
    T: Send + 'static,
    S: Future<Output = Result<T>> + Send + 'static,
    A: Future<Output = Result<T>> + Send + 'static,
{
    // What is needed once is there already.
    let first = ask(start().await?).await?;
    let before = resident()?;
    let begun = Instant::now();
    let things = at_once((0..cells).map(|_| start())).await?;
    let started = begun.elapsed();
    let begun = Instant::now();
    let things = at_once(things.into_iter().map(ask)).await?;
    let asked = begun.elapsed();
    // The tasks that brought them up have ended.
    yield_now().await;
    let each = |all: f64| all / cells as f64;
    let figures = [
        ("memory", each(resident()? - before) / 1024.0),
        ("start", each(micros(started))),
        ("message", each(micros(asked))),
    ];
    drop((first, things));
    Ok(figures.map(|(name, figure)| (name.to_owned(), figure)).into())
}

/// Runs futures as tasks, some at the same time.
async fn at_once<T, F>(futures: impl Iterator<Item = F>) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut all = Vec::new();
    let mut running = std::collections::VecDeque::new();
    for future in futures {
        if running.len() == AT_ONCE {
            let first: task::Task<Result<T>> = running.pop_front().context("there are some")?;
            all.push(first.await??);
        }
        running.push_back(task::spawn(&Handle::current(), task::Kind::owned("part", "bench"), future));
    }
    for task in running {
        all.push(task.await??);
    }
    Ok(all)
}

async fn live(cells: usize) -> Result<Figures> {
    let sandbox = Sandbox::with(Cells { standard: 1, small: cells + 1 }, &Settings::default())?;
    let program = sandbox.load(GUEST, Class::Small).await?;
    let sandbox = std::sync::Arc::new(sandbox);
    let start = || {
        let (sandbox, program) = (sandbox.clone(), program.clone());
        async move {
            let cell = sandbox.cell(&program, node::small())?;
            cell.serving().await.map_err(|reason| anyhow::anyhow!("a cell ended: {reason}"))?;
            Ok(cell)
        }
    };
    let ask = |cell: ww::cell::Cell| async move {
        same(&cell.ask(cell.envelope(None), MESSAGE).await?, MESSAGE)?;
        Ok(cell)
    };
    watch(cells, start, ask).await
}

async fn bare(cells: usize) -> Result<Figures> {
    let settings = Settings::default();
    // The node's own engine would take the mappings that these need.
    let sandbox = Sandbox::with(Cells { standard: 1, small: cells + 1 }, &settings.instead())?;
    sandbox.load(GUEST, Class::Small).await?;
    drop(sandbox);
    let program = Program::new(&settings.engine()?, &guest(GUEST)?)?;
    let start = || {
        let program = program.clone();
        async move { Handling::start(&program).await }
    };
    let ask = |mut instance: Handling| async move {
        same(&instance.answer(MESSAGE).await?, MESSAGE)?;
        Ok(instance)
    };
    watch(cells, start, ask).await
}
