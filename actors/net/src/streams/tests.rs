use std::{io, time::Duration};

use futures::{StreamExt, future::join_all};
use libp2p::{
    Transport,
    core::{
        transport::{ListenerId, TransportEvent},
        upgrade,
    },
    identity::Keypair,
    noise, tcp, yamux,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    time::timeout,
};
use ww_core::{
    CellId, Name,
    task::{self, Kind, Task},
};

use crate::{
    AcceptError, Audience, Config, ConnectError, Incoming, IncomingStream, Multiaddr, Net, OpenError, PeerId, Protocol,
    Stream, StreamCounts, StreamLimits,
    call::{self, Accepted, Asked, Ending, Header, Part, ReadError, Reason, Status, Target},
    config::MAX_PUBLISHED,
    fixture::{PATIENCE, QUIC, Room, TCP, listening, until},
};

fn named(name: &str) -> Protocol {
    Name::new(name).unwrap().into()
}

fn start<F: Future<Output: Send> + Send + 'static>(future: F) -> Task<F::Output> {
    task::spawn(&tokio::runtime::Handle::current(), Kind::owned("test", "test"), future)
}

/// Serves every stream by itself, at most `most` streams.
fn serve<F>(mut incoming: Incoming, most: usize, handle: fn(IncomingStream) -> F) -> Task<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    start(async move {
        let mut serving = Vec::new();
        while let Some(stream) = incoming.next().await {
            serving.push(start(handle(stream)));
            if serving.len() == most {
                break;
            }
        }
        for served in serving {
            served.await.unwrap().unwrap();
        }
    })
}

