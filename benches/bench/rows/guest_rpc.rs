//! A guest calls `Executor.echo` of its node, one call after the other, over `wetware:streams`.
//!
//! The floor is a call of capnp-rpc with a text as long between two threads, over a duplex in memory.

use anyhow::{Context as _, Result};
use ww::{
    Grants, Owner,
    cell::{pipe, pipe::CAPACITY},
    executor::Spec,
    terminal,
};

use super::Row;
use crate::{
    floor::capnp::{self, Echo},
    harness::{Plan, Record, Side, Target, compare, local::Local, threads},
    node::{guest, node},
};

pub(crate) const ROW: Row = Row { name: "guest-rpc", about: "a guest calls its node", run };

const GUEST: &str = "caller";

/// Calls that one line of input stands for.
const TIMES: usize = 500;

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let times = plan.pick(TIMES, 5);
        let (node, _) = node(|_| {}).await?;
        let spec = Spec { args: vec!["echoes".to_owned()], grants: Grants::all(), ..Spec::new(guest(GUEST)?) };
        let (stdio, ends) = terminal::pipes();
        let process = node.executor().run_with(Owner::Node, spec, stdio).await?;
        let guest = std::sync::Arc::new((ends.stdin, ends.stdout));
        let value = Side::new(guest.clone(), move |guest| async move { order(&guest, times).await });

        let (near, far) = tokio::io::duplex(CAPACITY);
        let [client, server] = [Local::start()?, Local::start()?];
        let serve = || async {
            let (reader, writer) = tokio::io::split(far);
            capnp::serve(Echo(None), reader, writer);
            Ok(())
        };
        server.run(serve).await?;
        let make = || async {
            let (reader, writer) = tokio::io::split(near);
            let object = capnp::connect(reader, writer);
            Ok(move || {
                let object = object.clone();
                async move { capnp::send(&object, b"hello").await }
            })
        };
        let floor = client.side(make).await?;
        let both = compare(plan, &value.weight(times), &floor).await?;
        guest.0.close();
        let code = process.exit().wait().await.code();
        anyhow::ensure!(code == 0, "the guest ended with {code}");
        node.stop().await;
        Ok(vec![Record::time("guest-rpc", &both).target(Target::Ratio(2.0))])
    })
}

/// Lets the guest make so many calls.
async fn order((stdin, stdout): &(pipe::Writer, pipe::Reader), times: usize) -> Result<()> {
    stdin.write_all(format!("{times}\n").as_bytes()).await.context("the guest has ended")?;
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        let bytes = stdout.read(CAPACITY).await?;
        anyhow::ensure!(!bytes.is_empty(), "the guest has ended");
        said.extend_from_slice(&bytes);
    }
    Ok(())
}
