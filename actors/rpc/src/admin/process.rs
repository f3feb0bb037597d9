//! A `Process` of any cell, for whoever may see all of them. Dropping it ends nothing.
//!
//! The standard streams belong to whoever started the cell: here they are an error.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use capnp::Error;
use ww_cell::{Cell, Failure, pipe};
use ww_core::{exit::Reason, mailbox::Refused, task};
use ww_schema::peer_capnp::process;

use super::status;
use crate::{
    context::{Context, MAX_DIALS},
    exchange,
    network::{Dialled, Outcome},
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

fn deadline(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis.into()))
}

/// What became of a message.
fn outcome(answered: Result<(), Failure>) -> Outcome {
    match answered {
        Ok(()) => Outcome::Ok,
        Err(Failure::Guest(error)) => Outcome::Failed(error.to_string()),
        Err(Failure::Ended(reason) | Failure::Refused(Refused::Ended(reason))) => Outcome::Ended(reason),
        Err(Failure::Refused(Refused::Full | Refused::Dropped)) => Outcome::Refused("busy: its mailbox is full".into()),
        Err(error @ Failure::Timeout) => Outcome::Refused(format!("timeout: {error}")),
        Err(error) => Outcome::Refused(error.to_string()),
    }
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
        let Ok(place) = Arc::clone(&self.context.dials).try_acquire_owned() else {
            let why = format!("{MAX_DIALS} messages of this client are under way: wait for one of them, and drop it");
            return Err(Error::overloaded(why));
        };
        let (request, read_request) = pipe::pipe(pipe::CAPACITY);
        let (write_reply, reply) = pipe::pipe(pipe::CAPACITY);
        let (cell, envelope) = (self.cell.clone(), self.cell.envelope(deadline(params.get()?.get_deadline())));
        let kind = task::Kind::owned("message", format_args!("client {}", self.context.guest.id));
        let sent = async move { outcome(cell.process_message(envelope, read_request, write_reply).await) };
        let outcome = task::spawn_local(kind, sent);
        results.get().set_exchange(exchange::client(Dialled { request, reply, outcome }, place));
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
