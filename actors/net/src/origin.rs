//! Where a connection comes from, as far as that costs its owner something.
//!
//! A key costs nothing, and neither does one more port. An address of IPv4 does, and so does a network of IPv6 with 64
//! bits, which is the least that one customer of a provider is given and within which every address is free.

use std::{fmt, net::Ipv4Addr};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// The owner of an address, as far as it can be told. Bounds on what strangers may hold are counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An address of IPv4, mapped ones of IPv6 included.
    V4(Ipv4Addr),
    /// The first 64 bits of an address of IPv6.
    V6([u16; 4]),
    /// Any other address: all of them together count as one.
    Elsewhere,
}

impl Origin {
    /// The origin of what comes from an address.
    pub(crate) fn of(addr: &Multiaddr) -> Self {
        match addr.iter().next() {
            Some(Protocol::Ip4(ip)) => Self::V4(ip),
            Some(Protocol::Ip6(ip)) => match (ip.to_ipv4_mapped(), ip.segments()) {
                (Some(ip), _) => Self::V4(ip),
                (None, [a, b, c, d, ..]) => Self::V6([a, b, c, d]),
            },
            _ => Self::Elsewhere,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => write!(f, "{ip}"),
            Self::V6([a, b, c, d]) => write!(f, "{a:x}:{b:x}:{c:x}:{d:x}::/64"),
            Self::Elsewhere => f.write_str("elsewhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(addr: &str) -> Origin {
        Origin::of(&addr.parse().unwrap())
    }

    #[test]
    fn an_origin_is_what_costs_something() {
        for (one, other, same) in [
            ("/ip4/192.0.2.7/tcp/1", "/ip4/192.0.2.7/udp/2/quic-v1", true),
            ("/ip4/192.0.2.7/tcp/1", "/ip4/192.0.2.8/tcp/1", false),
            ("/ip4/192.0.2.7/tcp/1", "/ip6/::ffff:192.0.2.7/tcp/1", true),
            ("/ip6/2001:db8:0:1::1/tcp/1", "/ip6/2001:db8:0:1:ffff::2/tcp/1", true),
            ("/ip6/2001:db8:0:1::1/tcp/1", "/ip6/2001:db8:0:2::1/tcp/1", false),
            ("/memory/1", "/dns4/example.org/tcp/1", true),
        ] {
            assert_eq!(origin(one) == origin(other), same, "{one} {other}");
        }
    }
}
