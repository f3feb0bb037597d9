//! Names of cells.

use capnp::Error;
use ww_schema::{cell_capnp::registry, peer_capnp::host};

use super::Process;

/// The names of the node's cells, as far as the cell may see them: those of itself and of the cells below it, those that
/// it may send messages to, and those that its grant `process` lists.
#[derive(Clone)]
pub struct Registry {
    client: registry::Client,
}

impl Registry {
    /// The registry of a node. Takes no time: a host that refuses it fails the first call to it.
    pub fn of(host: &host::Client) -> Self {
        host.registry_request().send().pipeline.get_registry().into()
    }

    /// Gives a name to a cell below the caller, as long as its incarnation lives.
    ///
    /// # Errors
    ///
    /// Where the name is taken or is none, or the cell is not below the caller.
    pub async fn register(&self, name: &str, process: &Process) -> Result<(), Error> {
        let mut request = self.client.register_request();
        request.get().set_name(name);
        request.get().set_process(process.client().clone());
        request.send().promise.await.map(drop)
    }

    /// Takes a name back that was registered while the cell ran.
    ///
    /// # Errors
    ///
    /// Where neither the caller nor a cell below it has it.
    pub async fn unregister(&self, name: &str) -> Result<(), Error> {
        let mut request = self.client.unregister_request();
        request.get().set_name(name);
        request.send().promise.await.map(drop)
    }

    /// The cell with a name, which this does not keep alive. One that is not below the caller can be sent to by the grant `mail`,
    /// and be watched, linked and signalled by the grant `process`.
    ///
    /// # Errors
    ///
    /// Where the text is no name.
    pub async fn whereis(&self, name: &str) -> Result<Option<Process>, Error> {
        let mut request = self.client.whereis_request();
        request.get().set_name(name);
        let response = request.send().promise.await?;
        let response = response.get()?;
        if response.has_process() { Ok(Some(response.get_process()?.into())) } else { Ok(None) }
    }

    /// The names that the caller may see, in alphabetical order.
    ///
    /// # Errors
    ///
    /// Where the caller has no registry.
    pub async fn names(&self) -> Result<Vec<String>, Error> {
        let response = self.client.names_request().send().promise.await?;
        response.get()?.get_names()?.iter().map(|name| Ok(name?.to_string()?)).collect()
    }

    /// The generated client.
    pub fn client(&self) -> &registry::Client {
        &self.client
    }
}

impl From<registry::Client> for Registry {
    fn from(client: registry::Client) -> Self {
        Self { client }
    }
}
