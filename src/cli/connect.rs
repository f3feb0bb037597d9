//! `ww connect`: connects a node to a peer.

use ww_net::{Multiaddr, PeerId};

use super::{
    Failure, code,
    node::{Node, call_failure},
    place::{self, Which},
};

/// Connect a running node to a peer
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Its address with its peer id, as in /ip4/127.0.0.1/tcp/2020/p2p/<peer id>
    #[arg(value_name = "PEER", value_parser = place::peer)]
    pub(super) peer: (PeerId, Multiaddr),
}

pub(super) async fn connect(node: Node, (peer, addr): (PeerId, Multiaddr)) -> Result<u8, Failure> {
    let mut request = node.local.host.connect_request();
    request.get().set_peer_id(&peer.to_bytes());
    request.get().init_addrs(1).set(0, &addr.to_vec());
    // Bounded by the node's own time for a connection.
    request.send().promise.await.map_err(|error| call_failure(&error))?;
    Ok(code::OK)
}