async fn echo(IncomingStream { mut stream, .. }: IncomingStream) -> io::Result<()> {
    let mut body = Vec::new();
    stream.read_to_end(&mut body).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

async fn ask(net: &Net, to: (PeerId, Vec<Multiaddr>), protocol: Protocol, body: &[u8]) -> Vec<u8> {
    let mut stream = net.open(to.0, to.1, protocol).await.unwrap();
    exchange(&mut stream, body).await.unwrap()
}

async fn exchange(stream: &mut Stream, body: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(body).await?;
    stream.shutdown().await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    Ok(reply)
}

/// Waits until no stream is left, which is what every test ends with.
async fn emptied(nets: &[&Net]) {
    for net in nets {
        let open = |counts: &StreamCounts| counts.inbound + counts.outbound;
        // Each round goes through the actor, which gives other tasks their turn.
        let counts = async || {
            net.addrs().await;
            net.stream_counts()
        };
        until(counts, |counts| open(counts) == 0).await;
    }
}

async fn at(net: &Net) -> (PeerId, Vec<Multiaddr>) {
    (net.peer_id(), net.addrs().await)
}

#[tokio::test]
async fn echo_over_both_transports_and_to_oneself() {
    let room = Room::new();
    for transport in [TCP, QUIC] {
        let (server, client) = (room.net(&[transport]).await, room.net(&[]).await);
        let incoming = server.accept(named("echo")).unwrap();
        assert_eq!(incoming.protocol(), &named("echo"));
        let serving = serve(incoming, 4, echo);
        let to = at(&server).await;
        assert_eq!(ask(&client, to.clone(), named("echo"), b"hello").await, b"hello");
        assert_eq!(ask(&client, (to.0, Vec::new()), named("echo"), b"").await, b"");
        let long = vec![7; 1 << 20];
        assert!(ask(&client, to.clone(), named("echo"), &long).await == long);
        assert_eq!(ask(&server, (to.0, Vec::new()), named("echo"), b"self").await, b"self");
        serving.await.unwrap();
        emptied(&[&server, &client]).await;
    }
}

#[tokio::test]
async fn a_node_is_its_own_peer() {
    let room = Room::new();
    let limits = StreamLimits { waiting: 1, ..StreamLimits::default() };
    let net = room.try_start(Config { streams: limits, ..Config::default() }).await.unwrap();
    let open = || net.open(net.peer_id(), Vec::new(), Protocol::Call);
    let error = open().await.unwrap_err();
    assert!(matches!(error, OpenError::NoSuchProtocol { .. }), "{error:?}");
    let mut incoming = net.accept(Protocol::Call).unwrap();
    let mut one = open().await.unwrap();
    let error = open().await.unwrap_err();
    assert!(matches!(error, OpenError::Busy { .. }), "{error:?}");
    assert_eq!(net.stream_counts().refused_busy, 1);
    assert_eq!((net.stream_counts().inbound, net.stream_counts().outbound), (1, 1));
    let waiting = incoming.next().await.unwrap();
    assert_eq!(waiting.peer, net.peer_id());
    drop(waiting);
    let error = one.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(one);
    emptied(&[&net]).await;
}

#[tokio::test]
async fn of_2_000_messages_none_is_lost() {
    const MESSAGES: u64 = 2_000;
    const IN_FLIGHT: usize = 48;
    let room = Room::new();
    for transport in [TCP, QUIC] {
        let (server, client) = (room.net(&[transport]).await, room.net(&[]).await);
        let serving = serve(server.accept(Protocol::Call).unwrap(), usize::MAX, echo);
        let to = at(&server).await;
        let matched = futures::stream::iter(0..MESSAGES)
            .map(|number| {
                let (client, to) = (&client, to.clone());
                async move { ask(client, to, Protocol::Call, &number.to_be_bytes()).await == number.to_be_bytes() }
            })
            .buffer_unordered(IN_FLIGHT)
            .filter(|matched| futures::future::ready(*matched))
            .count();
        assert_eq!(timeout(3 * PATIENCE, matched).await.unwrap() as u64, MESSAGES);
        assert_eq!(client.peers().await[0].addrs.len(), 1, "all over one connection");
        serving.abort();
        emptied(&[&server, &client]).await;
        assert_eq!(server.stream_counts(), StreamCounts::default());
    }
}

#[tokio::test]
async fn a_long_reply_follows_a_half_close() {
    const REPLY: usize = 5_000_000;
    let room = Room::new();
    for transport in [TCP, QUIC] {
        let (server, client) = (room.net(&[transport]).await, room.net(&[]).await);
        let serving = serve(server.accept(named("long")).unwrap(), 1, |mut incoming| async move {
            let mut request = Vec::new();
            incoming.stream.read_to_end(&mut request).await?;
            assert_eq!(request, b"go");
            incoming.stream.write_all(&vec![9; REPLY]).await?;
            incoming.stream.shutdown().await
        });
        let reply = ask(&client, at(&server).await, named("long"), b"go").await;
        assert!(reply.len() == REPLY && reply.iter().all(|byte| *byte == 9));
        serving.await.unwrap();
        emptied(&[&server, &client]).await;
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request() {
    let room = Room::new();
    let (server, client) = (room.net(&[TCP]).await, room.net(&[]).await);
    let serving = serve(server.accept(named("eager")).unwrap(), 1, |mut incoming| async move {
        incoming.stream.write_all(b"answer").await?;
        incoming.stream.shutdown().await?;
        let mut request = Vec::new();
        incoming.stream.read_to_end(&mut request).await?;
        assert_eq!(request, b"question");
        Ok(())
    });
    let (to, addrs) = at(&server).await;
    let mut stream = client.open(to, addrs, named("eager")).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    serving.await.unwrap();
    drop(stream);
    emptied(&[&server, &client]).await;
}

#[tokio::test]
async fn both_directions_flow_at_the_same_time() {
    /// More than all windows and buffers on the way hold: whoever writes it all before reading would wait for ever.
    const BYTES: usize = 24 << 20;
    let room = Room::new();
    for transport in [Some(TCP), Some(QUIC), None] {
        let (server, client) = (room.net(transport.as_slice()).await, room.net(&[]).await);
        let client = if transport.is_some() { &client } else { &server };
        let serving = serve(server.accept(named("pump")).unwrap(), 1, |incoming| async move {
            let (mut reader, mut writer) = incoming.stream.into_split();
            copy(&mut reader, &mut writer).await?;
            writer.shutdown().await
        });
        let (to, addrs) = at(&server).await;
        let (mut reader, mut writer) = client.open(to, addrs, named("pump")).await.unwrap().into_split();
        let writing = start(async move {
            let block = vec![1; 64 << 10];
            for _ in 0..BYTES / block.len() {
                writer.write_all(&block).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        });
        let mut sink = tokio::io::sink();
        let read = copy(&mut reader, &mut sink);
        assert_eq!(timeout(3 * PATIENCE, read).await.unwrap().unwrap(), BYTES as u64);
        writing.await.unwrap();
        serving.await.unwrap();
        drop(reader);
        emptied(&[&server, client]).await;
    }
}

#[tokio::test]
async fn names_come_and_go_on_an_open_connection() {
    let room = Room::new();
    for transport in [TCP, QUIC] {
        let (server, client) = (room.net(&[transport]).await, room.net(&[]).await);
        let to = at(&server).await;
        let refused = async || client.open(to.0, to.1.clone(), named("late")).await.unwrap_err();
        let error = refused().await;
        assert!(
            matches!(&error, OpenError::NoSuchProtocol { protocol, .. } if *protocol == named("late")),
            "{error:?}"
        );
        for _ in 0..2 {
            let mut incoming = server.accept(named("late")).unwrap();
            let mut stream = client.open(to.0, Vec::new(), named("late")).await.unwrap();
            let served = start(async move { echo(incoming.next().await.unwrap()).await });
            assert_eq!(exchange(&mut stream, b"hi").await.unwrap(), b"hi");
            served.await.unwrap().unwrap();
            let error = refused().await;
            assert!(matches!(error, OpenError::NoSuchProtocol { .. }), "{error:?}");
        }
        assert_eq!(client.peers().await[0].addrs.len(), 1);
        emptied(&[&server, &client]).await;
    }
}

#[tokio::test]
async fn names_are_taken_once_and_limited() {
    let room = Room::new();
    let net = room.net(&[]).await;
    let mut names: Vec<_> = (0..MAX_PUBLISHED).map(|at| net.accept(named(&format!("n{at}"))).unwrap()).collect();
    let call = net.accept(Protocol::Call).unwrap();
    assert_eq!(net.accept(Protocol::Call).err(), Some(AcceptError::Taken { protocol: Protocol::Call }));
    assert_eq!(net.accept(named("n0")).err(), Some(AcceptError::Taken { protocol: named("n0") }));
    assert_eq!(net.accept(named("more")).err(), Some(AcceptError::TooMany));
    drop((names.pop(), call));
    let mut more = net.accept(named("more")).unwrap();
    net.stop().await;
    assert!(more.next().await.is_none());
    assert_eq!(net.accept(Protocol::Call).err(), Some(AcceptError::Stopped));
    let error = net.open(net.peer_id(), Vec::new(), named("more")).await.unwrap_err();
    assert!(matches!(error, OpenError::NoSuchProtocol { .. }), "{error:?}");
    let error = net.open(PeerId::random(), Vec::new(), named("more")).await.unwrap_err();
    assert!(matches!(error, OpenError::Disconnected { .. }), "{error:?}");
}

#[tokio::test]
async fn a_stream_too_many_that_waits_is_refused() {
    const WAITING: usize = 32;
    let room = Room::new();
    let mut config = listening(&[TCP]);
    config.streams.waiting = WAITING;
    let (server, client) = (room.try_start(config).await.unwrap(), room.net(&[]).await);
    let mut incoming = server.accept(named("slow")).unwrap();
    let (to, addrs) = at(&server).await;
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        waiting.push(client.open(to, addrs.clone(), named("slow")).await.unwrap());
    }
    let mut refused = client.open(to, addrs.clone(), named("slow")).await.unwrap();
    // yamux shows a reset to a reader as an end, and to a writer as an error.
    assert!(timeout(PATIENCE, refused.read_u8()).await.unwrap().is_err());
    assert!(refused.write_all(b"anybody?").await.is_err());
    assert_eq!((server.stream_counts().inbound, server.stream_counts().refused_busy), (WAITING, 1));
    drop(refused);
    for stream in &mut waiting {
        let answered = start(echo(incoming.next().await.unwrap()));
        assert_eq!(exchange(stream, b"late").await.unwrap(), b"late");
        answered.await.unwrap().unwrap();
    }
    // Who unpublishes resets what still waits.
    let mut unserved = client.open(to, addrs, named("slow")).await.unwrap();
    drop(incoming);
    assert!(timeout(PATIENCE, unserved.read_u8()).await.unwrap().is_err());
    drop((unserved, waiting));
    emptied(&[&server, &client]).await;
}

#[tokio::test]
async fn who_opens_streams_and_says_nothing_stands_in_nobody_elses_way() {
    let room = Room::new();
    let limits = StreamLimits { inbound_per_peer: 8, ..StreamLimits::default() };
    for transport in [TCP, QUIC] {
        let server = room.try_start(Config { streams: limits, ..listening(&[transport]) }).await.unwrap();
        let (hostile, client) = (room.net(&[]).await, room.net(&[]).await);
        // Takes streams and waits for their requests.
        let serving = serve(server.accept(named("echo")).unwrap(), usize::MAX, echo);
        let (to, addrs) = at(&server).await;
        let open = || hostile.open(to, addrs.clone(), named("echo"));
        let held = join_all((0..40).map(|_| open())).await;
        assert!(held.iter().all(Result::is_ok));
        let counts = async || {
            server.addrs().await;
            server.stream_counts()
        };
        let counts = until(counts, |counts| counts.refused_by_peer == 32).await;
        assert_eq!(counts.inbound, 8);
        for _ in 0..50 {
            assert_eq!(ask(&client, (to, addrs.clone()), named("echo"), b"mine").await, b"mine");
        }
        drop(held);
        until(async || server.stream_counts(), |counts| counts.inbound == 0).await;
        assert_eq!(ask(&hostile, (to, addrs), named("echo"), b"better").await, b"better");
        serving.abort();
        emptied(&[&server, &client, &hostile]).await;
    }
}

#[tokio::test]
async fn own_limits_are_errors() {
    let room = Room::new();
    let limits = StreamLimits { outbound_per_peer: 2, per_node: 3, ..StreamLimits::default() };
    let client = room.try_start(Config { streams: limits, ..Config::default() }).await.unwrap();
    let (one, other) = (room.net(&[TCP]).await, room.net(&[TCP]).await);
    let incoming = (one.accept(Protocol::Call).unwrap(), other.accept(Protocol::Call).unwrap());
    let mut held = Vec::new();
    for (net, places) in [(&one, 2), (&other, 1)] {
        let (to, addrs) = at(net).await;
        for _ in 0..places {
            held.push(client.open(to, addrs.clone(), Protocol::Call).await.unwrap());
        }
        let error = client.open(to, addrs, Protocol::Call).await.unwrap_err();
        assert!(matches!(error, OpenError::Busy { .. }), "{error:?}");
    }
    assert_eq!((client.stream_counts().refused_by_peer, client.stream_counts().refused_by_node), (1, 1));
    drop((held, incoming));
    emptied(&[&one, &other, &client]).await;
}

#[tokio::test]
async fn many_open_at_once_on_a_new_connection() {
    const STREAMS: usize = 60;
    let room = Room::new();
    for transport in [TCP, QUIC] {
        let (server, client) = (room.net(&[transport]).await, room.net(&[]).await);
        let serving = serve(server.accept(Protocol::Call).unwrap(), STREAMS, echo);
        let to = at(&server).await;
        let asked = (0..STREAMS).map(|number| {
            let body = number.to_be_bytes();
            let (to, client) = (to.clone(), &client);
            async move { ask(client, to, Protocol::Call, &body).await == body }
        });
        assert!(join_all(asked).await.into_iter().all(|matched| matched));
        serving.await.unwrap();
        emptied(&[&server, &client]).await;
    }
}

#[tokio::test]
async fn who_cannot_be_reached_is_an_error() {
    let room = Room::new();
    let (client, gone) = (room.net(&[]).await, room.net(&[TCP]).await);
    let (to, addrs) = at(&gone).await;
    gone.stop().await;
    let error = client.open(to, addrs, Protocol::Call).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::Unreachable { source, .. } if matches!(**source, ConnectError::Unreachable { .. })),
        "{error:?}"
    );
    let error = client.open(to, Vec::new(), Protocol::Call).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::Unreachable { source, .. } if matches!(**source, ConnectError::NoAddresses { .. })),
        "{error:?}"
    );
    emptied(&[&client]).await;
}

