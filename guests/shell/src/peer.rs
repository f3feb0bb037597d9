//! Peers and addresses as people write them, and as the node takes them.

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

/// A peer, and one address at which to try it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// As libp2p serialises it.
    pub(crate) peer_id: Vec<u8>,
    /// A binary multiaddr, without the peer id.
    pub(crate) addr: Vec<u8>,
}

impl Remote {
    /// Takes an address apart that ends with the peer id to expect there.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut addr: Multiaddr = text.parse().map_err(|error| {
            format!("{text:?} is no multiaddr ({error}): expected one like /ip4/127.0.0.1/tcp/2020/p2p/<peer id>")
        })?;
        let Some(Protocol::P2p(peer)) = addr.pop() else {
            return Err(format!("{text} names no peer: append /p2p/<peer id>, which `id` shows on the other node"));
        };
        if addr.is_empty() {
            return Err(format!("{text} says whom to connect to, but not where: put an address before /p2p"));
        }
        Ok(Self { peer_id: peer.to_bytes(), addr: addr.to_vec() })
    }
}

/// A peer id as text.
pub(crate) fn show_peer(bytes: &[u8]) -> String {
    PeerId::from_bytes(bytes).map_or_else(|_| format!("{bytes:02x?}"), |peer| peer.to_base58())
}

/// An address as text.
pub(crate) fn show_addr(bytes: &[u8]) -> String {
    Multiaddr::try_from(bytes.to_vec()).map_or_else(|_| format!("{bytes:02x?}"), |addr| addr.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf";

    #[test]
    fn an_address_has_a_place_and_a_peer() {
        let remote = Remote::parse(&format!("/ip4/127.0.0.1/udp/2020/quic-v1/p2p/{PEER}")).expect("an address");
        assert_eq!(show_peer(&remote.peer_id), PEER);
        assert_eq!(show_addr(&remote.addr), "/ip4/127.0.0.1/udp/2020/quic-v1");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, part) in [
            ("", "names no peer"),
            ("127.0.0.1:2020", "is no multiaddr"),
            ("/ip4/127.0.0.1/tcp/2020", "append /p2p/<peer id>"),
            (&format!("/p2p/{PEER}"), "put an address before /p2p"),
            ("/ip4/127.0.0.1/tcp/2020/p2p/nobody", "is no multiaddr"),
        ] {
            let error = Remote::parse(text).expect_err("it is no address of a peer");
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_no_library_knows_is_shown_as_bytes() {
        assert_eq!(show_peer(&[1, 171]), "[01, ab]");
        assert_eq!(show_addr(&[255]), "[ff]");
    }
}
