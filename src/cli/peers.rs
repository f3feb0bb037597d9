//! `ww peers`: whom a node is connected to.

use serde::Serialize;

use super::{
    Failure,
    id::{binary, multiaddr, peer_id},
    node::Node,
    place::Which,
};

/// List the peers that a running node is connected to, with the addresses of the connections
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Print JSON: an array with an object for each peer
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Serialize)]
struct Peer {
    peer: String,
    addrs: Vec<String>,
}

pub(super) async fn peers(node: Node, json: bool) -> Result<u8, Failure> {
    let peers = node
        .answer(async {
            let answer = node.local.host.peers_request().send().promise.await?;
            let peers = answer.get()?.get_peers()?;
            let read = peers.iter().map(|peer| Ok((peer.get_peer_id()?.to_vec(), binary(peer.get_addrs()?)?)));
            read.collect::<Result<Vec<_>, capnp::Error>>()
        })
        .await?;
    let peers = peers.into_iter().map(|(peer, addrs)| {
        let addrs = addrs.into_iter().map(multiaddr).collect::<Result<_, Failure>>()?;
        Ok(Peer { peer: peer_id(&peer)?.to_string(), addrs })
    });
    let peers = peers.collect::<Result<Vec<_>, Failure>>()?;
    super::show(&peers, json, |peers| {
        peers.iter().map(|Peer { peer, addrs }| format!("{peer}  {}\n", addrs.join("  "))).collect()
    })
}
