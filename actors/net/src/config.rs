//! Where the swarm listens, and every limit of the network with its default.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use libp2p::{
    Multiaddr,
    multiaddr::{self, Protocol},
};

/// Open connections of a node. Each costs a file descriptor of the 1,024 that a process has by default, and some
/// 40 KiB; half of them are left for everything else.
pub const DEFAULT_CONNECTIONS: u32 = 512;

/// Open connections that others opened: less than all, so that strangers cannot keep the node from dialling out.
pub const DEFAULT_INCOMING: u32 = 384;

/// Open connections to one peer: two transports, each opened from both ends at the same moment.
pub const DEFAULT_PER_PEER: u32 = 4;

/// Incoming connections in their handshake. One lasts milliseconds for an honest peer and at most
/// [`HANDSHAKE_TIMEOUT`] for another one.
pub const DEFAULT_PENDING_INCOMING: u32 = 128;

/// Outgoing attempts at the same time. Each tries up to [`MAX_ADDRS`] addresses, with a socket each.
pub const DEFAULT_PENDING_OUTGOING: u32 = 32;

/// How long [`Net::connect`](crate::Net::connect) tries: a few round trips around the world and a lost packet or two,
/// yet not longer than a person waits.
pub const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after a loss a peer is dialled again that somebody asked for; each further attempt comes later. As long as a
/// node takes to start anew.
pub const DEFAULT_REDIAL_DELAY: Duration = Duration::from_secs(1);

/// How long one attempt at one address may take until both ends know each other, in either direction.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection without streams is kept: longer than the pauses of a conversation, short enough that those
/// who left without a word give back their place.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long all listeners together may take to report their addresses, which they do at once or never.
pub const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the swarm waits, once it stops, for its peers to see the end of their connections.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a node that has served peers keeps its connections open at its end. A connection that is closed while its peer
/// still writes is lost to that one with everything that it has not read yet; one that has what it wanted leaves by itself.
pub const FAREWELL: Duration = Duration::from_millis(250);

/// Addresses that one call of [`Net::connect`](crate::Net::connect) may name; all are tried at the same time. A host
/// has a handful of interfaces with two transports each.
pub const MAX_ADDRS: usize = 16;

/// Names that a node may publish at the same time. Every poll of a connection goes over the list, which with 1,000 of
/// them costs many times the rest; whatever else there is can be reached through one protocol, `/ww/0.1.0/call`.
pub const MAX_PUBLISHED: usize = 64;

/// Streams that one peer may have open to this node, over all its connections: twice what a node of ours opens.
pub const DEFAULT_INBOUND_PER_PEER: usize = 512;

/// Streams that this node has open to one peer: half of the 512 that a yamux connection has in both directions by
/// default, where one more ends the connection.
pub const DEFAULT_OUTBOUND_PER_PEER: usize = 256;

/// Streams of a node. Each holds some KiB, and up to 256 KiB that its reader has not taken yet.
pub const DEFAULT_STREAMS: usize = 4_096;

/// Streams that wait to be accepted under one name: as many as one peer may have. Whoever accepts them does so at once;
/// how many may wait for a cell is not for the network to say.
pub const DEFAULT_WAITING: usize = DEFAULT_INBOUND_PER_PEER;

/// How long peers may take to agree on the protocol of a stream: a few round trips around the world.
pub const DEFAULT_OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams that a connection carries, whoever opened them: all that a peer may have in both directions and what libp2p
/// has of its own, so that its limit, which ends the connection, is reached by none that keeps to ours.
pub(crate) const STREAMS_PER_CONNECTION: usize = 1_024;

