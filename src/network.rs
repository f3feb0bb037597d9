//! The network as the capability servers see it: bytes in, bytes out.

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use ww_net::{Multiaddr, Net, PeerId};
use ww_rpc::{Dial, Dialled, Network, Peer};

use crate::{calls::Calls, dial};

/// The swarm behind `Host`, and the cells of this node that can be called.
pub(crate) struct Swarm {
    pub(crate) net: Net,
    pub(crate) calls: Calls,
    pub(crate) runtime: Handle,
}

fn bytes(addrs: Vec<Multiaddr>) -> Vec<Vec<u8>> {
    addrs.into_iter().map(|addr| addr.to_vec()).collect()
}

impl Network for Swarm {
    fn peer_id(&self) -> Vec<u8> {
        self.net.peer_id().to_bytes()
    }

    fn addrs(&self) -> BoxFuture<'_, Vec<Vec<u8>>> {
        Box::pin(async { bytes(self.net.addrs().await) })
    }

    fn peers(&self) -> BoxFuture<'_, Vec<Peer>> {
        Box::pin(async {
            let peers = self.net.peers().await.into_iter();
            peers.map(|peer| Peer { peer_id: peer.peer_id.to_bytes(), addrs: bytes(peer.addrs) }).collect()
        })
    }

    fn connect(&self, peer_id: Vec<u8>, addrs: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let peer_id = PeerId::from_bytes(&peer_id)
                .map_err(|error| format!("not a peer id: {error}; expected the bytes as libp2p serialises them"))?;
            self.net.connect(peer_id, dial::addrs(addrs)?).await.map_err(|error| error.to_string())
        })
    }

    fn dial(&self, dial: Dial) -> BoxFuture<'_, Result<Dialled, String>> {
        Box::pin(dial::dial(&self.net, &self.calls, &self.runtime, dial))
    }
}
