//! Starting cells.

use capnp::Error;
use ww_schema::peer_capnp::{executor, host};

use super::{Cell, Process, Program, Supervision, Supervisor};

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

    /// Compiles a program, to start many cells from it.
    ///
    /// # Errors
    ///
    /// Where the caller may not, or the program is too large or cannot be compiled.
    pub async fn load(&self, wasm: &[u8]) -> Result<Program, Error> {
        let mut request = self.client.load_request();
        request.get().set_wasm(wasm);
        Ok(Program::Loaded(request.send().promise.await?.get()?.get_program()?))
    }

    /// Starts a cell without a supervisor. It ends with the last reference to its [`Process`], unless it is detached.
    ///
    /// # Errors
    ///
    /// Where it cannot be started, or would get more than the caller has.
    pub async fn spawn(&self, cell: &Cell) -> Result<Process, Error> {
        let mut request = self.client.spawn_request();
        cell.write(request.get().init_spec());
        Ok(request.send().promise.await?.get()?.get_process()?.into())
    }

    /// Starts a supervisor, and waits until its first children have started. It ends with the caller at the latest.
    ///
    /// # Errors
    ///
    /// Where the spec contradicts itself, a first child cannot be started, or would get more than the caller has.
    pub async fn supervisor(&self, supervision: &Supervision) -> Result<Supervisor, Error> {
        let mut request = self.client.supervisor_request();
        supervision.write(request.get().init_options());
        Ok(request.send().promise.await?.get()?.get_supervisor()?.into())
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
