//! The protocols that the swarm speaks, and the transports below them.
//!
//! A protocol of the node's own is one more field of [`Behaviour`], and its events one more arm in the actor.

use std::{io, num::NonZeroU8};

use futures::{
    AsyncRead, AsyncWrite,
    future::{Ready, ready},
};
use libp2p::{
    PeerId, Transport,
    core::{
        ConnectedPoint,
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version},
    },
    dns, identify,
    identity::Keypair,
    mdns, noise, ping, quic,
    swarm::{self, NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use crate::{
    admission::Admission,
    arrivals::Arrivals,
    config::{
        Config, GROWTH, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, INCOMING_TIMEOUT, MAX_ADDRS, QUIC_STREAM_WINDOW, QUIC_WINDOW,
        STRANGERS_GROWTH, STREAM_WINDOW, STREAMS_PER_CONNECTION,
    },
    counts::Refusals,
    muxer::{Bounded, Places, Pool},
    origin::Origin,
    standing::{Acquaintances, Standing},
    streams::{self, Streams},
};

/// The version of what our nodes speak with each other, told to every peer.
const PROTOCOL_VERSION: &str = "/ww/0.1.0";

/// What peers learn of the program: its name and version, and nothing of the machine.
const AGENT_VERSION: &str = concat!("ww/", env!("CARGO_PKG_VERSION"));

/// Addresses of one attempt that are tried at the same time: all of them, so that a deadline is enough for each.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(MAX_ADDRS as u8).expect("there is at least one address");

/// What yamux has for the windows of one connection. It sets [`STREAM_WINDOW`] aside for each stream that it allows, and
/// lets windows grow by what is left. So it allows as many streams as leave the wanted growth: far more than find a
/// place, because it ends a connection with one more.
const YAMUX_WINDOW: usize = 1024 * 1024 * 1024;

/// A connection that has shown who is at its other end.
type Secured = (PeerId, StreamMuxerBox);

/// What happens on every connection.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that what is refused costs the others nothing.
    admission: Admission,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    streams: streams::behaviour::Behaviour,
}

impl Behaviour {
    fn new(keypair: &Keypair, config: &Config, streams: Streams, refusals: Refusals) -> io::Result<Self> {
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
            admission: Admission::new(config.limits, streams.known().clone(), streams.ledger().clone(), refusals),
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
    refusals: Refusals,
) -> Result<libp2p::Swarm<Behaviour>, BuildError> {
    let transport = transports(keypair, config, &streams, refusals.clone()).map_err(BuildError::Noise)?;
    let behaviour = Behaviour::new(keypair, config, streams, refusals).map_err(BuildError::Mdns)?;
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_dial_concurrency_factor(DIAL_CONCURRENCY);
    Ok(libp2p::Swarm::new(transport, behaviour, PeerId::from(keypair.public()), config))
}

/// TCP and QUIC, with names of hosts where the system can resolve them; all with their bounds.
fn transports(
    keypair: &Keypair,
    config: &Config,
    streams: &Streams,
    refusals: Refusals,
) -> Result<Boxed<Secured>, noise::Error> {
    let pool = Pool::new(config.streams);
    let without_names = || tcp_and_quic(keypair, pool.clone(), streams.known().clone());
    let all = match dns::tokio::Transport::system(without_names()?) {
        Ok(with_names) => with_names.boxed(),
        Err(error) => {
            tracing::warn!(%error, "no resolver is configured on this system: addresses with names will not work");
            without_names()?
        }
    };
    let timed = TransportTimeout::with_outgoing_timeout(all, HANDSHAKE_TIMEOUT).boxed();
    Ok(Arrivals::new(timed, config.limits, INCOMING_TIMEOUT, refusals).boxed())
}

/// TCP with noise and yamux, and QUIC.
fn tcp_and_quic(keypair: &Keypair, pool: Pool, known: Acquaintances) -> Result<Boxed<Secured>, noise::Error> {
    let yamux = move |peer: &PeerId, point: &ConnectedPoint| {
        let standing = known.standing(peer).max(if point.is_dialer() { Standing::Dialled } else { Standing::Stranger });
        Yamux { standing, places: pool.places(standing, Origin::of(point.get_remote_address())) }
    };
    let tcp = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex_ext(yamux)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let quic = quic::tokio::Transport::new(quic_config(quic::Config::new(keypair)))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Bounded::new(muxer, None))));
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// Yamux with its places.
#[derive(Clone)]
struct Yamux {
    standing: Standing,
    places: Places,
}

impl Yamux {
    fn config(&self) -> yamux::Config {
        let growth = if self.standing == Standing::Stranger { STRANGERS_GROWTH } else { GROWTH };
        let mut config = yamux::Config::default();
        config.set_max_num_streams((YAMUX_WINDOW - growth) / STREAM_WINDOW);
        config
    }
}

impl UpgradeInfo for Yamux {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.config().protocol_info()
    }
}

impl<C> InboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Bounded<yamux::Muxer<C>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        let muxer = self.config().upgrade_inbound(socket, info).into_inner();
        ready(muxer.map(|muxer| Bounded::new(muxer, Some(self.places))))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Bounded<yamux::Muxer<C>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        let muxer = self.config().upgrade_outbound(socket, info).into_inner();
        ready(muxer.map(|muxer| Bounded::new(muxer, Some(self.places))))
    }
}

fn quic_config(mut config: quic::Config) -> quic::Config {
    config.max_concurrent_stream_limit = STREAMS_PER_CONNECTION as u32;
    config.max_connection_data = QUIC_WINDOW;
    config.max_stream_data = QUIC_STREAM_WINDOW;
    config
}
