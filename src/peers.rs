//! Peers that hold capabilities of this node.
//!
//! Each stream on `/ww/0.1.0/rpc` is a connection of Cap'n Proto. libp2p has proven who is at its other end, and the
//! configuration says what that peer gets. To all others it is as if the protocol did not exist.
//!
//! It owns the task that accepts; the vats live on the arbiter of RPC. Supervised by the node: it stops with its handle.
//! Bounded by [`MAX_OF_PEER`](ww_rpc::MAX_OF_PEER) connections of each peer that the configuration names, for which the node
//! holds together what it may for the peer.

use std::{collections::HashMap, sync::Arc};

use futures::future::join_all;
use tokio::runtime::Handle;
use ww_core::task::{self, Task};
use ww_net::{AcceptError, Incoming, IncomingStream, Net, PeerId, Protocol};
use ww_rpc::{Clients, Entitlement};

use crate::{config::peers::PeerGrants, control::Service};

/// Accepts connections of peers, until this is dropped.
pub(crate) struct Peers {
    table: Arc<HashMap<PeerId, Peer>>,
    _accepting: Option<Task<()>>,
}

/// What one peer gets, and its connections.
struct Peer {
    entitlement: Entitlement,
    clients: Clients,
}

impl Peers {
    /// Accepts those who are granted something, if there are any. Those who come before the node is open wait.
    pub(crate) fn start(
        net: &Net,
        granted: &[PeerGrants],
        service: Service,
        runtime: &Handle,
    ) -> Result<Self, AcceptError> {
        let table: HashMap<_, _> = granted.iter().map(|granted| (granted.id, Peer::new(granted))).collect();
        let table = Arc::new(table);
        if table.is_empty() {
            return Ok(Self { table, _accepting: None });
        }
        let incoming = net.accept_from(table.keys().copied().collect(), Protocol::Rpc)?;
        let accepting = accept(incoming, Arc::clone(&table), service);
        let accepting = task::spawn(runtime, task::Kind::owned("peers", "node"), accepting);
        Ok(Self { table, _accepting: Some(accepting) })
    }

    /// Accepts nobody any more, and lets those who are there have their last answers.
    pub(crate) async fn close(self) {
        join_all(self.table.values().map(|peer| peer.clients.close())).await;
    }
}

impl Peer {
    fn new(granted: &PeerGrants) -> Self {
        let PeerGrants { id, grants, admin, limits, max_message } = granted.clone();
        let clients = Clients::of_peer(&id.to_string(), limits.held);
        let entitlement = Entitlement::of_peer(id.to_bytes(), grants, admin, limits).with_messages_of(max_message);
        Self { entitlement, clients }
    }
}

async fn accept(mut incoming: Incoming, table: Arc<HashMap<PeerId, Peer>>, service: Service) {
    let Service { vats, executor, stop, mut opened, .. } = service;
    opened.wait().await;
    while let Some(IncomingStream { peer, stream, .. }) = incoming.next().await {
        // The network lets in those of the table alone.
        let Some(Peer { entitlement, clients }) = table.get(&peer) else { continue };
        vats.serve_client(&executor, clients, entitlement.clone(), Arc::clone(&stop), || Ok(stream.into_split()));
    }
}
