//! Starting cells.

use capnp::Error;
use ww_schema::peer_capnp::{executor, host};

use super::Process;

/// Starts cells on behalf of the caller.
#[derive(Clone)]
pub struct Executor {
    client: executor::Client,
}

impl Executor {
    /// The executor of a node. Takes no time: a host that refuses it fails the first call to it.
    pub fn of(host: &host::Client) -> Self {
        host.executor_request().send().pipeline.get_executor().into()
    }

    /// Runs the `main` of a program once, with the caller's own `Host`.
    ///
    /// `wasm` is a component or a core preview 1 module, `args` its arguments from the first one after the
    /// program's name, `env` entries of the form `KEY=VALUE`; nothing is inherited. The child ends with the last
    /// reference to its [`Process`].
    ///
    /// # Errors
    ///
    /// Where the caller may start no (more) cells, or the program is too large or cannot be compiled.
    pub async fn run_bytes(
        &self,
        wasm: &[u8],
        args: &[impl AsRef<str>],
        env: &[impl AsRef<str>],
    ) -> Result<Process, Error> {
        let mut request = self.client.run_bytes_request();
        let mut params = request.get();
        params.set_wasm(wasm);
        let mut list = params.reborrow().init_args(args.len() as u32);
        for (index, arg) in (0..).zip(args) {
            list.set(index, arg.as_ref());
        }
        let mut list = params.init_env(env.len() as u32);
        for (index, entry) in (0..).zip(env) {
            list.set(index, entry.as_ref());
        }
        let response = request.send().promise.await?;
        Ok(response.get()?.get_process()?.into())
    }

    /// Returns its argument: whoever gets an answer has a working connection.
    ///
    /// # Errors
    ///
    /// Where the connection is broken, or the caller has no executor.
    pub async fn echo(&self, message: &str) -> Result<String, Error> {
        let mut request = self.client.echo_request();
        request.get().set_message(message);
        let response = request.send().promise.await?;
        Ok(response.get()?.get_response()?.to_string()?)
    }

    /// The generated client, for the other calls.
    pub fn client(&self) -> &executor::Client {
        &self.client
    }
}

impl From<executor::Client> for Executor {
    fn from(client: executor::Client) -> Self {
        Self { client }
    }
}