#[tokio::test]
async fn a_peer_that_vanishes_takes_its_streams_along() {
    let room = Room::new();
    for transport in [TCP, QUIC] {
        let (server, client) = (room.net(&[transport]).await, room.net(&[]).await);
        let mut incoming = server.accept(Protocol::Call).unwrap();
        let (to, addrs) = at(&server).await;
        let mut stream = client.open(to, addrs.clone(), Protocol::Call).await.unwrap();
        let mut other = incoming.next().await.unwrap().stream;
        other.write_all(b"half a").await.unwrap();
        other.flush().await.unwrap();
        let mut half = [0; 6];
        stream.read_exact(&mut half).await.unwrap();
        server.stop().await;
        let ended = timeout(PATIENCE, stream.read_u8()).await.unwrap();
        assert!(ended.is_err());
        let ended = timeout(PATIENCE, other.read_u8()).await.unwrap();
        assert!(ended.is_err());
        let error = client.open(to, addrs, Protocol::Call).await.unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. } | OpenError::Disconnected { .. }), "{error:?}");
        drop((stream, other, incoming));
        emptied(&[&server, &client]).await;
    }
}

#[tokio::test]
async fn an_open_that_is_given_up_leaves_nothing_behind() {
    let room = Room::new();
    let (server, client) = (room.net(&[TCP]).await, room.net(&[]).await);
    let mut incoming = server.accept(Protocol::Call).unwrap();
    let (to, addrs) = at(&server).await;
    client.connect(to, addrs.clone()).await.unwrap();
    for _ in 0..32 {
        let mut opening = Box::pin(client.open(to, addrs.clone(), Protocol::Call));
        assert!(futures::poll!(&mut opening).is_pending());
    }
    until(async || client.addrs().await, |_| client.stream_counts().outbound == 0).await;
    // Those that got through are seen to end, and do not stand in anybody's way.
    let mut stream = client.open(to, addrs, Protocol::Call).await.unwrap();
    let answering = start(async move {
        while let Some(incoming) = incoming.next().await {
            if echo(incoming).await.is_ok() {
                // Only the last one says something.
            }
        }
    });
    assert_eq!(timeout(PATIENCE, exchange(&mut stream, b"x")).await.unwrap().unwrap(), b"x");
    drop(stream);
    answering.abort();
    emptied(&[&server, &client]).await;
}

