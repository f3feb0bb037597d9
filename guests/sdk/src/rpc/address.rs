//! Peers and their cells, as people write them.

use std::str::FromStr;

use multiaddr::{Multiaddr, Protocol};

/// What a text that is no address should have been.
const EXPECTED: &str = "expected one like /ip4/127.0.0.1/tcp/2020/p2p/<peer id>/<name>";

/// The same for a peer.
const EXPECTED_PEER: &str = "expected one like /ip4/127.0.0.1/tcp/2020/p2p/<peer id>";

/// A peer, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id, as libp2p serialises it.
    pub peer_id: Vec<u8>,
    /// Binary multiaddrs, without the peer id; they may be missing where the node is connected to the peer.
    pub addrs: Vec<Vec<u8>>,
}

/// Where a cell is published: a peer, how to reach it, and the name of the cell there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The peer, as libp2p serialises its id; empty for the caller's own node.
    pub peer_id: Vec<u8>,
    /// Binary multiaddrs, without the peer id; they may be missing where the node is connected to the peer.
    pub addrs: Vec<Vec<u8>>,
    /// The name of the cell.
    pub name: String,
}

impl FromStr for Address {
    type Err = String;

    /// Takes `<multiaddr>/p2p/<peer id>/<name>` apart, where the multiaddr may be missing. A name alone is a cell of the
    /// caller's own node.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((addr, name)) = text.rsplit_once('/') else {
            return match text {
                "" => Err(format!("\"\" is no address: {EXPECTED}")),
                name => Ok(Self { peer_id: Vec::new(), addrs: Vec::new(), name: name.to_owned() }),
            };
        };
        let Peer { peer_id, addrs } = peer(addr, text, EXPECTED)?;
        Ok(Self { peer_id, addrs, name: name.to_owned() })
    }
}

impl FromStr for Peer {
    type Err = String;

    /// Takes `<multiaddr>/p2p/<peer id>` apart, where the multiaddr may be missing.
    fn from_str(text: &str) -> Result<Self, String> {
        peer(text, text, EXPECTED_PEER)
    }
}

/// Reads the part of a text that says where a peer is.
fn peer(addr: &str, text: &str, expected: &str) -> Result<Peer, String> {
    let mut addr: Multiaddr = addr.parse().map_err(|error| format!("{text:?} is no address ({error}): {expected}"))?;
    let Some(Protocol::P2p(peer)) = addr.pop() else {
        return Err(format!("{text} names no peer: {expected}"));
    };
    let addrs = if addr.is_empty() { Vec::new() } else { vec![addr.to_vec()] };
    Ok(Peer { peer_id: peer.to_bytes(), addrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf";

    #[test]
    fn an_address_is_a_way_a_peer_and_a_name() {
        let far: Address = format!("/ip4/127.0.0.1/udp/2020/quic-v1/p2p/{PEER}/echo").parse().expect("an address");
        assert_eq!((far.addrs.len(), far.name.as_str()), (1, "echo"));
        let peer: Peer = format!("/ip4/127.0.0.1/udp/2020/quic-v1/p2p/{PEER}").parse().expect("a peer");
        assert_eq!((&peer.peer_id, &peer.addrs), (&far.peer_id, &far.addrs));
        for text in ["", "/ip4/127.0.0.1/tcp/2020", "echo"] {
            assert!(text.parse::<Peer>().is_err_and(|error| error.contains(EXPECTED_PEER)), "{text}");
        }
        let connected: Address = format!("/p2p/{PEER}/echo").parse().expect("an address");
        assert_eq!((connected.peer_id, connected.addrs.len()), (far.peer_id, 0));
        let near: Address = "echo".parse().expect("an address");
        assert_eq!((near.peer_id.len(), near.addrs.len(), near.name.as_str()), (0, 0, "echo"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, part) in [
            ("", "is no address"),
            ("127.0.0.1:2020/echo", "is no address"),
            ("/ip4/127.0.0.1/tcp/2020/echo", "names no peer"),
            (&*format!("/ip4/127.0.0.1/tcp/2020/p2p/{PEER}"), "is no address"),
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.contains(part) && error.contains(EXPECTED), "{error}");
        }
    }
}
