//! A tree of three levels, built by a program of your own: the same as `examples/images/tree` builds from inside.
//!
//! `make images`, then `cargo run --example supervision`.

use std::{io::Write, time::Duration};

use anyhow::{Context, bail};
use ww::{
    Config, Grants, Limits, Node,
    cell::{Mode, Slot},
    executor::{Child, ChildStatus, Owner, Serving, Spec, Supervision, SupervisorHandle, cell, supervisor},
};
use ww_core::{Name, grants::Reach, supervisor::ChildId};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    story(&mut std::io::stdout()).await
}

/// Builds the tree, lets its cells work and crash, and takes it down.
pub(crate) async fn story(out: &mut impl Write) -> anyhow::Result<()> {
    let mut config = Config::default();
    // On loopback, with a key of this run alone.
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
    config.identity = None;
    let node = Node::start(config, tokio::runtime::Handle::current()).await?;
    let image = node.load("examples/images/tree").await?;
    let root = node.executor().supervisor(Owner::Node, tree(&image.wasm)?).await?;

    let pipeline = below(&root, "pipeline").await?;
    writeln!(out, "the pipeline answers {}", ask(&slot(&pipeline, "parser").await?, "  hello   world ").await?)?;
    writeln!(out, "the store counts {}", ask(&slot(&root, "store").await?, "count").await?)?;

    let pool = below(&root, "pool").await?;
    let worker = pool.start_instance(None).await?;
    let worker = worker.slot.and_then(|slot| node.directory().slot(slot)).context("the worker has a slot")?;
    writeln!(out, "a worker is told to crash: {}", ask(&worker, "crash").await.is_err())?;
    // The slot stays: the message waits for the next incarnation.
    writeln!(out, "it was started again: {}", ask(&worker, "work").await?)?;
    writeln!(out, "it is told to crash again: {}", ask(&worker, "crash").await.is_err())?;
    writeln!(out, "the pool gave up: {}", pool.exit().wait().await)?;

    // Refused, because it runs, when the pool has been started again.
    writeln!(out, "root started everything again: {}", root.restart_child(ChildId::new("pool")?).await.is_err())?;
    writeln!(out, "the new store counts {}", ask(&slot(&root, "store").await?, "count").await?)?;
    writeln!(out, "root ended: {}", root.stop().await)?;
    node.stop().await;
    Ok(())
}

/// The whole tree.
fn tree(wasm: &bytes::Bytes) -> anyhow::Result<Supervision> {
    let live = || Serving::new(Mode::Async);
    let role = |role: &str, mail: Option<&str>| {
        let mail = match mail {
            Some(to) => Reach::Names([Name::new(to)?].into()),
            None => Reach::Nobody,
        };
        anyhow::Ok(Spec {
            name: role.to_owned(),
            args: vec![role.to_owned()],
            limits: Some(Limits { memory: 16 << 20, ..Limits::default() }),
            grants: Grants { mail, ..Grants::none() },
            ..Spec::new(wasm.clone())
        })
    };
    let named = |name: &str, mail: Option<&str>| {
        let spec = Spec { names: vec![Name::new(name)?], ..role(name, mail)? };
        anyhow::Ok(cell(name, spec, live())?)
    };
    let pipeline = Supervision::rest_for_one()
        .child(named("printer", Some("store"))?)
        .child(named("router", Some("printer"))?)
        .child(named("parser", Some("router"))?);
    let pool = Supervision::simple_one_for_one(cell("worker", role("worker", None)?, live())?)
        .intensity(1, Duration::from_secs(60));
    Ok(Supervision::one_for_all()
        .child(named("store", None)?)
        .child(supervisor("pipeline", pipeline)?)
        .child(supervisor("pool", pool)?))
}

async fn ask(slot: &Slot, message: &'static str) -> anyhow::Result<String> {
    let reply = slot.ask(slot.envelope(Some(PATIENCE)), message).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

async fn child(of: &SupervisorHandle, id: &str) -> anyhow::Result<Child> {
    let id = ChildId::new(id)?;
    let children = of.which_children().await?;
    match children.into_iter().find(|child| child.id.as_ref() == Some(&id)).context("no such child")?.status {
        ChildStatus::Running(child) => Ok(child),
        other => bail!("{id} is {other:?}"),
    }
}

async fn below(of: &SupervisorHandle, id: &str) -> anyhow::Result<SupervisorHandle> {
    match child(of, id).await? {
        Child::Supervisor(supervisor) => Ok(supervisor),
        Child::Cell(_) => bail!("{id} is a cell"),
    }
}

async fn slot(of: &SupervisorHandle, id: &str) -> anyhow::Result<Slot> {
    match child(of, id).await? {
        Child::Cell(process) => Ok(process.cell().slot().clone()),
        Child::Supervisor(_) => bail!("{id} is a supervisor"),
    }
}
