//! The network as the capability servers see it: bytes in, bytes out.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use ww_cell::Slot;
use ww_core::{
    Account,
    task::{self, Task},
};
use ww_net::{Audience, Multiaddr, Net, OpenError, Protocol};
use ww_rpc::{Dial, Dialled, Network, Opened, Outcome, Peer, Publication, Wire};

use crate::{
    Published,
    calls::{Callee, Calls},
    dial::{self, peer},
    payers::Payers,
};

/// The swarm behind `Host`, and the cells of this node that can be called.
pub(crate) struct Swarm {
    pub(crate) net: Net,
    pub(crate) calls: Calls,
    pub(crate) runtime: Handle,
    pub(crate) payers: Payers,
    /// How long peers may be silent in the middle of a message.
    pub(crate) patience: Duration,
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
            self.net.connect(peer(&peer_id)?, dial::addrs(addrs)?).await.map_err(|error| error.to_string())
        })
    }

    fn open_rpc(&self, peer_id: Vec<u8>, addrs: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Wire, String>> {
        Box::pin(async move {
            let peer = peer(&peer_id)?;
            let stream = self.net.open(peer, dial::addrs(addrs)?, Protocol::Rpc).await.map_err(|error| match error {
                OpenError::NoSuchProtocol { .. } => {
                    let own = self.net.peer_id();
                    format!(
                        "denied: the node {peer} grants nothing to this one, {own}: its configuration has to name it"
                    )
                }
                error => dial::chain(&error),
            });
            stream.map(|stream| Box::new(stream) as Wire)
        })
    }

    fn publish(&self, publication: Publication, slot: &Slot) -> Result<(), String> {
        let Publication { name, allow, at_once, deadline } = publication;
        let parse = |bytes: &Vec<u8>| peer(bytes).map_err(|error| format!("allow: {error}"));
        let audience: Audience = allow.iter().map(parse).collect::<Result<_, _>>()?;
        let gate = self.calls.gate(slot, at_once);
        let callee = Callee {
            slot: slot.clone(),
            gate,
            audience,
            patience: self.patience,
            deadline,
            payers: self.payers.clone(),
        };
        let published = Published::start(&self.net, &self.calls, name, callee, &self.runtime);
        published.map_err(|error| error.to_string())?.until_the_end(&self.runtime);
        Ok(())
    }

    fn open(&self, opened: Opened) -> Task<Outcome> {
        let (calls, kind) = (self.calls.clone(), task::Kind::owned("message", opened.from));
        task::spawn(&self.runtime, kind, async move { calls.open(opened).await })
    }

    fn dial(&self, dial: Dial, payer: Account) -> BoxFuture<'_, Result<Dialled, String>> {
        Box::pin(dial::dial(&self.net, &self.calls, &self.runtime, dial, payer))
    }
}