fn header() -> Header {
    Header { target: Target::Name(Name::new("echo").unwrap()), remaining: None, trace: 1, message: 2 }
}

#[tokio::test]
async fn a_call_is_whole_or_torn_whatever_carries_it() {
    let room = Room::new();
    for transport in [Some(TCP), Some(QUIC), None] {
        let (server, client) = (room.net(transport.as_slice()).await, room.net(&[]).await);
        let client = if transport.is_some() { &client } else { &server };
        let mut incoming = server.accept(Protocol::Call).unwrap();
        let (to, addrs) = at(&server).await;
        for whole in [true, false] {
            let stream = client.open(to, addrs.clone(), Protocol::Call).await.unwrap();
            let accepted = call::accept(incoming.next().await.unwrap().stream);
            let Asked { mut body, mut reply } = call::ask(stream, &header());
            let (accepted, sent) = tokio::join!(accepted, async {
                body.write(b"request").await?;
                body.finish(Ending::Whole).await
            });
            sent.unwrap();
            let Accepted { header: received, body: mut request, reply: mut answer } = accepted.unwrap();
            assert_eq!(received, header());
            let mut read = Vec::new();
            while let Part::Data(data) = request.read().await.unwrap() {
                read.extend_from_slice(data);
            }
            assert_eq!(read, b"request");
            answer.write(b"reply").await.unwrap();
            assert_eq!(reply.read().await.unwrap(), Part::Data(b"reply"));
            if whole {
                answer.finish(Status::Ok).await.unwrap();
                assert_eq!(reply.read().await.unwrap(), Part::End(Status::Ok));
            } else {
                // After the caller's half-close this looks like EOF on every transport.
                drop((request, answer));
                let error = timeout(PATIENCE, reply.read()).await.unwrap().unwrap_err();
                assert!(matches!(error, ReadError::Torn | ReadError::Io(_)), "{error:?}");
            }
        }
        // And so does the end of the peer.
        let stream = client.open(to, addrs, Protocol::Call).await.unwrap();
        let Asked { body, mut reply } = call::ask(stream, &header());
        body.finish(Ending::Whole).await.unwrap();
        let mut accepted = call::accept(incoming.next().await.unwrap().stream).await.unwrap();
        accepted.reply.write(b"half").await.unwrap();
        assert_eq!(reply.read().await.unwrap(), Part::Data(b"half"));
        if transport.is_some() {
            server.stop().await;
            let error = timeout(PATIENCE, reply.read()).await.unwrap().unwrap_err();
            assert!(matches!(error, ReadError::Torn | ReadError::Io(_)), "{error:?}");
        }
        drop((accepted, reply));
        emptied(&[&server, client]).await;
    }
}

