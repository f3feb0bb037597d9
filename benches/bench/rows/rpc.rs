//! A program outside calls the node: it sends a message to a cell, over the control socket and as a peer on
//! `/ww/0.1.0/rpc`, and runs known bytes.
//!
//! The floor is a bare capnp-rpc server with the same interface at the other end of the same transport: a Unix socket, or a
//! stream between the same two swarms. For `runBytes` it takes the same bytes, hashes them, runs a bare instance, and echoes
//! the bytes.

use std::{
    future::Future,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream},
    runtime::Handle,
};
use ww::{
    Grants, Node, Owner, PeerId, Serving,
    cell::{Mode, SMALL_MEMORY},
    config::peers::PeerGrants,
    control::{Address, Control},
    executor::Spec,
    grants::AdminMethod,
};
use ww_core::{Limits, Name, Platform, task};
use ww_net::{Identity, Protocol};
use ww_rpc::{DEFAULT_PEER_MESSAGE, client};
use ww_schema::peer_capnp::process;

use super::{IN_FLIGHT, Row, message};
use crate::{
    floor::{
        self,
        capnp::{self, Echo},
    },
    harness::{Plan, Record, Side, Target, compare, local::Local, threads},
    node::{Peer, TRANSPORTS, guest, node},
};

pub(crate) const ROW: Row = Row { name: "rpc", about: "a client and a peer hold capabilities of the node", run };

/// Answers messages.
const CELL: &str = "mite";

/// Ends at once, with these arguments.
const PROGRAM: &str = "exits";
const ARGS: [&str; 1] = ["args"];

/// The two directions of a connection.
type Ends = (Box<dyn AsyncRead + Unpin>, Box<dyn AsyncWrite + Unpin>);

/// Opens a connection, on the thread that is to use it.
type Open = Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<Ends>> + Send>;

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let directory = tempfile::tempdir()?;
        let [ours, bare] = ["ours", "bare"].map(|name| directory.path().join(name));
        let keys = TRANSPORTS.map(|_| Identity::ephemeral());
        let (node, settings) = node(|config| {
            config.control = Control::At(Address::Unix(ours.clone()));
            config.peers = keys.iter().map(|key| granted(key.peer_id())).collect();
        })
        .await?;
        let limits = Limits { memory: SMALL_MEMORY, ..Limits::default() };
        let spec = Spec { limits: Some(limits), ..Spec::new(guest(CELL)?) };
        let cell = node.executor().spawn(Owner::Node, spec, Serving::new(Mode::Async)).await?;
        let id = cell.id().get();
        // The engine of the standard class is made last.
        let wasm = guest(PROGRAM)?;
        node.executor().load(Owner::Node, wasm.clone(), &Limits::default()).await?;
        let program = floor::Program::new(&settings.engine()?, &wasm)?;

        let [client, server] = [Local::start()?, Local::start()?];
        listen(&server, bare.clone(), program).await?;
        let mut records = sends(plan, "unix", &client, id, unix(&ours), unix(&bare)).await?;
        if plan.wants(RUN_BYTES) {
            records.push(run_bytes(plan, &client, wasm, unix(&ours), unix(&bare)).await?);
        }

        let platform = Platform::start(Handle::current())?;
        let echo = accept(&server, &node).await?;
        for ((transport, marker), key) in TRANSPORTS.into_iter().zip(keys) {
            let peer = Peer::connect(&platform, key, &node, marker).await?;
            let [ours, bare] = [Protocol::Rpc, echo.clone()].map(|protocol| stream(&peer, protocol));
            records.extend(sends(plan, transport, &client, id, ours, bare).await?);
            peer.stop().await;
        }

        drop(cell);
        node.stop().await;
        platform.stop();
        Ok(records)
    })
}

const RUN_BYTES: &str = "rpc/unix/run-bytes";

/// A peer that may do with any cell what a client of the control socket may.
fn granted(id: PeerId) -> PeerGrants {
    let admin = [AdminMethod::Process].into();
    let (grants, limits) = (Grants::none(), Limits::default());
    PeerGrants { id, grants, admin, limits, max_message: DEFAULT_PEER_MESSAGE }
}