/// How the network of a node is set up. The default listens nowhere and can still dial.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on: TCP (`/ip4/…/tcp/…`) and QUIC (`/ip4/…/udp/…/quic-v1`). Each must work, or the start
    /// fails. Port 0 stands for any free one.
    pub listen: Vec<Multiaddr>,
    /// Addresses to listen on if that is possible. That it is not is logged, and not an error.
    pub listen_if_possible: Vec<Multiaddr>,
    /// Whether peers on the local network are discovered with mDNS. A discovered peer can be connected to without
    /// knowing its address. Everybody on that network learns of the node.
    pub mdns: bool,
    /// How many connections there may be.
    pub limits: Limits,
    /// How long [`Net::connect`](crate::Net::connect) tries.
    pub dial_timeout: Duration,
    /// How long after a loss a peer is dialled again.
    pub redial_delay: Duration,
    /// How many streams there may be.
    pub streams: StreamLimits,
    /// How long peers may take to agree on the protocol of a stream, in both directions.
    pub open_timeout: Duration,
}

/// How many streams there may be. What is above is reset, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Those that one peer opened.
    pub inbound_per_peer: usize,
    /// Those to one peer.
    pub outbound_per_peer: usize,
    /// All of them.
    pub per_node: usize,
    /// Those that wait to be accepted under one name.
    pub waiting: usize,
}

/// How many connections there may be. What is above is refused, and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open ones.
    pub connections: u32,
    /// Open ones that others opened.
    pub incoming: u32,
    /// Open ones to one peer.
    pub per_peer: u32,
    /// Incoming ones in their handshake.
    pub pending_incoming: u32,
    /// Outgoing attempts at the same time.
    pub pending_outgoing: u32,
}

impl Config {
    /// Listens with TCP and QUIC on one port of all interfaces, over IPv4, and over IPv6 where that exists. Port 0
    /// stands for any free port, and then each transport has its own.
    pub fn on_port(port: u16) -> Self {
        let v4 = Multiaddr::empty().with(Protocol::Ip4(Ipv4Addr::UNSPECIFIED));
        let v6 = Multiaddr::empty().with(Protocol::Ip6(Ipv6Addr::UNSPECIFIED));
        Self {
            listen: on_both_transports(&v4, port),
            listen_if_possible: on_both_transports(&v6, port),
            ..Self::default()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_if_possible: Vec::new(),
            mdns: false,
            limits: Limits::default(),
            dial_timeout: DEFAULT_DIAL_TIMEOUT,
            redial_delay: DEFAULT_REDIAL_DELAY,
            streams: StreamLimits::default(),
            open_timeout: DEFAULT_OPEN_TIMEOUT,
        }
    }
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            inbound_per_peer: DEFAULT_INBOUND_PER_PEER,
            outbound_per_peer: DEFAULT_OUTBOUND_PER_PEER,
            per_node: DEFAULT_STREAMS,
            waiting: DEFAULT_WAITING,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: DEFAULT_CONNECTIONS,
            incoming: DEFAULT_INCOMING,
            per_peer: DEFAULT_PER_PEER,
            pending_incoming: DEFAULT_PENDING_INCOMING,
            pending_outgoing: DEFAULT_PENDING_OUTGOING,
        }
    }
}

/// QUIC comes first: of two nodes that start at the same moment only one gets a UDP port, whereas TCP listeners of
/// libp2p share theirs with others that agree to.
fn on_both_transports(host: &Multiaddr, port: u16) -> Vec<Multiaddr> {
    let with = |protocols: &[multiaddr::Protocol<'static>]| {
        protocols.iter().fold(host.clone(), |addr, protocol| addr.with(protocol.clone()))
    };
    vec![with(&[Protocol::Udp(port), Protocol::QuicV1]), with(&[Protocol::Tcp(port)])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_means_both_transports_and_both_families() {
        let texts = |addrs: &[Multiaddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        let config = Config::on_port(2020);
        assert_eq!(texts(&config.listen), ["/ip4/0.0.0.0/udp/2020/quic-v1", "/ip4/0.0.0.0/tcp/2020"]);
        assert_eq!(texts(&config.listen_if_possible), ["/ip6/::/udp/2020/quic-v1", "/ip6/::/tcp/2020"]);
        assert!(!config.mdns);
    }
}
