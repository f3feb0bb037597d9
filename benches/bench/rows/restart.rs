//! A supervised cell traps; how long until its next incarnation has answered a message.
//!
//! The floor is a bare instance that is made and called once.

use anyhow::{Context as _, Result, bail};
use ww::{
    Owner,
    cell::{Class, Failure, Slot},
    executor::{Child, ChildStatus, Supervision},
};
use ww_core::supervisor::MAX_INTENSITY;

use super::{Row, same};
use crate::{
    floor::{Answer as _, Handling},
    harness::{Plan, Record, Side, Target, compare, record::Better, threads},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row = Row { name: "restart", about: "from a trap to the next answer", run };

const GUEST: &str = "relay";
const MESSAGE: &[u8] = &[b'.'; 16];

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let sandbox = Sandbox::start()?;
        let (platform, executor) = sandbox.executor()?;
        let child = node::child(sandbox.load(GUEST, Class::Small).await?)?;
        // More restarts than fit into the time.
        let period = std::time::Duration::from_secs(1);
        let supervision = Supervision::one_for_one().intensity(MAX_INTENSITY, period).child(child);
        let supervisor = executor.supervisor(Owner::Node, supervision).await?;
        let children = supervisor.which_children().await?;
        let child = children.into_iter().next().context("there is a child")?;
        let ChildStatus::Running(Child::Cell(process)) = child.status else { bail!("it does not run") };
        let slot = process.cell().slot().clone();

        let bare = sandbox.bare(GUEST)?;
        let floor =
            Side::new(bare, |bare| async move { same(&Handling::start(&bare).await?.answer(MESSAGE).await?, MESSAGE) });
        let value = Side::new(slot, |slot| async move { trap(&slot).await });
        let both = compare(plan, &value, &floor).await?;
        supervisor.stop().await;
        executor.stop().await;
        platform.stop();
        let [value, floor] = [&both.value, &both.floor].map(|side| side.latencies().median());
        let half = Record::new("restart/p50", "µs", Better::Lower, value, Some(floor));
        Ok(vec![Record::time("restart", &both).target(Target::None), half.target(Target::Value(100.0))])
    })
}

async fn trap(slot: &Slot) -> Result<()> {
    let trapped = slot.ask(slot.envelope(None), "x").await;
    anyhow::ensure!(matches!(trapped, Err(Failure::Ended(_))), "{trapped:?}");
    loop {
        match slot.ask(slot.envelope(None), MESSAGE).await {
            Ok(reply) => return same(&reply, MESSAGE),
            // It came to the one that was just ending.
            Err(Failure::Ended(_) | Failure::Refused(_)) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
}
