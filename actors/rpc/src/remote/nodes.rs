//! The server of `Nodes`: connects to other nodes on behalf of one cell or client.

use std::{rc::Rc, sync::Arc};

use capnp::Error;
use ww_schema::peer_capnp::nodes;

use super::Node;
use crate::{context::Context, host::get_addrs};

/// Connections to other nodes that one cell or client may have at once: each is a vat, with some tens of KiB here, and one
/// of the few places of this node at the other.
pub(crate) const MAX_NODES: usize = 32;

struct Server(Context);

/// The `Nodes` of one cell.
pub(crate) fn client(context: Context) -> nodes::Client {
    capnp_rpc::new_client(Server(context))
}

impl nodes::Server for Server {
    async fn connect(
        self: Rc<Self>,
        params: nodes::ConnectParams,
        mut results: nodes::ConnectResults,
    ) -> Result<(), Error> {
        let (peer_id, addrs) = {
            let params = params.get()?;
            (params.get_peer_id()?.to_vec(), get_addrs(params.get_addrs()?)?)
        };
        drop(params);
        let Ok(place) = Arc::clone(&self.0.nodes).try_acquire_owned() else {
            return Err(Error::overloaded(format!(
                "{MAX_NODES} connections to other nodes, as many as a cell may have: drop what you hold of one of them"
            )));
        };
        let wire = self.0.network.open_rpc(peer_id, addrs).await.map_err(Error::failed)?;
        results.get().init_bootstrap().set_as_capability(Node::start(wire, &self.0, place).hook);
        Ok(())
    }
}
