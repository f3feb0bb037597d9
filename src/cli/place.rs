//! Where a node is that a verb asks: at a control socket of this machine, or at a peer of the network.

use std::{ffi::OsStr, fmt, path::PathBuf};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use ww_net::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::control::Address;

/// Which node is asked.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The node: its control socket, unix:PATH or tcp:127.0.0.1:PORT; or a peer, /ip4/<address>/tcp/<port>/p2p/<peer id>,
    /// which has to grant something to the key of this user [default: this user's only node]
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = OsStringValueParser::new().try_map(|text| Place::try_from(text.as_os_str())),
    )]
    pub(super) node: Option<Place>,

    /// Key with which this command goes to a peer, made if it is not there [default: that of this user's node]
    #[arg(long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On this machine.
    Control(Address),
    /// On the network.
    Peer(PeerId, Multiaddr),
}

/// Reads the address of a peer, with its id.
pub(super) fn peer(text: &str) -> Result<(PeerId, Multiaddr), String> {
    let expected = "expected /ip4/<address>/tcp/<port>/p2p/<peer id>";
    let addr: Multiaddr = text.parse().map_err(|error| format!("{error}; {expected}"))?;
    match addr.iter().last() {
        Some(Protocol::P2p(peer)) => Ok((peer, addr)),
        _ => Err(format!("no peer id; {expected}")),
    }
}

impl TryFrom<&OsStr> for Place {
    type Error = String;

    fn try_from(text: &OsStr) -> Result<Self, String> {
        if let Some(text) = text.to_str().filter(|text| text.starts_with('/')) {
            return peer(text).map(|(peer, addr)| Self::Peer(peer, addr));
        }
        let invalid = |error: crate::control::Invalid| match error {
            crate::control::Invalid::Form(_) => {
                format!("{error}; or a peer, /ip4/<address>/tcp/<port>/p2p/<peer id>").replace(" or off", "")
            }
            error => error.to_string(),
        };
        Address::try_from(text).map(Self::Control).map_err(invalid)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(address) => address.fmt(f),
            Self::Peer(_, addr) => addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_at_a_socket_or_at_a_peer() {
        let id = PeerId::random();
        let far = format!("/ip4/127.0.0.1/tcp/2020/p2p/{id}");
        for text in ["unix:/run/ww.sock", "tcp:127.0.0.1:7", &far] {
            assert_eq!(Place::try_from(OsStr::new(text)).map(|place| place.to_string()).as_deref(), Ok(text));
        }
        for (text, part) in [
            ("here", "expected unix:PATH, tcp:127.0.0.1:PORT; or a peer, /ip4/"),
            ("off", "expected unix:PATH"),
            ("tcp:192.0.2.1:1", "not on loopback"),
            ("/ip4/127.0.0.1/tcp/2020", "no peer id"),
            ("/run/ww.sock", "expected /ip4/"),
        ] {
            let error = Place::try_from(OsStr::new(text)).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
