//! A program outside calls the node over its control socket: it sends a message to a cell, and runs known bytes.
//!
//! The floor is a bare capnp-rpc server behind a Unix socket, with the same interface. For `runBytes` it takes the same
//! bytes, hashes them, runs a bare instance, and echoes the bytes.

use anyhow::{Context as _, Result};
use tokio::net::{UnixListener, UnixStream};
use ww::{
    Owner, Serving,
    cell::{Mode, SMALL_MEMORY},
    control::{Address, Control},
    executor::Spec,
};
use ww_core::{Limits, task};
use ww_rpc::client;
use ww_schema::peer_capnp::process;

use super::{IN_FLIGHT, Row, message};
use crate::{
    floor::{
        self,
        capnp::{self, Echo},
    },
    harness::{Plan, Record, Target, compare, local::Local, threads},
    node::{guest, node},
};

pub(crate) const ROW: Row = Row { name: "rpc", about: "a client of the control socket", run };

/// Answers messages.
const CELL: &str = "mite";

/// Ends at once, with these arguments.
const PROGRAM: &str = "exits";
const ARGS: [&str; 1] = ["args"];

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let directory = tempfile::tempdir()?;
        let [ours, bare] = ["ours", "bare"].map(|name| directory.path().join(name));
        let control = Control::At(Address::Unix(ours.clone()));
        let (node, settings) = node(|config| config.control = control).await?;
        let limits = Limits { memory: SMALL_MEMORY, ..Limits::default() };
        let spec = Spec { limits: Some(limits), ..Spec::new(guest(CELL)?) };
        let cell = node.executor().spawn(Owner::Node, spec, Serving::new(Mode::Async)).await?;
        let id = cell.id().get();
        // The engine of the standard class is made last.
        let wasm = guest(PROGRAM)?;
        node.executor().load(wasm.clone(), &Limits::default()).await?;
        let program = floor::Program::new(&settings.engine()?, &wasm)?;

        let server = Local::start()?;
        let path = bare.clone();
        let serve = move || async move {
            let listener = UnixListener::bind(path)?;
            drop(task::spawn_local(task::Kind::detached("listener", "floor"), async move {
                // The first connection is for messages, the second for programs.
                let args = ARGS.to_vec();
                for echo in [Echo(None), Echo(Some((program, args)))] {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    let (reader, writer) = stream.into_split();
                    capnp::serve(echo, reader, writer);
                }
            }));
            Ok(())
        };
        server.run(serve).await?;

        let local = Local::start()?;
        let message = message(16);
        let path = bare.clone();
        let make = move || async move {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            let object = capnp::connect(reader, writer);
            capnp::send(&object, message).await?;
            Ok(move || {
                let object = object.clone();
                async move { capnp::send(&object, message).await }
            })
        };
        let floor = local.side(make).await?;
        let path = ours.clone();
        let make = move || async move {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            let (connection, node) = client::connect(reader, writer);
            let mut request = node.admin.process_request();
            request.get().set_cell(id);
            let object: process::Client = request.send().promise.await?.get()?.get_process()?;
            let connection = std::rc::Rc::new(connection);
            Ok(move || {
                let (object, connection) = (object.clone(), connection.clone());
                async move {
                    let sent = capnp::send(&object, message).await;
                    drop(connection);
                    sent
                }
            })
        };
        let value = local.side(make).await?;
        let mut records = Vec::new();
        for (in_flight, target) in IN_FLIGHT.into_iter().zip([2.0, 1.5]) {
            let both = compare(plan, &value.in_flight(in_flight), &floor.in_flight(in_flight)).await?;
            let name = format!("rpc/unix/send/{in_flight}");
            let record = if in_flight == 1 { Record::time(name, &both) } else { Record::rate(name, &both) };
            records.push(record.target(Target::Ratio(target)));
        }

        let (bytes, path) = (wasm.clone(), bare);
        let make = move || async move {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            let object = capnp::connect(reader, writer);
            Ok(move || {
                let (object, bytes) = (object.clone(), bytes.clone());
                async move { capnp::send(&object, &bytes).await }
            })
        };
        let floor = local.side(make).await?;
        let (bytes, path) = (wasm, ours);
        let make = move || async move {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            let (connection, node) = client::connect(reader, writer);
            let executor = node.host.executor_request().send().promise.await?.get()?.get_executor()?;
            let connection = std::rc::Rc::new(connection);
            Ok(move || {
                let (executor, bytes, connection) = (executor.clone(), bytes.clone(), connection.clone());
                async move {
                    let mut request = executor.run_bytes_request();
                    request.get().set_wasm(&bytes);
                    let mut args = request.get().init_args(ARGS.len() as u32);
                    (0..).zip(ARGS).for_each(|(place, arg)| args.set(place, arg));
                    // The call for the end goes out with the first one.
                    let process = request.send().pipeline.get_process();
                    let code = process.wait_request().send().promise.await?.get()?.get_exit_code();
                    anyhow::ensure!(code == 0, "it ended with {code}");
                    drop(connection);
                    Ok(())
                }
            })
        };
        let value = local.side(make).await.context("the node")?;
        let both = compare(plan, &value, &floor).await?;
        records.push(Record::time("rpc/unix/run-bytes", &both).target(Target::Ratio(1.5)));
        drop(cell);
        node.stop().await;
        Ok(records)
    })
}
