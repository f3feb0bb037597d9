//! The server of `Process`: one incarnation of a cell.

use std::{rc::Rc, sync::Arc};

use capnp::Error;
use tokio::sync::Mutex;
use ww_cell::{pipe, tail};
use ww_core::exit;
use ww_executor::{Process, Streams};
use ww_schema::peer_capnp::process;

use crate::byte_stream::{self, End};

/// The process ends when the last capability that leads to it is dropped: this one, or one of its streams.
struct Server {
    process: Rc<Process>,
    exit: exit::Watch,
    stdin: Arc<Mutex<pipe::Writer>>,
    stdout: Arc<Mutex<pipe::Reader>>,
    stderr: Arc<Mutex<tail::Reader>>,
}

/// A `Process` that ends when the client and its streams are dropped.
pub(crate) fn client((mut process, streams): (Process, Streams)) -> process::Client {
    let stdin = Arc::new(Mutex::new(streams.stdin));
    let stdout = Arc::new(Mutex::new(streams.stdout));
    let stderr = Arc::new(Mutex::new(streams.stderr));
    process.keep((Arc::clone(&stdin), Arc::clone(&stdout)));
    capnp_rpc::new_client(Server { exit: process.exit().clone(), process: Rc::new(process), stdin, stdout, stderr })
}

impl process::Server for Server {
    async fn stdin(self: Rc<Self>, _: process::StdinParams, mut results: process::StdinResults) -> Result<(), Error> {
        let end = End::Writer(Arc::clone(&self.stdin));
        results.get().set_stream(byte_stream::client(end, self.process.clone()));
        Ok(())
    }

    async fn stdout(
        self: Rc<Self>,
        _: process::StdoutParams,
        mut results: process::StdoutResults,
    ) -> Result<(), Error> {
        let end = End::Reader(Arc::clone(&self.stdout));
        results.get().set_stream(byte_stream::client(end, self.process.clone()));
        Ok(())
    }

    async fn stderr(
        self: Rc<Self>,
        _: process::StderrParams,
        mut results: process::StderrResults,
    ) -> Result<(), Error> {
        let end = End::Tail(Arc::clone(&self.stderr));
        results.get().set_stream(byte_stream::client(end, self.process.clone()));
        Ok(())
    }

    async fn wait(self: Rc<Self>, _: process::WaitParams, mut results: process::WaitResults) -> Result<(), Error> {
        let reason = self.exit.wait().await;
        results.get().set_exit_code(reason.code().into());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
