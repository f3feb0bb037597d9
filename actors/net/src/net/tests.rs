use std::{
    io,
    net::{TcpListener, UdpSocket},
};

use futures::{StreamExt, future::join_all};
use libp2p::{SwarmBuilder, identify, multiaddr::Protocol, noise, swarm::SwarmEvent, tcp, yamux};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    config::Limits,
    fixture::{PATIENCE, QUIC, Room, TCP, listening, until},
};

/// A port of TCP on loopback where nobody listens. It stays so while the socket lives, which has it without listening.
fn deaf_port() -> (socket2::Socket, Multiaddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap())
}

/// A listener that never says anything: the kernel takes the connection, and nobody answers.
fn mute_listener() -> (TcpListener, Multiaddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap())
}

#[tokio::test]
async fn two_nodes_connect_and_both_know_it() {
    let room = Room::new();
    for (transport, protocol) in [(TCP, "/tcp/"), (QUIC, "/quic-v1")] {
        let server = room.net(&[transport]).await;
        let client = room.net(&[]).await;
        let addrs = server.addrs().await;
        assert_eq!(addrs.len(), 1, "{addrs:?}");
        assert!(addrs[0].to_string().contains(protocol) && !addrs[0].to_string().contains("/p2p/"), "{addrs:?}");
        assert!(client.addrs().await.is_empty());

        client.connect(server.peer_id(), addrs.clone()).await.unwrap();
        assert_eq!(client.peers().await, [PeerInfo { peer_id: server.peer_id(), addrs }]);
        let peers = until(|| server.peers(), |peers| !peers.is_empty()).await;
        assert_eq!(peers.len(), 1);
        assert_eq!((peers[0].peer_id, peers[0].addrs.len()), (client.peer_id(), 1));
        client.connect(server.peer_id(), Vec::new()).await.expect("connected already: no address is needed");
        server.connect(client.peer_id(), Vec::new()).await.expect("connected already, from the other end");

        client.stop().await;
        until(|| server.peers(), Vec::is_empty).await;
        assert!(client.peers().await.is_empty());
        let error = client.connect(server.peer_id(), server.addrs().await).await.unwrap_err();
        assert!(matches!(error, ConnectError::Stopped), "{error:?}");
    }
}

#[tokio::test]
async fn a_stop_is_seen_by_everybody_and_frees_port_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    let room = Room::new();
    let start = async |config| {
        Net::start(config, Identity::load_or_create(&key).unwrap(), &room.platform.arbiter().expect("a thread starts"))
            .await
            .unwrap()
    };
    let first = start(listening(&[TCP])).await;
    let addrs = first.addrs().await;
    let client = room.net(&[]).await;
    client.connect(first.peer_id(), addrs.clone()).await.unwrap();
    assert!(matches!(Identity::load_or_create(&key), Err(crate::identity::Error::Locked { .. })));

    let clone = first.clone();
    first.stop().await;
    first.stop().await;
    clone.closed().await;
    until(|| client.peers(), Vec::is_empty).await;
    assert!(clone.addrs().await.is_empty());

    let again = start(Config { listen: addrs.clone(), ..Config::default() }).await;
    assert_eq!((again.peer_id(), again.addrs().await), (first.peer_id(), addrs.clone()));
    client.connect(again.peer_id(), addrs).await.unwrap();
}

#[tokio::test]
async fn the_last_handle_takes_the_network_with_it() {
    let room = Room::new();
    let server = room.net(&[TCP]).await;
    let client = room.net(&[]).await;
    client.connect(server.peer_id(), server.addrs().await).await.unwrap();
    let clone = server.clone();
    drop(server);
    assert_eq!(clone.addrs().await.len(), 1);
    drop(clone);
    until(|| client.peers(), Vec::is_empty).await;
}

