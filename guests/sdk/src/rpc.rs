//! The node's capabilities.
//!
//! ```no_run
//! use ww_guest::{capnp, rpc};
//!
//! ww_guest::cell! { main: run }
//!
//! fn run() -> Result<(), capnp::Error> {
//!     rpc::run(|host| async move {
//!         println!("{}", rpc::Executor::of(&host).echo("hello").await?);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! [`Executor`], [`Process`], [`Supervisor`], [`Registry`], [`Nodes`], [`Exchange`] and [`ByteStream`] wrap the calls that
//! nearly every cell makes;
//! each gives its generated client back for the others. All else is the generated code of
//! [`peer_capnp`](crate::peer_capnp) and its neighbours.

use std::{
    future::{Future, poll_fn},
    pin::pin,
};

use capnp::{capability::FromClientHook, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork};
use futures::{
    FutureExt,
    io::{AsyncRead, AsyncWrite, BufReader, BufWriter},
};
use ww_schema::peer_capnp::host;

pub use address::{Address, Peer};
pub use byte_stream::ByteStream;
pub use exchange::{Exchange, Outcome};
pub use executor::Executor;
pub use monitor::{Down, Monitor};
pub use narrow::{Narrowing, Revoker, narrow};
pub use nodes::Nodes;
pub use process::Process;
pub use registry::Registry;
pub use spec::{Cell, Child as ChildSpec, Program, Supervision};
pub use supervisor::{Child, State, Supervisor};

use crate::{bindings::streams::wetware::streams::streams::create_connection, executor::block_on, stream};

mod address;
mod byte_stream;
mod exchange;
mod executor;
mod monitor;
mod narrow;
mod nodes;
mod process;
mod registry;
mod spec;
mod supervisor;

/// Buffer of each direction of the connection, in bytes: a call costs a few host calls instead of one
/// for each part of its message.
const BUFFER: usize = 16 * 1024;

/// Connects to the node, runs `app` with the `Host` that the cell was granted, and disconnects.
///
/// What `app` queued is sent before this returns. Capabilities that outlive it are broken. `app` is
/// the only task: let it wait for several things with [`futures::join!`] or [`futures::select!`].
///
/// A component that calls this imports `wetware:streams`.
///
/// # Errors
///
/// Those of `app`. A connection that breaks fails the calls that `app` waits for.
///
/// # Panics
///
/// A cell has one connection: the node traps on the second call.
pub fn run<F, A, T, E>(app: F) -> Result<T, E>
where
    F: FnOnce(host::Client) -> A,
    A: Future<Output = Result<T, E>>,
{
    let connection = create_connection();
    let reader = stream::Reader::new(connection.get_input_stream());
    let writer = stream::Writer::new(connection.get_output_stream());
    block_on(converse(reader, writer, app))
}

/// A capability that the cell was handed under a name.
///
/// # Errors
///
/// Where nothing was handed over under that name.
pub async fn granted<C: FromClientHook>(host: &host::Client, name: &str) -> Result<C, capnp::Error> {
    let mut request = host.grant_request();
    request.get().set_name(name);
    request.send().promise.await?.get()?.get_cap().get_as_capability()
}

/// A whole conversation over a connection, from the bootstrap to the disconnection.
async fn converse<F, A, T, E>(
    reader: impl AsyncRead + Unpin + 'static,
    writer: impl AsyncWrite + Unpin + 'static,
    app: F,
) -> Result<T, E>
where
    F: FnOnce(host::Client) -> A,
    A: Future<Output = Result<T, E>>,
{
    let mut system = RpcSystem::new(
        Box::new(VatNetwork::new(
            BufReader::with_capacity(BUFFER, reader),
            BufWriter::with_capacity(BUFFER, writer),
            Side::Client,
            ReaderOptions::new(),
        )),
        None,
    );
    let app = app(system.bootstrap(Side::Server));
    let disconnector = system.get_disconnector();
    let mut system = system.fuse();
    let result = alongside(&mut system, app).await;
    // The connection goes whatever comes of it.
    let _ = alongside(&mut system, disconnector).await;
    result
}

/// Runs a future to its end, with the RPC system that it depends on.
///
/// The system is polled once more after the future: what the future queued leaves before anybody blocks.
async fn alongside<F: Future>(
    system: &mut (impl Future<Output = Result<(), capnp::Error>> + Unpin),
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // Its end is no news: the calls that wait for it fail, and say why.
        let _ = system.poll_unpin(cx);
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            let _ = system.poll_unpin(cx);
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests;
