//! The protocols that the swarm speaks, and the transports below them.
//!
//! A protocol of the node's own is one more field of [`Behaviour`], and its events one more arm in the actor.

use std::{io, num::NonZeroU8};

use libp2p::{
    PeerId, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    mdns, noise, ping, quic,
    swarm::{self, NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use crate::{
    config::{Config, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, Limits, MAX_ADDRS, STREAMS_PER_CONNECTION},
    streams::{self, Streams},
};

/// The version of what our nodes speak with each other, told to every peer.
const PROTOCOL_VERSION: &str = "/ww/0.1.0";

/// What peers learn of the program: its name and version, and nothing of the machine.
const AGENT_VERSION: &str = concat!("ww/", env!("CARGO_PKG_VERSION"));

/// Addresses of one attempt that are tried at the same time: all of them, so that a deadline is enough for each.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(MAX_ADDRS as u8).expect("there is at least one address");

/// What happens on every connection.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that what is refused costs the others nothing.
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    streams: streams::behaviour::Behaviour,
}

impl Behaviour {
    fn new(keypair: &Keypair, config: &Config, streams: Streams) -> io::Result<Self> {
        let identify = identify::Config::new(PROTOCOL_VERSION.to_owned(), keypair.public())
            .with_agent_version(AGENT_VERSION.to_owned())
            // Addresses of private interfaces are nobody's business.
            .with_hide_listen_addrs(true)
            .with_push_listen_addr_updates(false)
            // Where a peer claims to be is not where we dial: it could point at somebody else.
            .with_cache_size(0);
        let peer_id = PeerId::from(keypair.public());
        let mdns = config.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer_id)).transpose()?;
        Ok(Self {
            limits: connection_limits::Behaviour::new(connection_limits(config.limits)),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::default(),
            mdns: mdns.into(),
            streams: streams::behaviour::Behaviour::new(streams, config.open_timeout),
        })
    }
}

/// Why a swarm cannot be built.
pub(crate) enum BuildError {
    Noise(noise::Error),
    Mdns(io::Error),
}

/// A swarm over TCP and QUIC that listens nowhere yet. Needs the runtime that will drive it.
pub(crate) fn swarm(
    keypair: &Keypair,
    config: &Config,
    streams: Streams,
) -> Result<libp2p::Swarm<Behaviour>, BuildError> {
    let transports = || {
        SwarmBuilder::with_existing_identity(keypair.clone())
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux_config)
            .map(|builder| builder.with_quic_config(quic_config))
            .map_err(BuildError::Noise)
    };
    let behaviour = Behaviour::new(keypair, config, streams).map_err(BuildError::Mdns)?;
    match transports()?.with_dns() {
        Ok(builder) => {
            let Ok(builder) = builder.with_behaviour(|_| behaviour);
            Ok(builder.with_swarm_config(swarm_config).with_connection_timeout(HANDSHAKE_TIMEOUT).build())
        }
        Err(error) => {
            tracing::warn!(%error, "no resolver is configured on this system: addresses with names will not work");
            let Ok(builder) = transports()?.with_behaviour(|_| behaviour);
            Ok(builder.with_swarm_config(swarm_config).with_connection_timeout(HANDSHAKE_TIMEOUT).build())
        }
    }
}

fn swarm_config(config: swarm::Config) -> swarm::Config {
    config.with_idle_connection_timeout(IDLE_TIMEOUT).with_dial_concurrency_factor(DIAL_CONCURRENCY)
}

fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS_PER_CONNECTION);
    config
}

fn quic_config(mut config: quic::Config) -> quic::Config {
    config.max_concurrent_stream_limit = STREAMS_PER_CONNECTION as u32;
    config
}

fn connection_limits(limits: Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_established(Some(limits.connections))
        .with_max_established_incoming(Some(limits.incoming))
        .with_max_established_per_peer(Some(limits.per_peer))
        .with_max_pending_incoming(Some(limits.pending_incoming))
        .with_max_pending_outgoing(Some(limits.pending_outgoing))
}
