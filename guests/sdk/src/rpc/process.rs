//! A cell that was started.

use std::time::Duration;

use capnp::Error;
use ww_schema::peer_capnp::process;

use super::{ByteStream, Monitor, monitor::observer, spec::milliseconds};

/// One incarnation of a cell. The last reference to an unsupervised one ends it.
#[derive(Clone)]
pub struct Process {
    client: process::Client,
}

impl Process {
    /// The writing end of its standard input. Close it, or the cell waits for more.
    pub fn stdin(&self) -> ByteStream {
        self.client.stdin_request().send().pipeline.get_stream().into()
    }

    /// The reading end of its standard output. Read it, or the cell is held up once its buffer is full.
    pub fn stdout(&self) -> ByteStream {
        self.client.stdout_request().send().pipeline.get_stream().into()
    }

    /// The reading end of its standard error. What nobody reads goes to the node's log.
    pub fn stderr(&self) -> ByteStream {
        self.client.stderr_request().send().pipeline.get_stream().into()
    }

    /// Waits for its end and returns its exit code: its own, 134 for a trap, 137 if it was killed, 69 if it is on another
    /// node and the connection to that is lost.
    ///
    /// # Errors
    ///
    /// Where the connection is broken: how the cell ends then is unknown.
    pub async fn wait(&self) -> Result<i32, Error> {
        let response = self.client.wait_request().send().promise.await?;
        Ok(response.get()?.get_exit_code())
    }

    /// Sends a message to its mailbox and waits for the reply, at most `within`; without it as long as the node does
    /// unless told otherwise.
    ///
    /// # Errors
    ///
    /// Where the message is not answered: the text says why.
    pub async fn send(&self, message: impl AsRef<[u8]>, within: Option<Duration>) -> Result<Vec<u8>, Error> {
        let mut request = self.client.send_request();
        request.get().set_message(message.as_ref());
        request.get().set_deadline(within.map_or(0, milliseconds));
        Ok(request.send().promise.await?.get()?.get_reply()?.to_vec())
    }

    /// Links it and another process: an abnormal end of one ends the other, unless it traps exits.
    ///
    /// # Errors
    ///
    /// Where one of them has too many links.
    pub async fn link(&self, other: &Self) -> Result<(), Error> {
        let mut request = self.client.link_request();
        request.get().set_other(other.client.clone());
        request.send().promise.await.map(drop)
    }

    /// Takes a link back.
    ///
    /// # Errors
    ///
    /// Where the connection is broken.
    pub async fn unlink(&self, other: &Self) -> Result<(), Error> {
        let mut request = self.client.unlink_request();
        request.get().set_other(other.client.clone());
        request.send().promise.await.map(drop)
    }

    /// Monitors it: its end is told once, and at once where it has ended.
    ///
    /// # Errors
    ///
    /// Where the caller has too many monitors, or the connection is broken.
    pub async fn monitor(&self) -> Result<Monitor, Error> {
        let (observer, told) = observer();
        let mut request = self.client.monitor_request();
        request.get().set_observer(observer);
        Ok(Monitor::new(told, request.send().promise.await?.get()?.get_monitor()?))
    }

    /// Ends it with the reason `killed`; returns when it has ended.
    ///
    /// # Errors
    ///
    /// Where the connection is broken.
    pub async fn kill(&self) -> Result<(), Error> {
        self.client.kill_request().send().promise.await?;
        Ok(())
    }

    /// The generated client, for the other calls.
    pub fn client(&self) -> &process::Client {
        &self.client
    }
}

impl From<process::Client> for Process {
    fn from(client: process::Client) -> Self {
        Self { client }
    }
}