#[tokio::test]
async fn a_network_whose_arbiter_ends_is_closed() {
    let room = Room::new();
    let arbiter = room.platform.arbiter().expect("a thread starts");
    let net = Net::start(listening(&[TCP]), Identity::ephemeral(), &arbiter).await.unwrap();
    assert!(arbiter.stop());
    net.closed().await;
    net.stop().await;
    assert!(net.addrs().await.is_empty());
    let error = Net::start(Config::default(), Identity::ephemeral(), &arbiter).await.unwrap_err();
    assert!(matches!(error, StartError::Ended), "{error:?}");
}

#[tokio::test]
async fn the_whole_port_is_listened_on() {
    let room = Room::new();
    let net = room.try_start(Config::on_port(0)).await.unwrap();
    let addrs = net.addrs().await;
    let has = |protocol: &str| addrs.iter().any(|addr| addr.to_string().contains(protocol));
    assert!(has("/tcp/") && has("/quic-v1"), "{addrs:?}");
    let unspecified = |addr: &Multiaddr| match addr.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified(),
        _ => false,
    };
    assert!(!addrs.iter().any(unspecified), "{addrs:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_says_so() {
    let room = Room::new();
    let node = room.net(&[TCP, QUIC]).await;
    let mut taken = node.addrs().await;
    let (tcp, tcp_addr) = mute_listener();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    taken.push(tcp_addr);
    taken.push(format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().unwrap().port()).parse().unwrap());
    assert_eq!(taken.len(), 4);
    for addr in taken {
        let config = Config { listen: vec![TCP.parse().unwrap(), addr.clone()], ..Config::default() };
        let error = room.try_start(config).await.unwrap_err();
        let StartError::Listen { addr: named, source } = &error else { panic!("{error:?}") };
        assert_eq!((named, source.kind()), (&addr, io::ErrorKind::AddrInUse));
        let text = error.to_string();
        assert!(text.contains("is in use") && text.contains("--port 0"), "{text}");

        let config = Config { listen_if_possible: vec![addr], ..listening(&[TCP]) };
        assert_eq!(room.try_start(config).await.unwrap().addrs().await.len(), 1, "possible without it");
    }
    drop(tcp);
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_an_error() {
    let room = Room::new();
    for (addr, variant, text) in [
        ("/dns4/localhost/tcp/0", "Unsupported", "expected /ip4/ADDRESS/tcp/PORT"),
        ("/ip4/127.0.0.1", "Unsupported", "/ip4/127.0.0.1"),
        // A network for documentation (RFC 5737), whose addresses no machine has.
        ("/ip4/192.0.2.7/tcp/2020", "Listen", "no address of this machine"),
    ] {
        let error = room.try_start(listening(&[addr])).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn another_libp2p_program_learns_the_version_and_no_address() {
    let room = Room::new();
    let net = room.net(&[TCP, QUIC]).await;
    for addr in net.addrs().await {
        let mut other = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_behaviour(|key| identify::Behaviour::new(identify::Config::new("/other/1".into(), key.public())))
            .unwrap()
            .build();
        other.dial(addr).unwrap();
        let received = async {
            loop {
                if let SwarmEvent::Behaviour(identify::Event::Received { info, .. }) = other.select_next_some().await {
                    return info;
                }
            }
        };
        let info = timeout(PATIENCE, received).await.unwrap();
        assert_eq!(info.public_key.to_peer_id(), net.peer_id());
        assert_eq!(info.protocol_version, "/ww/0.1.0");
        assert_eq!(info.agent_version, format!("ww/{}", env!("CARGO_PKG_VERSION")));
        assert_eq!(info.listen_addrs, Vec::<Multiaddr>::new());
    }
}

#[tokio::test]
async fn a_node_is_connected_to_itself() {
    let room = Room::new();
    let net = room.net(&[TCP]).await;
    net.connect(net.peer_id(), Vec::new()).await.unwrap();
    net.connect(net.peer_id(), net.addrs().await).await.unwrap();
    assert!(net.peers().await.is_empty());
}

#[tokio::test]
async fn an_address_that_leads_elsewhere_is_an_error() {
    let room = Room::new();
    let stranger = room.net(&[TCP, QUIC]).await;
    let client = room.net(&[TCP]).await;
    let wanted = PeerId::random();
    for addr in stranger.addrs().await {
        let error = client.connect(wanted, vec![addr.clone()]).await.unwrap_err();
        let ConnectError::WrongPeer { expected, found, addr: at } = &error else { panic!("{error:?}") };
        assert_eq!((*expected, **found, at), (wanted, stranger.peer_id(), &addr));
    }
    let own = client.addrs().await;
    let error = client.connect(wanted, own).await.unwrap_err();
    assert!(error.to_string().contains("this node itself"), "{error}");
    let other = stranger.addrs().await[0].clone().with(Protocol::P2p(stranger.peer_id()));
    let error = client.connect(wanted, vec![other]).await.unwrap_err();
    assert!(matches!(error, ConnectError::OtherPeer { .. }), "{error:?}");
    let error = client.connect(wanted, Vec::new()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoAddresses { .. }), "{error:?}");
    assert!(client.peers().await.is_empty());
}

#[tokio::test]
async fn one_good_address_among_bad_ones_is_enough() {
    let room = Room::new();
    let server = room.net(&[TCP]).await;
    let stranger = room.net(&[TCP]).await;
    let client = room.net(&[]).await;
    let (_deaf, nobody) = deaf_port();
    let (_mute, silence) = mute_listener();
    let addrs = [vec![nobody, silence], stranger.addrs().await, server.addrs().await].concat();
    client.connect(server.peer_id(), addrs).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_is_an_error_that_says_where() {
    let room = Room::new();
    let client = room.net(&[]).await;
    let (_deaf, nobody) = deaf_port();
    let unsupported: Multiaddr = "/ip4/127.0.0.1/udp/1".parse().unwrap();
    let error = client.connect(PeerId::random(), vec![nobody.clone(), unsupported.clone()]).await.unwrap_err();
    let ConnectError::Unreachable { tried, .. } = &error else { panic!("{error:?}") };
    assert_eq!(tried.len(), 2, "{error}");
    for addr in [nobody, unsupported] {
        assert!(tried.iter().any(|refusal| refusal.addr == addr && !refusal.reason.is_empty()), "{error}");
    }
    let text = error.to_string();
    assert!(text.contains("refused") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up() {
    let room = Room::new();
    let dial_timeout = Duration::from_millis(50);
    let client = room.try_start(Config { dial_timeout, ..Config::default() }).await.unwrap();
    let (_mute, silence) = mute_listener();
    let peer = PeerId::random();
    for _ in 0..2 {
        let error = client.connect(peer, vec![silence.clone()]).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout { after, .. } if after == dial_timeout), "{error:?}");
    }
}

#[tokio::test]
async fn callers_share_one_connection() {
    let room = Room::new();
    let server = room.net(&[TCP]).await;
    let client = room.net(&[]).await;
    let addrs = server.addrs().await;
    let outcomes = join_all((0..32).map(|_| client.connect(server.peer_id(), addrs.clone()))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(client.peers().await, [PeerInfo { peer_id: server.peer_id(), addrs }]);
    let peers = until(|| server.peers(), |peers| !peers.is_empty()).await;
    assert_eq!(peers[0].addrs.len(), 1);
}

#[tokio::test]
async fn who_joins_with_a_better_address_does_not_wait_for_the_worse_one() {
    let room = Room::new();
    let server = room.net(&[TCP]).await;
    let client = room.net(&[]).await;
    let (_mute, silence) = mute_listener();
    let mut first = Box::pin(client.connect(server.peer_id(), vec![silence.clone()]));
    assert!(futures::poll!(&mut first).is_pending());
    // The actor has the first request by the time it answers this one.
    client.peers().await;
    client.connect(server.peer_id(), server.addrs().await).await.unwrap();
    first.await.unwrap();

    // Who gives up takes nothing from those who wait.
    let server = room.net(&[TCP]).await;
    let mut given_up = Box::pin(client.connect(server.peer_id(), vec![silence]));
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);
    client.connect(server.peer_id(), server.addrs().await).await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_a_connection() {
    let room = Room::new();
    let client = room.net(&[]).await;
    let (_mute, silence) = mute_listener();
    let connect = client.connect(PeerId::random(), vec![silence]);
    let stop = async {
        client.peers().await;
        client.stop().await;
    };
    let (outcome, ()) = futures::join!(connect, stop);
    assert!(matches!(outcome, Err(ConnectError::Stopped)), "{outcome:?}");
}

#[tokio::test]
async fn limits_of_connections_have_outcomes() {
    let room = Room::new();
    let limited = |limits| Config { limits, ..listening(&[TCP]) };
    let (one, other) = (room.net(&[TCP]).await, room.net(&[TCP]).await);

    // What is idle makes room, what is at work does not.
    let full = limited(Limits { connections: 1, ..Limits::default() });
    let client = room.try_start(full.clone()).await.unwrap();
    let _served = other.accept(crate::Protocol::Call).unwrap();
    client.connect(one.peer_id(), one.addrs().await).await.unwrap();
    let work = client.open(other.peer_id(), other.addrs().await, crate::Protocol::Call).await.unwrap();
    until(|| client.peers(), |peers| peers.len() == 1 && peers[0].peer_id == other.peer_id()).await;
    let error = client.connect(one.peer_id(), one.addrs().await).await.unwrap_err();
    assert!(matches!(error, ConnectError::Limit { .. }), "{error:?}");
    assert_eq!((client.connection_counts().made_room, client.connection_counts().refused_by_node), (1, 1));
    drop(work);

    let client = room.try_start(limited(Limits { pending_outgoing: 0, ..Limits::default() })).await.unwrap();
    let error = client.connect(one.peer_id(), one.addrs().await).await.unwrap_err();
    assert!(matches!(error, ConnectError::Limit { .. }), "{error:?}");

    let server = room.try_start(limited(Limits { pending_incoming: 0, ..Limits::default() })).await.unwrap();
    let error = one.connect(server.peer_id(), server.addrs().await).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");

    // The peer proves its id before it finds that it has no place: the connection opens, and ends.
    let server = room.try_start(full).await.unwrap();
    let mut served = server.accept(crate::Protocol::Call).unwrap();
    let mut work = one.open(server.peer_id(), server.addrs().await, crate::Protocol::Call).await.unwrap();
    work.write_all(b"a request").await.unwrap();
    let mut request = served.next().await.unwrap().stream;
    request.read_exact(&mut [0; 9]).await.unwrap();
    let is_server = |peer: &PeerInfo| peer.peer_id == server.peer_id();
    other.connect(server.peer_id(), server.addrs().await).await.unwrap();
    until(|| other.peers(), |peers| !peers.iter().any(is_server)).await;
    let peers = server.peers().await;
    assert_eq!((peers.len(), peers[0].peer_id), (1, one.peer_id()));
}

#[tokio::test]
async fn silent_sockets_keep_nobody_out() {
    let room = Room::new();
    let limits = Limits { pending_incoming: 8, pending_per_address: 4, ..Limits::default() };
    let server = room.try_start(Config { limits, ..listening(&[TCP, QUIC]) }).await.unwrap();
    let addrs = server.addrs().await;
    let ports = addrs.iter().filter_map(|addr| {
        addr.iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        })
    });
    let port = ports.last().unwrap();
    let silent = (0..20).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect::<Vec<_>>();
    until(async || server.connection_counts(), |counts| counts.pending_dropped == 16).await;
    for addr in addrs {
        let client = room.net(&[]).await;
        client.connect(server.peer_id(), vec![addr]).await.unwrap();
    }
    drop(silent);
}

#[tokio::test]
async fn as_many_keys_as_one_likes_keep_nobody_out() {
    let room = Room::new();
    let limits = Limits { strangers: 6, per_address: 4, ..Limits::default() };
    let friend = room.net(&[]).await;
    let named = [friend.peer_id()].into();
    let server = room.try_start(Config { limits, named, ..listening(&[TCP, QUIC]) }).await.unwrap();
    let addrs = server.addrs().await;
    friend.connect(server.peer_id(), addrs.clone()).await.unwrap();
    let mut strangers = Vec::new();
    for at in 0..12 {
        let stranger = room.net(&[]).await;
        stranger.connect(server.peer_id(), vec![addrs[at % 2].clone()]).await.unwrap();
        strangers.push(stranger);
    }
    // Some may come back by themselves.
    until(async || server.connection_counts(), |counts| counts.made_room >= 8).await;
    until(|| server.peers(), |peers| peers.len() == 5).await;
    assert!(server.peers().await.iter().any(|peer| peer.peer_id == friend.peer_id()), "it has a place of its own");
    // And who was closed finds in again.
    let served = server.accept(crate::Protocol::Call).unwrap();
    strangers[0].open(server.peer_id(), Vec::new(), crate::Protocol::Call).await.unwrap();
    drop(served);
}

#[tokio::test]
async fn a_lost_peer_is_found_again_without_being_told_where() {
    let room = Room::new();
    let directory = tempfile::tempdir().unwrap();
    for transport in [TCP, QUIC] {
        let key = directory.path().join(if transport == TCP { "tcp" } else { "quic" });
        let start = async |listen: Vec<Multiaddr>| {
            // A socket of QUIC outlives its node until the last connection has been told of the end.
            let again = async || {
                let config = Config { listen: listen.clone(), ..Config::default() };
                Net::start(
                    config,
                    Identity::load_or_create(&key).unwrap(),
                    &room.platform.arbiter().expect("a thread starts"),
                )
                .await
            };
            until(again, Result::is_ok).await.unwrap()
        };
        let server = start(vec![transport.parse().unwrap()]).await;
        let (peer, addrs) = (server.peer_id(), server.addrs().await);
        let patient = Config { redial_delay: Duration::from_secs(1_000), ..Config::default() };
        let eager = Config { redial_delay: Duration::from_millis(20), ..Config::default() };
        let (patient, eager) = (room.try_start(patient).await.unwrap(), room.try_start(eager).await.unwrap());
        for client in [&patient, &eager] {
            client.connect(peer, addrs.clone()).await.unwrap();
        }
        server.stop().await;
        for client in [&patient, &eager] {
            until(|| client.peers(), Vec::is_empty).await;
        }
        let error = patient.connect(peer, Vec::new()).await.unwrap_err();
        assert!(!matches!(error, ConnectError::NoAddresses { .. }), "{error:?}");
        let server = start(addrs).await;
        // One finds it as soon as somebody asks, the other by itself.
        patient.connect(peer, Vec::new()).await.unwrap();
        until(|| eager.peers(), |peers| !peers.is_empty()).await;
        for net in [patient, eager, server] {
            net.stop().await;
        }
    }
}

#[tokio::test]
async fn a_farewell_ends_with_the_last_peer_or_its_time() {
    let room = Room::new();
    // One that stays, one that leaves by itself, and nobody.
    for peer in [Some(false), Some(true), None] {
        let server = room.net(&[TCP]).await;
        let client = room.net(&[]).await;
        if peer.is_some() {
            client.connect(server.peer_id(), server.addrs().await).await.unwrap();
            until(|| server.peers(), |peers| !peers.is_empty()).await;
        }
        let leaving = async {
            if peer == Some(true) {
                client.stop().await;
            }
        };
        let both = async { tokio::join!(server.stop_after_farewell(), leaving) };
        tokio::time::timeout(PATIENCE, both).await.expect("it stops");
        until(|| client.peers(), Vec::is_empty).await;
    }
}