#[tokio::test]
async fn a_peer_that_never_agrees_on_a_protocol_is_given_up() {
    let open_timeout = Duration::from_millis(50);
    let room = Room::new();
    let client = room.try_start(Config { open_timeout, ..Config::default() }).await.unwrap();
    let key = Keypair::generate_ed25519();
    let mut transport = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(upgrade::Version::V1)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    transport.listen_on(ListenerId::next(), TCP.parse().unwrap()).unwrap();
    let TransportEvent::NewAddress { listen_addr, .. } = transport.select_next_some().await else { panic!() };
    // Secures the connection, and then does nothing with it.
    let silence = async {
        loop {
            if let TransportEvent::Incoming { upgrade, .. } = transport.select_next_some().await {
                return upgrade.await.unwrap();
            }
        }
    };
    let opening = client.open(key.public().to_peer_id(), vec![listen_addr], Protocol::Call);
    let (_muxer, opened) = tokio::join!(silence, opening);
    let error = opened.unwrap_err();
    assert!(matches!(error, OpenError::Timeout { after, .. } if after == open_timeout), "{error:?}");
    emptied(&[&client]).await;
}

#[tokio::test]
async fn the_limit_of_a_peer_does_not_end_its_connection() {
    const OPENED: usize = 600;
    let room = Room::new();
    let more = StreamLimits { outbound_per_peer: OPENED, ..StreamLimits::default() };
    let served = StreamLimits { strangers: OPENED, per_address: OPENED, ..StreamLimits::default() };
    for transport in [TCP, QUIC] {
        let server = room.try_start(Config { streams: served, ..listening(&[transport]) }).await.unwrap();
        let client = room.try_start(Config { streams: more, ..Config::default() }).await.unwrap();
        let serving = serve(server.accept(named("echo")).unwrap(), usize::MAX, echo);
        let (to, addrs) = at(&server).await;
        let mut held = Vec::new();
        for _ in 0..OPENED {
            held.push(client.open(to, addrs.clone(), named("echo")).await.unwrap());
        }
        let limit = StreamLimits::default().inbound_per_peer;
        let counts = async || {
            server.addrs().await;
            server.stream_counts()
        };
        let counts = until(counts, |counts| counts.refused_by_peer == (OPENED - limit) as u64).await;
        assert_eq!(counts.inbound, limit);
        assert_eq!(exchange(&mut held[0], b"alive").await.unwrap(), b"alive");
        assert_eq!(client.peers().await[0].addrs.len(), 1);
        drop(held);
        serving.abort();
        emptied(&[&server, &client]).await;
    }
}

