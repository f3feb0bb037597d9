//! Other nodes.

use capnp::Error;
use ww_schema::peer_capnp::{host, nodes};

use super::Peer;

/// Other nodes of the network, as far as they grant something to the caller's own.
#[derive(Clone)]
pub struct Nodes {
    client: nodes::Client,
}

impl Nodes {
    /// Those that a node can reach. Takes no time: a host that refuses it fails the first call to it.
    pub fn of(host: &host::Client) -> Self {
        Self { client: host.nodes_request().send().pipeline.get_nodes() }
    }

    /// Connects to another node, and returns its `Host`, as far as it was granted. What is started there ends when the last
    /// capability that came over the connection is dropped, or the connection is lost.
    ///
    /// # Errors
    ///
    /// Where the caller may not, has too many connections, or the node cannot be reached or grants nothing.
    pub async fn connect(&self, peer: &Peer) -> Result<host::Client, Error> {
        let mut request = self.client.connect_request();
        let mut params = request.get();
        params.set_peer_id(&peer.peer_id);
        let mut list = params.init_addrs(peer.addrs.len() as u32);
        for (index, addr) in (0..).zip(&peer.addrs) {
            list.set(index, addr);
        }
        request.send().promise.await?.get()?.get_bootstrap().get_as_capability()
    }

    /// The generated client.
    pub fn client(&self) -> &nodes::Client {
        &self.client
    }
}
