//! What a `Host` needs to know of the network.

use futures::future::BoxFuture;

/// A peer that the node is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id, as libp2p serialises it.
    pub peer_id: Vec<u8>,
    /// The binary multiaddrs of its open connections.
    pub addrs: Vec<Vec<u8>>,
}

/// The node's place in the network. Ids and addresses are bytes, as they are on the wire.
pub trait Network: Send + Sync + 'static {
    /// The node's own peer id.
    fn peer_id(&self) -> Vec<u8>;

    /// The multiaddrs on which the node listens.
    fn addrs(&self) -> BoxFuture<'_, Vec<Vec<u8>>>;

    /// The peers that are connected now.
    fn peers(&self) -> BoxFuture<'_, Vec<Peer>>;

    /// Connects to a peer. Ids and addresses come from a guest. The error is a text for it.
    fn connect(&self, peer_id: Vec<u8>, addrs: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), String>>;
}