#[tokio::test]
async fn a_call_that_finds_no_place_is_told_that_it_is_busy() {
    let room = Room::new();
    for transport in [TCP, QUIC] {
        let mut config = listening(&[transport]);
        (config.streams.waiting, config.streams.inbound_per_peer) = (1, 2);
        let server = room.try_start(config).await.unwrap();
        let client = room.net(&[]).await;
        let mut incoming = server.accept(Protocol::Call).unwrap();
        let (to, addrs) = at(&server).await;
        let header = Header { target: Target::Cell(CellId::new(1)), remaining: None, trace: 0, message: 0 };
        let call = async || call::ask(client.open(to, addrs.clone(), Protocol::Call).await.unwrap(), &header);
        let waiting = call().await;
        // The second waits as well once the first was taken; until then there is no room, and afterwards no place.
        let mut accepted = Vec::new();
        let mut held = vec![waiting];
        for taken in [false, true] {
            if taken {
                accepted.push(incoming.next().await.unwrap());
                held.push(call().await);
            }
            let mut refused = call().await;
            let status = timeout(PATIENCE, refused.reply.read()).await.unwrap().unwrap();
            let busy = |status: &Status| matches!(status, Status::Refused { reason: Reason::Busy, .. });
            assert!(matches!(&status, Part::End(status) if busy(status)), "{status:?}");
        }
        let counts = server.stream_counts();
        assert_eq!((counts.refused_busy, counts.refused_by_peer), (1, 1));
        drop((accepted, incoming, held));
        emptied(&[&server, &client]).await;
        server.stop().await;
        client.stop().await;
    }
}

