//! The other end of a control socket: how a program of the host becomes a client of a node.
//!
//! Everything here lives on the thread that it was made on, within a `LocalSet` or an arbiter.

use std::{future::Future, rc::Rc};

use capnp::{Error, capability::FromClientHook, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty};
use futures::io::BufReader;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use ww_core::task::{self, Task};
use ww_schema::{
    admin_capnp::admin,
    peer_capnp::{byte_stream, host},
};

use crate::{
    load::Bounds,
    vat::{Delayed, Vat},
};

/// Levels of pointers in one answer: as deep as a tree of cells is shown.
const MAX_NESTING: i32 = 64;

/// Pieces of a stream that wait to be read; the sender waits for the rest.
const MAX_PIECES: usize = 4;

/// A connection to a node. It ends when this is dropped, and with it everything that was started over it.
#[derive(Debug)]
pub struct Connection(Task<Result<(), Error>>);

/// What a node gives its clients: its `Local`, by the two interfaces that it has.
#[derive(Clone)]
pub struct Local {
    /// The node, as a cell sees it.
    pub host: host::Client,
    /// All its cells.
    pub admin: admin::Client,
}

/// Receives a stream that a node writes.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<Vec<u8>>);

/// The writing end of an [`Incoming`].
struct Sink(std::cell::RefCell<Option<mpsc::Sender<Vec<u8>>>>);

/// Becomes a client of the node at the other end of a stream.
pub fn connect(
    reader: impl AsyncRead + Unpin + 'static,
    writer: impl AsyncWrite + Unpin + 'static,
) -> (Connection, Local) {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(Bounds::OWN.message_words)).nesting_limit(MAX_NESTING);
    let (reader, writer) = (BufReader::new(reader.compat()), Delayed::new(writer.compat_write(), Rc::default()));
    let network = twoparty::VatNetwork::new(reader, writer.clone(), Side::Client, options);
    let mut vat = Vat::new(RpcSystem::new(Box::new(network), None), writer);
    let host: host::Client = vat.bootstrap(Side::Server);
    let local = Local { admin: host.clone().cast_to(), host };
    (Connection(task::spawn_local(task::Kind::owned("client", "a node"), vat)), local)
}

impl Connection {
    /// Waits for the end of the connection.
    ///
    /// # Errors
    ///
    /// Where it did not end in order.
    pub async fn ended(&mut self) -> Result<(), Error> {
        (&mut self.0).await.unwrap_or_else(|error| Err(Error::failed(error.to_string())))
    }
}

/// A `ByteStream` to be handed to a node, and what it writes there.
pub fn sink() -> (byte_stream::Client, Incoming) {
    let (tx, rx) = mpsc::channel(MAX_PIECES);
    (capnp_rpc::new_client(Sink(Some(tx).into())), Incoming(rx))
}

impl Incoming {
    /// The next bytes; `None` once the stream was closed, or the node is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.0.recv().await
    }
}

impl Sink {
    fn take(&self, bytes: capnp::Result<&[u8]>) -> impl Future<Output = Result<(), Error>> + use<> {
        let (bytes, to) = (bytes.map(<[u8]>::to_vec), self.0.borrow().clone());
        async move {
            let closed = || Error::failed("the stream is closed".into());
            to.ok_or_else(closed)?.send(bytes?).await.map_err(|_| closed())
        }
    }
}

impl byte_stream::Server for Sink {
    fn push(self: Rc<Self>, params: byte_stream::PushParams) -> impl Future<Output = Result<(), Error>> + 'static {
        self.take(params.get().and_then(|params| params.get_data()))
    }

    fn write(
        self: Rc<Self>,
        params: byte_stream::WriteParams,
        _: byte_stream::WriteResults,
    ) -> impl Future<Output = Result<(), Error>> + 'static {
        self.take(params.get().and_then(|params| params.get_data()))
    }

    async fn close(self: Rc<Self>, _: byte_stream::CloseParams, _: byte_stream::CloseResults) -> Result<(), Error> {
        self.0.take();
        Ok(())
    }
}
