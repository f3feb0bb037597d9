//! The server of `Process`: one incarnation of a cell.

use std::{rc::Rc, sync::Arc, time::Duration};

use capnp::Error;
use tokio::sync::Mutex;
use ww_cell::{Cell, Directory, Failure, pipe, tail};
use ww_core::{CellId, exit, limits::DEFAULT_DEADLINE, links::Exit};
use ww_executor::{Process, Streams};
use ww_schema::peer_capnp::process;

use crate::{
    admin::status,
    byte_stream::{self, End, Writing},
    context::Context,
    exchange, exit_reason,
    remote::{Proxy, ties},
    shelf, watching,
};

/// The process ends when the last capability that leads to it is dropped, this one or one of its streams, unless it is
/// detached or has a supervisor.
pub(crate) struct Server {
    process: Rc<Process>,
    exit: exit::Watch,
    streams: Standard,
    context: Context,
}

/// The standard streams of a cell.
enum Standard {
    /// Of one whose `main` runs once.
    Own(Ends),
    /// Each message of one that serves has its own.
    OfMessages,
    /// They belong to somebody else.
    OfOwner,
}

/// The other end of a link.
enum Other {
    Here(CellId),
    There(Rc<Proxy>),
}

struct Ends {
    stdin: Writing,
    stdout: Arc<Mutex<pipe::Reader>>,
    stderr: Errors,
}

/// Where a cell's standard error is read.
enum Errors {
    Tail(Arc<Mutex<tail::Reader>>),
    Held(Arc<Mutex<pipe::Reader>>),
}

/// A `Process` of a cell whose `main` runs once.
pub(crate) fn client((mut process, streams): (Process, Streams), context: &Context) -> process::Client {
    let stdin = Writing::new(streams.stdin);
    let stdout = Arc::new(Mutex::new(streams.stdout));
    let held = streams.held.map(|held| Arc::new(Mutex::new(held)));
    process.keep((Arc::clone(&stdin.writer), Arc::clone(&stdout), held.clone()));
    let stderr = held.map_or_else(|| Errors::Tail(Arc::new(Mutex::new(streams.stderr))), Errors::Held);
    new(process, Standard::Own(Ends { stdin, stdout, stderr }), context)
}

/// A `Process` of a cell that serves messages.
pub(crate) fn serving(process: Process, context: &Context) -> process::Client {
    new(process, Standard::OfMessages, context)
}

/// A `Process` that does not keep its cell alive.
pub(crate) fn observer(process: &Process, context: &Context) -> process::Client {
    new(process.observer(), Standard::OfMessages, context)
}

/// A `Process` of any cell, for whoever may see all of them: it does not keep the cell alive.
pub(crate) fn of_any(cell: Cell, context: &Context) -> process::Client {
    new(Process::of(cell), Standard::OfOwner, context)
}

fn new(process: Process, streams: Standard, context: &Context) -> process::Client {
    let exit = process.exit().clone();
    shelf::new_process(Server { process: Rc::new(process), exit, streams, context: context.clone() })
}

/// Ordinals of methods.
const LINK: u16 = 9;
const UNLINK: u16 = 10;

impl Server {
    /// Identifies the cell.
    pub(crate) fn id(&self) -> CellId {
        self.process.id()
    }

    fn streams(&self) -> Result<&Ends, Error> {
        let why = match &self.streams {
            Standard::Own(ends) => return Ok(ends),
            Standard::OfMessages => {
                "the cell serves messages: each has its own input and output, and its errors go to the log"
            }
            Standard::OfOwner => {
                "the standard streams of a cell belong to whoever started it: for its standard error use Admin.logs"
            }
        };
        Err(Error::failed(why.into()))
    }

    fn directory(&self) -> &Directory {
        self.context.executor.directory()
    }

    pub(crate) fn cell(&self) -> &Cell {
        self.process.cell()
    }

    /// The other end of a link: a cell of this node, or a process of another one, itself or behind membranes that leave it
    /// this method.
    async fn other(other: process::Client, method: u16) -> Result<Other, Error> {
        if let Some(own) = shelf::process_of(other.clone(), method).await {
            return Ok(Other::Here(own.process.id()));
        }
        shelf::remote_process_of(other, method).await.map(Other::There).ok_or_else(ties::not_linkable)
    }
}

impl process::Server for Server {
    async fn stdin(self: Rc<Self>, _: process::StdinParams, mut results: process::StdinResults) -> Result<(), Error> {
        let end = End::Writer(self.streams()?.stdin.clone());
        results.get().set_stream(byte_stream::client(end, self.process.clone()));
        Ok(())
    }