#[tokio::test]
async fn a_name_for_some_is_no_name_for_others() {
    let room = Room::new();
    for transport in [TCP, QUIC] {
        let server = room.net(&[transport]).await;
        let (friend, stranger) = (room.net(&[]).await, room.net(&[]).await);
        let (to, addrs) = at(&server).await;
        // Connections that are open already learn of it, each what it may know.
        for client in [&friend, &stranger] {
            client.connect(to, addrs.clone()).await.unwrap();
        }
        let audience = [friend.peer_id()].into_iter().collect::<Audience>();
        let mut incoming = server.accept_from(audience, named("club")).unwrap();
        let _public = server.accept(named("public")).unwrap();
        for name in ["club", "nobody"] {
            for outsider in [&stranger, &server] {
                let error = outsider.open(to, addrs.clone(), named(name)).await.unwrap_err();
                assert!(matches!(error, OpenError::NoSuchProtocol { .. }), "{error:?}");
            }
        }
        stranger.open(to, addrs.clone(), named("public")).await.unwrap();
        let mut stream = friend.open(to, addrs, named("club")).await.unwrap();
        let answered = start(echo(incoming.next().await.unwrap()));
        assert_eq!(exchange(&mut stream, b"hello").await.unwrap(), b"hello");
        answered.await.unwrap().unwrap();
        for net in [&server, &friend, &stranger] {
            net.stop().await;
        }
    }
}
