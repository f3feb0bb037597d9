//! A live cell is started under a supervisor, monitored by another cell, waited for until it can take a message, and killed
//! until its reason is known.
//!
//! The floor is a bare instance that is made and dropped, and an actix actor on another thread that is started, asked
//! and stopped: the owner that every runtime must have.

use actix::{Actor as _, ActorContext as _, ArbiterHandle, Context, Handler, Message};
use anyhow::{Context as _, Result, bail};
use ww::{
    Owner,
    cell::{Class, Directory},
    executor::{Child, ChildStatus, Supervision, SupervisorHandle},
    exit::Reason,
};
use ww_core::{CellId, supervisor::Restart};

use super::Row;
use crate::{
    floor::{Handling, Program},
    harness::{Plan, Record, Side, Target, compare, threads},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row =
    Row { name: "spawn-cell", about: "a supervised and monitored cell is started and killed", run };

const GUEST: &str = "mite";

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let sandbox = Sandbox::start()?;
        let (platform, executor) = sandbox.executor()?;
        let program = sandbox.load(GUEST, Class::Small).await?;
        let watcher = sandbox.cell(&program, node::small())?;
        watcher.serving().await.map_err(|reason| anyhow::anyhow!("{reason}"))?;
        let template = node::child(program)?.restart(Restart::Temporary);
        let supervisor = executor.supervisor(Owner::Node, Supervision::simple_one_for_one(template)).await?;

        let bare = sandbox.bare(GUEST)?;
        let arbiter = platform.arbiter()?;
        let floor = Side::new((bare, arbiter), |(bare, arbiter)| async move { spawn_bare(&bare, &arbiter).await });
        let watcher = watcher.id();
        let with = (supervisor.clone(), executor.directory().clone());
        let value =
            Side::new(
                with,
                move |(supervisor, directory)| async move { spawn(&supervisor, &directory, watcher).await },
            );
        let one = compare(plan, &value, &floor).await?;
        let many = compare(plan, &value.in_flight(8), &floor.in_flight(8)).await?;
        supervisor.stop().await;
        executor.stop().await;
        platform.stop();
        Ok(vec![
            Record::time("spawn-cell", &one).target(Target::Ratio(2.0)),
            Record::rate("spawn-cell/8-at-once", &many).target(Target::None),
        ])
    })
}

async fn spawn(supervisor: &SupervisorHandle, directory: &Directory, watcher: CellId) -> Result<()> {
    let started = supervisor.start_instance(None).await?;
    let ChildStatus::Running(Child::Cell(process)) = started.status else { bail!("it does not run") };
    directory.monitor(watcher, process.id())?;
    process.cell().serving().await.map_err(|reason| anyhow::anyhow!("it ended: {reason}"))?;
    process.cell().stop(Reason::Killed);
    let reason = process.exit().wait().await;
    anyhow::ensure!(reason == Reason::Killed, "{reason}");
    Ok(())
}

/// The least that owns something.
struct BareOwner;

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl actix::Actor for BareOwner {
    type Context = Context<Self>;
}

impl Handler<Stop> for BareOwner {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        context.stop();
    }
}

async fn spawn_bare(program: &Program, arbiter: &ArbiterHandle) -> Result<()> {
    let owner = BareOwner::start_in_arbiter(arbiter, |_| BareOwner);
    let instance = Handling::start(program).await?;
    drop(instance);
    owner.send(Stop).await.context("the bare actor")
}