/// Serves bare objects behind a Unix socket: the first connection is for messages, the second for programs.
async fn listen(server: &Local, path: PathBuf, program: floor::Program) -> Result<()> {
    let serve = move || async move {
        let listener = UnixListener::bind(path)?;
        drop(task::spawn_local(task::Kind::detached("listener", "floor"), async move {
            for echo in [Echo(None), Echo(Some((program, ARGS.to_vec())))] {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (reader, writer) = stream.into_split();
                capnp::serve(echo, reader, writer);
            }
        }));
        Ok(())
    };
    server.run(serve).await
}

/// Serves bare objects on streams that peers open.
async fn accept(server: &Local, node: &Node) -> Result<Protocol> {
    let protocol = Protocol::from(Name::new("bare")?);
    let mut incoming = node.net().accept(protocol.clone())?;
    let serve = move || async move {
        drop(task::spawn_local(task::Kind::detached("acceptor", "floor"), async move {
            while let Some(incoming) = incoming.next().await {
                let (reader, writer) = incoming.stream.into_split();
                capnp::serve(Echo(None), reader, writer);
            }
        }));
        Ok(())
    };
    server.run(serve).await?;
    Ok(protocol)
}

fn unix(path: &Path) -> Open {
    let path = path.to_owned();
    open(move || async move { Ok(UnixStream::connect(path).await?.into_split()) })
}

fn stream(peer: &Peer, protocol: Protocol) -> Open {
    let peer = peer.clone();
    open(move || async move { Ok(peer.open(protocol).await?.into_split()) })
}

fn open<F, R, W>(open: impl FnOnce() -> F + Send + 'static) -> Open
where
    F: Future<Output = Result<(R, W)>> + 'static,
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    Box::new(move || {
        let opening = open();
        Box::pin(async move {
            let (reader, writer) = opening.await?;
            let ends: Ends = (Box::new(reader), Box::new(writer));
            Ok(ends)
        })
    })
}

/// The floor: a bare object is sent these bytes.
async fn echoed(client: &Local, bare: Open, bytes: impl AsRef<[u8]> + Clone + Send + 'static) -> Result<Side> {
    let make = move || async move {
        let (reader, writer) = bare().await?;
        let object = capnp::connect(reader, writer);
        Ok(move || {
            let (object, bytes) = (object.clone(), bytes.clone());
            async move { capnp::send(&object, bytes.as_ref()).await }
        })
    };
    client.side(make).await
}

/// Messages to a cell and to a bare object, one at a time and many.
async fn sends(plan: &Plan, transport: &str, client: &Local, cell: u64, ours: Open, bare: Open) -> Result<Vec<Record>> {
    let message = message(16);
    let floor = echoed(client, bare, message).await?;
    let make = move || async move {
        let (reader, writer) = ours().await?;
        let (connection, node) = client::connect(reader, writer);
        let mut request = node.admin.process_request();
        request.get().set_cell(cell);
        let object: process::Client = request.send().promise.await?.get()?.get_process()?;
        let connection = Rc::new(connection);
        Ok(move || {
            let (object, connection) = (object.clone(), Rc::clone(&connection));
            async move {
                let sent = capnp::send(&object, message).await;
                drop(connection);
                sent
            }
        })
    };
    let value = client.side(make).await?;
    let mut records = Vec::new();
    for (in_flight, target) in IN_FLIGHT.into_iter().zip([1.6, 1.5]) {
        let name = format!("rpc/{transport}/send/{in_flight}");
        if !plan.wants(&name) {
            continue;
        }
        let both = compare(plan, &value.in_flight(in_flight), &floor.in_flight(in_flight)).await?;
        let record = if in_flight == 1 { Record::time(name, &both) } else { Record::rate(name, &both) };
        records.push(record.target(Target::Ratio(target)));
    }
    Ok(records)
}

/// A program that is sent as bytes, and runs.
async fn run_bytes(plan: &Plan, client: &Local, wasm: Bytes, ours: Open, bare: Open) -> Result<Record> {
    let floor = echoed(client, bare, wasm.clone()).await?;
    let make = move || async move {
        let (reader, writer) = ours().await?;
        let (connection, node) = client::connect(reader, writer);
        let executor = node.host.executor_request().send().promise.await?.get()?.get_executor()?;
        let connection = Rc::new(connection);
        Ok(move || {
            let (executor, bytes, connection) = (executor.clone(), wasm.clone(), Rc::clone(&connection));
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
    let value = client.side(make).await.context("the node")?;
    let both = compare(plan, &value, &floor).await?;
    Ok(Record::time(RUN_BYTES, &both).target(Target::Ratio(1.3)))
}
