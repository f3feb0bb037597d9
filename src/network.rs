//! The network as the capability servers see it: bytes in, bytes out.

use futures::future::BoxFuture;
use ww_net::{Multiaddr, Net, PeerId};
use ww_rpc::{Network, Peer};

/// The swarm behind `Host`.
pub(crate) struct Swarm(pub(crate) Net);

fn bytes(addrs: Vec<Multiaddr>) -> Vec<Vec<u8>> {
    addrs.into_iter().map(|addr| addr.to_vec()).collect()
}

impl Network for Swarm {
    fn peer_id(&self) -> Vec<u8> {
        self.0.peer_id().to_bytes()
    }

    fn addrs(&self) -> BoxFuture<'_, Vec<Vec<u8>>> {
        Box::pin(async { bytes(self.0.addrs().await) })
    }

    fn peers(&self) -> BoxFuture<'_, Vec<Peer>> {
        Box::pin(async {
            let peers = self.0.peers().await.into_iter();
            peers.map(|peer| Peer { peer_id: peer.peer_id.to_bytes(), addrs: bytes(peer.addrs) }).collect()
        })
    }

    fn connect(&self, peer_id: Vec<u8>, addrs: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let peer_id = PeerId::from_bytes(&peer_id)
                .map_err(|error| format!("not a peer id: {error}; expected the bytes as libp2p serialises them"))?;
            let addrs: Result<Vec<_>, _> = addrs.into_iter().map(Multiaddr::try_from).collect();
            let addrs = addrs.map_err(|error| format!("not a binary multiaddr: {error}"))?;
            self.0.connect(peer_id, addrs).await.map_err(|error| error.to_string())
        })
    }
}
