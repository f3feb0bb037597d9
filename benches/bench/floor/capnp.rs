//! A bare vat: one object, served without anything around it.

use std::rc::Rc;

use anyhow::Result;
use capnp::Error;
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty};
use futures::io::{BufReader, BufWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use ww::cell::Hash;
use ww_core::task;
use ww_schema::peer_capnp::process::{self, SendParams, SendResults};

use super::{Program, run_once};

/// Answers each message with itself. Where it has a program, it hashes the message and runs the program before.
pub(crate) struct Echo(pub(crate) Option<(Program, Vec<&'static str>)>);

impl process::Server for Echo {
    async fn send(self: Rc<Self>, params: SendParams, mut results: SendResults) -> Result<(), Error> {
        let message = params.get()?.get_message()?;
        if let Some((program, args)) = &self.0 {
            std::hint::black_box(Hash::of(message));
            run_once(program, args, b"").await.map_err(|error| Error::failed(error.to_string()))?;
        }
        results.get().set_reply(message);
        Ok(())
    }
}

/// Serves it on one end of a stream.
pub(crate) fn serve(echo: Echo, reader: impl AsyncRead + Unpin + 'static, writer: impl AsyncWrite + Unpin + 'static) {
    let object: process::Client = capnp_rpc::new_client(echo);
    drop(task::spawn_local(
        task::Kind::detached("vat", "floor"),
        RpcSystem::new(network(reader, writer, Side::Server), Some(object.client)),
    ));
}

/// The object at the other end of a stream.
pub(crate) fn connect(
    reader: impl AsyncRead + Unpin + 'static,
    writer: impl AsyncWrite + Unpin + 'static,
) -> process::Client {
    let mut system = RpcSystem::new(network(reader, writer, Side::Client), None);
    let object = system.bootstrap(Side::Server);
    drop(task::spawn_local(task::Kind::detached("client", "floor"), system));
    object
}

fn network(
    reader: impl AsyncRead + Unpin + 'static,
    writer: impl AsyncWrite + Unpin + 'static,
    side: Side,
) -> Box<dyn capnp_rpc::VatNetwork<twoparty::VatId>> {
    let (reader, writer) = (BufReader::new(reader.compat()), BufWriter::new(writer.compat_write()));
    Box::new(twoparty::VatNetwork::new(reader, writer, side, capnp::message::ReaderOptions::default()))
}

/// Sends a message, and compares the reply.
pub(crate) async fn send(object: &process::Client, message: &[u8]) -> Result<()> {
    let mut request = object.send_request();
    request.get().set_message(message);
    let response = request.send().promise.await?;
    anyhow::ensure!(response.get()?.get_reply()? == message, "another reply");
    Ok(())
}
