//! Where the swarm listens, and every limit of the network with its default.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    multiaddr::{self, Protocol},
};

/// Open connections of a node. Each costs a file descriptor of the 1,024 that a process has by default, and some
/// 40 KiB; half of them are left for everything else.
pub const DEFAULT_CONNECTIONS: u32 = 512;

/// Open connections that strangers opened, all together: an idle one makes room for the next, so these are those at work at one
/// moment. Each may hold 1 MiB on TCP that nobody has read: three first streams, and 256 KiB by which its windows grow.
pub const DEFAULT_STRANGERS: u32 = 64;

/// Open connections to peers that the node dialled, and from these. What is left of all, 224, is for the peers that the
/// configuration names: all connections of 56.
pub const DEFAULT_DIALLED: u32 = 224;

/// Open connections of strangers from one address, or one network of IPv6 with 64 bits: the programs of a house or an office
/// that are at work at the same moment, and a quarter of what strangers have.
pub const DEFAULT_PER_ADDRESS: u32 = 16;

/// Open connections of strangers over QUIC, of those that strangers have: each may hold [`QUIC_WINDOW`] bytes that nobody
/// has read, so together 128 MiB.
pub const DEFAULT_QUIC_STRANGERS: u32 = 16;

/// The same from one address: 32 MiB, as much as its connections and streams on TCP may hold.
pub const DEFAULT_QUIC_PER_ADDRESS: u32 = 4;

/// Open connections to one peer: two transports, each opened from both ends at the same moment.
pub const DEFAULT_PER_PEER: u32 = 4;

/// Incoming connections in their handshake. One lasts milliseconds for an honest peer and at most
/// [`INCOMING_TIMEOUT`] for another one. The oldest makes room for the next.
pub const DEFAULT_PENDING_INCOMING: u32 = 128;

/// The same from one address, or one network of IPv6 with 64 bits: half of them.
pub const DEFAULT_PENDING_PER_ADDRESS: u32 = 64;

/// Outgoing attempts at the same time. Each tries up to [`MAX_ADDRS`] addresses, with a socket each.
pub const DEFAULT_PENDING_OUTGOING: u32 = 32;

/// How long [`Net::connect`](crate::Net::connect) tries: a few round trips around the world and a lost packet or two,
/// yet not longer than a person waits.
pub const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after a loss a peer is dialled again that somebody asked for; each further attempt comes later. As long as a
/// node takes to start anew.
pub const DEFAULT_REDIAL_DELAY: Duration = Duration::from_secs(1);

/// How long one attempt at one address may take until both ends know each other.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long others may take to show who they are, once they have connected: some five round trips around the world. Half
/// of what this node takes, because it has no reason yet to wait for them.
pub const INCOMING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the farewell to a peer may take whose connection is closed. It is one packet, which a peer that reads nothing
/// does not take.
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

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

/// Streams that strangers have open to this node, all together, beside the first ones of each: with these and their
/// connections they hold at most 128 MiB on TCP, and most streams are left for others.
pub const DEFAULT_STRANGERS_STREAMS: usize = 256;

/// The same from one address, or one network of IPv6 with 64 bits: 32 MiB on TCP, with its connections.
pub const DEFAULT_STREAMS_PER_ADDRESS: usize = 64;

/// Streams that the peers which the node dialled have open to it, all together, beside the first ones of each.
pub const DEFAULT_DIALLED_STREAMS: usize = 1_024;

/// Streams that wait to be accepted under one name: as many as one peer may have. Whoever accepts them does so at once;
/// how many may wait for a cell is not for the network to say.
pub const DEFAULT_WAITING: usize = DEFAULT_INBOUND_PER_PEER;

/// How long peers may take to agree on the protocol of a stream: a few round trips around the world.
pub const DEFAULT_OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams that a connection carries, whoever opened them: all that a peer may have in both directions and what libp2p
/// has of its own, so that its limit is reached by none that keeps to ours.
pub(crate) const STREAMS_PER_CONNECTION: usize = 1_024;

/// Bytes that a stream of yamux may bring before any of them is read, by its specification.
pub const STREAM_WINDOW: usize = 256 * 1024;

/// Bytes by which the windows of all streams of one connection of yamux may grow, where its peer is fast and far away:
/// 160 MiB a second over 50 ms. A stream that is read fast first and then not at all holds as many more.
pub(crate) const GROWTH: usize = 8 * 1024 * 1024;

