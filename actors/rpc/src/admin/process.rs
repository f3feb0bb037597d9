//! A `Process` of any cell, for whoever may see all of them. Dropping it ends nothing.
//!
//! The standard streams belong to whoever started the cell: here they are an error.

use std::rc::Rc;

use bytes::Bytes;
use capnp::Error;
use ww_cell::Cell;
use ww_core::exit::Reason;
use ww_schema::peer_capnp::process;

use super::status;
use crate::{
    context::Context,
    exchange::{self, deadline},
};

struct Server {
    context: Context,
    cell: Cell,
}

/// A `Process` of a cell that belongs to somebody else.
pub(crate) fn client(context: Context, cell: Cell) -> process::Client {
    capnp_rpc::new_client(Server { context, cell })
}

fn not_yours() -> Error {
    Error::failed(
        "the standard streams of a cell belong to whoever started it: for its standard error use Admin.logs".into(),
    )
}

impl process::Server for Server {
    async fn stdin(self: Rc<Self>, _: process::StdinParams, _: process::StdinResults) -> Result<(), Error> {
        Err(not_yours())
    }

    async fn stdout(self: Rc<Self>, _: process::StdoutParams, _: process::StdoutResults) -> Result<(), Error> {
        Err(not_yours())
    }

    async fn stderr(self: Rc<Self>, _: process::StderrParams, _: process::StderrResults) -> Result<(), Error> {
        Err(not_yours())
    }

    async fn wait(self: Rc<Self>, _: process::WaitParams, mut results: process::WaitResults) -> Result<(), Error> {
        results.get().set_exit_code(self.cell.exit().wait().await.code().into());
        Ok(())
    }

    async fn send(self: Rc<Self>, params: process::SendParams, mut results: process::SendResults) -> Result<(), Error> {
        let (body, envelope) = {
            let params = params.get()?;
            (Bytes::copy_from_slice(params.get_message()?), self.cell.envelope(deadline(params.get_deadline())))
        };
        drop(params);
        let reply = self.cell.ask(envelope, body).await.map_err(|error| Error::failed(error.to_string()))?;
        results.get().set_reply(&reply);
        Ok(())
    }

    async fn open(self: Rc<Self>, params: process::OpenParams, mut results: process::OpenResults) -> Result<(), Error> {
        let exchange = exchange::open(&self.context, &self.cell, deadline(params.get()?.get_deadline()))?;
        results.get().set_exchange(exchange);
        Ok(())
    }

    async fn kill(self: Rc<Self>, _: process::KillParams, _: process::KillResults) -> Result<(), Error> {
        self.cell.stop(Reason::Killed);
        self.cell.exit().wait().await;
        Ok(())
    }

    async fn status(
        self: Rc<Self>,
        _: process::StatusParams,
        mut results: process::StatusResults,
    ) -> Result<(), Error> {
        status::set(results.get().init_status(), self.context.executor.directory(), &self.cell);
        Ok(())
    }
}
