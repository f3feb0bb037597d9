//! `ww id`: who a node is.

use serde::Serialize;
use ww_core::text;
use ww_net::{Multiaddr, PeerId};

use super::{
    Failure,
    node::{Node, unavailable},
    place::Which,
};

/// Print the peer id of a running node, and the addresses on which it listens
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Serialize)]
struct Identity {
    peer: String,
    addrs: Vec<String>,
}

pub(super) async fn id(node: Node, json: bool) -> Result<u8, Failure> {
    let (peer, addrs) = node
        .answer(async {
            let id = node.local.host.id_request().send().promise.await?;
            let addrs = node.local.host.addrs_request().send().promise.await?;
            Ok((id.get()?.get_peer_id()?.to_vec(), binary(addrs.get()?.get_addrs()?)?))
        })
        .await?;
    let peer = peer_id(&peer)?;
    let addrs = addrs.into_iter().map(|addr| Ok(format!("{}/p2p/{peer}", multiaddr(addr)?)));
    let identity = Identity { peer: peer.to_string(), addrs: addrs.collect::<Result<_, Failure>>()? };
    super::show(&identity, json, |Identity { peer, addrs }| {
        std::iter::once(peer).chain(addrs).map(|line| format!("{line}\n")).collect()
    })
}

/// Reads a list of binary addresses.
pub(super) fn binary(list: capnp::data_list::Reader<'_>) -> Result<Vec<Vec<u8>>, capnp::Error> {
    list.iter().map(|addr| addr.map(<[u8]>::to_vec)).collect()
}

pub(super) fn peer_id(bytes: &[u8]) -> Result<PeerId, Failure> {
    PeerId::from_bytes(bytes).map_err(|error| unavailable(format!("the node names a peer without a valid id: {error}")))
}

/// An address for a person: a name in it may be any text.
pub(super) fn multiaddr(bytes: Vec<u8>) -> Result<String, Failure> {
    let addr = Multiaddr::try_from(bytes);
    let addr = addr.map_err(|error| unavailable(format!("the node names an address that is none: {error}")))?;
    Ok(text::line(addr, text::MAX_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_an_address_is_a_text_of_others() {
        let addr: Multiaddr = "/dns4/a\n\u{1b}[2J\u{9b}b/tcp/1".parse().expect("libp2p takes any name");
        assert_eq!(multiaddr(addr.to_vec()).expect("an address"), "/dns4/a\\n\\u{1b}[2J\\u{9b}b/tcp/1");
    }
}