/// The same of a stranger's connection: the window of one stream doubles, which is 10 MiB a second over 50 ms.
pub(crate) const STRANGERS_GROWTH: usize = STREAM_WINDOW;

/// Bytes that all streams of one connection of QUIC may bring before any of them is read: 64 messages of 128 KiB.
pub const QUIC_WINDOW: u32 = 8 * 1024 * 1024;

/// The same of one stream, so that one alone does not take all.
pub(crate) const QUIC_STREAM_WINDOW: u32 = QUIC_WINDOW / 2;

/// Peers on the local network whose addresses are remembered, some 300 bytes each: a large office.
pub(crate) const MAX_DISCOVERED: usize = 512;

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
    /// Peers that have places which strangers cannot take.
    pub named: BTreeSet<PeerId>,
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
    /// Those that strangers opened, beside the first two of each. On TCP also those that are not negotiated yet, beside
    /// the first three of each connection.
    pub strangers: usize,
    /// The same from one address, or one network of IPv6 with 64 bits.
    pub per_address: usize,
    /// Those that peers opened which the node dialled, beside the first two of each.
    pub dialled: usize,
    /// All of them.
    pub per_node: usize,
    /// Those that wait to be accepted under one name.
    pub waiting: usize,
}

/// How many connections there may be. Where there are as many, the one that has been idle longest makes room; where none
/// is idle, the next is refused. Both are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open ones.
    pub connections: u32,
    /// Open ones that strangers opened.
    pub strangers: u32,
    /// Open ones to peers that the node dialled, and from these.
    pub dialled: u32,
    /// Open ones that strangers opened from one address, or one network of IPv6 with 64 bits.
    pub per_address: u32,
    /// Open ones that strangers opened over QUIC.
    pub quic_strangers: u32,
    /// The same from one address.
    pub quic_per_address: u32,
    /// Open ones to one peer.
    pub per_peer: u32,
    /// Incoming ones in their handshake.
    pub pending_incoming: u32,
    /// The same from one address, or one network of IPv6 with 64 bits.
    pub pending_per_address: u32,
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
            named: BTreeSet::new(),
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
            strangers: DEFAULT_STRANGERS_STREAMS,
            per_address: DEFAULT_STREAMS_PER_ADDRESS,
            dialled: DEFAULT_DIALLED_STREAMS,
            per_node: DEFAULT_STREAMS,
            waiting: DEFAULT_WAITING,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: DEFAULT_CONNECTIONS,
            strangers: DEFAULT_STRANGERS,
            dialled: DEFAULT_DIALLED,
            per_address: DEFAULT_PER_ADDRESS,
            quic_strangers: DEFAULT_QUIC_STRANGERS,
            quic_per_address: DEFAULT_QUIC_PER_ADDRESS,
            per_peer: DEFAULT_PER_PEER,
            pending_incoming: DEFAULT_PENDING_INCOMING,
            pending_per_address: DEFAULT_PENDING_PER_ADDRESS,
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
    fn what_strangers_may_leave_unread_is_bounded_on_each_transport() {
        const MIB: usize = 1 << 20;
        let (limits, streams) = (Limits::default(), StreamLimits::default());
        let on_tcp = |connections: u32, streams: usize| {
            connections as usize * (crate::muxer::FLOOR * STREAM_WINDOW + STRANGERS_GROWTH) + streams * STREAM_WINDOW
        };
        let on_quic = |connections: u32| connections as usize * QUIC_WINDOW as usize;
        assert!(on_tcp(limits.per_address, streams.per_address) <= 32 * MIB);
        assert!(on_tcp(limits.strangers, streams.strangers) <= 128 * MIB);
        assert!(on_quic(limits.quic_per_address) <= 32 * MIB);
        assert!(on_quic(limits.quic_strangers) <= 128 * MIB);
    }

    #[test]
    fn a_port_means_both_transports_and_both_families() {
        let texts = |addrs: &[Multiaddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        let config = Config::on_port(2020);
        assert_eq!(texts(&config.listen), ["/ip4/0.0.0.0/udp/2020/quic-v1", "/ip4/0.0.0.0/tcp/2020"]);
        assert_eq!(texts(&config.listen_if_possible), ["/ip6/::/udp/2020/quic-v1", "/ip6/::/tcp/2020"]);
        assert!(!config.mdns);
    }
}
