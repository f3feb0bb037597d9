//! A cell that was started.

use capnp::Error;
use ww_schema::peer_capnp::process;

use super::ByteStream;

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

    /// Waits for its end and returns its exit code: its own, 134 for a trap, 137 if it was killed.
    ///
    /// # Errors
    ///
    /// Where the connection is broken: how the cell ends then is unknown.
    pub async fn wait(&self) -> Result<i32, Error> {
        let response = self.client.wait_request().send().promise.await?;
        Ok(response.get()?.get_exit_code())
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