    async fn stdout(
        self: Rc<Self>,
        _: process::StdoutParams,
        mut results: process::StdoutResults,
    ) -> Result<(), Error> {
        let end = End::Reader(Arc::clone(&self.streams()?.stdout));
        results.get().set_stream(byte_stream::client(end, self.process.clone()));
        Ok(())
    }

    async fn stderr(
        self: Rc<Self>,
        _: process::StderrParams,
        mut results: process::StderrResults,
    ) -> Result<(), Error> {
        let end = match &self.streams()?.stderr {
            Errors::Tail(tail) => End::Tail(Arc::clone(tail)),
            Errors::Held(held) => End::Reader(Arc::clone(held)),
        };
        results.get().set_stream(byte_stream::client(end, self.process.clone()));
        Ok(())
    }

    async fn wait(self: Rc<Self>, _: process::WaitParams, mut results: process::WaitResults) -> Result<(), Error> {
        let reason = self.exit.wait().await;
        results.get().set_exit_code(reason.code().into());
        Ok(())
    }

    async fn send(self: Rc<Self>, params: process::SendParams, mut results: process::SendResults) -> Result<(), Error> {
        let (message, timeout) = {
            let params = params.get()?;
            let timeout = match params.get_deadline() {
                0 => DEFAULT_DEADLINE,
                milliseconds => Duration::from_millis(milliseconds.into()),
            };
            (params.get_message()?.to_vec(), timeout)
        };
        drop(params);
        let cell = self.process.cell();
        let failed = |failure: Failure| Error::failed(failure.to_string());
        let envelope = self.context.envelope(cell, Some(timeout)).map_err(failed)?;
        let reply = cell.ask(envelope, message).await.map_err(failed)?;
        results.get().set_reply(&reply);
        Ok(())
    }

    async fn open(self: Rc<Self>, params: process::OpenParams, mut results: process::OpenResults) -> Result<(), Error> {
        let deadline = exchange::deadline(params.get()?.get_deadline());
        results.get().set_exchange(exchange::open(&self.context, self.process.cell(), deadline)?);
        Ok(())
    }

    async fn kill(self: Rc<Self>, _: process::KillParams, _: process::KillResults) -> Result<(), Error> {
        self.process.kill().await;
        Ok(())
    }

    async fn status(
        self: Rc<Self>,
        _: process::StatusParams,
        mut results: process::StatusResults,
    ) -> Result<(), Error> {
        status::set(results.get().init_status(), self.directory(), self.process.cell());
        Ok(())
    }

    async fn monitor(
        self: Rc<Self>,
        params: process::MonitorParams,
        mut results: process::MonitorResults,
    ) -> Result<(), Error> {
        let observer = params.get()?.get_observer()?;
        results.get().set_monitor(watching::monitor(&self.process, observer, &self.context)?);
        Ok(())
    }

    async fn link(self: Rc<Self>, params: process::LinkParams, _: process::LinkResults) -> Result<(), Error> {
        match Self::other(params.get()?.get_other()?, LINK).await? {
            Other::Here(other) => {
                let linked = self.directory().link(self.process.id(), other);
                linked.map_err(|refused| Error::failed(refused.to_string()))
            }
            Other::There(other) => self.context.ties.tie(self.directory(), self.cell(), &other).await,
        }
    }

    async fn unlink(self: Rc<Self>, params: process::UnlinkParams, _: process::UnlinkResults) -> Result<(), Error> {
        match Self::other(params.get()?.get_other()?, UNLINK).await? {
            Other::Here(other) => {
                self.directory().unlink(self.process.id(), other);
                Ok(())
            }
            Other::There(other) => self.context.ties.untie(self.cell(), &other).await,
        }
    }

    async fn exit(self: Rc<Self>, params: process::ExitParams, _: process::ExitResults) -> Result<(), Error> {
        let reason = exit_reason::get(params.get()?.get_reason()?)?;
        let from = self.context.guest.id;
        if self.directory().exit(from, self.process.id(), Exit::With(reason)) {
            return Ok(());
        }
        Err(Error::overloaded("too many signals wait for the cell already".into()))
    }

    async fn lease(
        self: Rc<Self>,
        params: process::LeaseParams,
        mut results: process::LeaseResults,
    ) -> Result<(), Error> {
        let signal = params.get()?.get_signal();
        results.get().set_lease(watching::lease(Rc::clone(&self.process), signal, &self.context));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
