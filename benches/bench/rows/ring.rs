//! A ring of cells: one token goes round, and then every cell has one at the same time.
//!
//! The floor is a ring of tasks with bounded channels, each of which calls a bare instance of its own. How much a second
//! core is worth is measured with one worker and with two.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::{runtime, sync::mpsc};
use ww::cell::{Cell, Class, Program};
use ww_core::task;

use super::{Row, command};
use crate::{
    floor::{self, Answer as _, Handling},
    harness::{self, Plan, Record, Side, Target, compare, record::Better},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row = Row { name: "ring", about: "tokens go round in a ring of cells", run };

const GUEST: &str = "relay";
const MESSAGE: &[u8] = &[b'.'; 41];

/// Messages that may wait before each, on both sides: every token at once.
const MAILBOX: usize = 1_024;

fn run(plan: &Plan) -> Result<Vec<Record>> {
    let cells = plan.pick(1_000, 20);
    let hops = plan.pick(20_000, 40);
    let (one_worker, _) = measure(plan, 1, cells, hops)?;
    let (two_workers, mut records) = measure(plan, 2, cells, hops)?;
    let gain = Record::new("ring/second-core", "×", Better::Higher, two_workers / one_worker, None);
    records.push(gain.target(Target::Value(1.7)));
    Ok(records)
}

/// Hops in a second when all cells have a token, and the records.
fn measure(plan: &Plan, workers: usize, cells: usize, hops: usize) -> Result<(f64, Vec<Record>)> {
    harness::workers(workers)?.block_on(async {
        let sandbox = Sandbox::start()?;
        let program = sandbox.load(GUEST, Class::Small).await?;
        let ring: Vec<Cell> = (0..cells)
            .map(|_| sandbox.cell(&program, node::Spec { mailbox: MAILBOX, ..node::small() }))
            .collect::<Result<_>>()?;
        for cell in &ring {
            cell.serving().await.map_err(|reason| anyhow::anyhow!("{reason}"))?;
        }
        let bare = Bare::start(&sandbox.bare(GUEST)?, cells).await?;
        let ring = Ring { sandbox: sandbox.into(), program, cells: ring.into() };
        let many = {
            let each = (5 * hops).div_ceil(cells);
            compare(plan, &ring.side(cells, each), &bare.side(cells, each)).await?
        };
        let mut records = Vec::new();
        if workers > 1 {
            let one = compare(plan, &ring.side(1, hops), &bare.side(1, hops)).await?;
            records.push(Record::time("ring/one-token", &one).target(Target::Ratio(2.0)));
            records.push(Record::rate("ring/all-at-once", &many).target(Target::Ratio(2.0)));
        }
        Ok((1e6 / many.value.each(), records))
    })
}

/// Cells in a row.
#[derive(Clone)]
struct Ring {
    sandbox: Arc<Sandbox>,
    program: Program,
    cells: Arc<[Cell]>,
}

impl Ring {
    fn side(&self, tokens: usize, hops: usize) -> Side {
        Side::new(self.clone(), move |ring| async move { ring.run(tokens, hops).await }).weight(tokens * hops)
    }

    /// Sends tokens off, and waits until all have come to their end.
    async fn run(&self, tokens: usize, hops: usize) -> Result<()> {
        let sink = self.sandbox.cell(&self.program, node::Spec { mailbox: MAILBOX, ..node::small() })?;
        let (first, cells) = (self.cells[0].id().get(), self.cells.len() as u64);
        let numbers = [hops as u64, first, cells, sink.id().get(), tokens as u64];
        let token: Bytes = command(b't', &numbers);
        for cell in self.cells.iter().take(tokens) {
            cell.send(cell.envelope(None), token.clone()).await?;
        }
        let reason = sink.exit().wait().await;
        anyhow::ensure!(reason == ww::exit::Reason::Normal, "the sink: {reason}");
        Ok(())
    }
}

/// A token of the floor: hops that are left, and who waits.
type Token = (usize, mpsc::Sender<()>);

/// Tasks in a ring.
#[derive(Clone)]
struct Bare(Arc<[mpsc::Sender<Token>]>);

impl Bare {
    async fn start(program: &floor::Program, tasks: usize) -> Result<Self> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..tasks).map(|_| mpsc::channel::<Token>(MAILBOX)).unzip();
        for (place, mut receiver) in receivers.into_iter().enumerate() {
            let next = senders[(place + 1) % tasks].downgrade();
            let mut instance = Handling::start(program).await?;
            drop(task::spawn(&runtime::Handle::current(), task::Kind::detached("ring", "floor"), async move {
                while let Some((hops, done)) = receiver.recv().await {
                    let (Ok(_), Some(next)) = (instance.answer(MESSAGE).await, next.upgrade()) else { return };
                    let sent = match hops {
                        0 => done.send(()).await.is_ok(),
                        hops => next.send((hops - 1, done)).await.is_ok(),
                    };
                    if !sent {
                        return;
                    }
                }
            }));
        }
        Ok(Self(senders.into()))
    }

    fn side(&self, tokens: usize, hops: usize) -> Side {
        Side::new(self.clone(), move |ring| async move { ring.run(tokens, hops).await }).weight(tokens * hops)
    }

    async fn run(&self, tokens: usize, hops: usize) -> Result<()> {
        let (done, mut ended) = mpsc::channel(MAILBOX);
        for sender in self.0.iter().take(tokens) {
            sender.send((hops, done.clone())).await.ok().context("the ring is broken")?;
        }
        for _ in 0..tokens {
            ended.recv().await.context("the ring is broken")?;
        }
        Ok(())
    }
}
