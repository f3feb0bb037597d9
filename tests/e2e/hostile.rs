//! Peers that mean no good: the node's memory stays bounded, and everybody else is served.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};
use ww_net::{
    Identity, Protocol, Stream,
    call::{Asked, Ending, Part, Reason, Status},
};

use crate::{
    client::{Client, platform, soon},
    image::Image,
    server::{self, Server, serve_with},
};

/// How long the node has patience with a silent peer, in its configuration: longer than a busy machine is silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// Streams that a hostile peer opens: as many as it may have.
const STREAMS: usize = 512;

/// Most memory that one hostile peer may cost: what its streams may hold that nobody reads, and as much again.
const MEMORY: u64 = 2 * STREAMS as u64 * (256 + 64) * 1024;

/// Messages that an honest peer sends meanwhile, in each way.
const MESSAGES: usize = 20;

/// How long they may take: the cell is lost to a hostile peer for the node's patience, or most of its own deadline, now and
/// then, and machines are busy.
const IN_TIME: Duration = Duration::from_secs(120);

fn serve<'image>(image: &'image Image, options: &[&str]) -> Server<'image> {
    let config = format!("peer-timeout = \"{}ms\"\n", PATIENCE.as_millis());
    serve_with(image, "echo", |ww| ww.args(options).config(&config))
}

/// Opens as many streams as there may be, and does with each what is hostile; again when it has ended.
fn attack<F>(client: &Client, protocol: &Protocol, hostile: fn(Stream) -> F) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut attackers = JoinSet::new();
    for _ in 0..STREAMS / 2 {
        let (client, protocol) = (client.clone(), protocol.clone());
        attackers.spawn(async move {
            loop {
                // Too many at once are refused, at either end.
                if let Ok(stream) = client.open(protocol.clone()).await {
                    hostile(stream).await;
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
    attackers
}

/// Says nothing until the node has had enough.
async fn silent(mut stream: Stream) {
    soon(stream.read_to_end(&mut Vec::new())).await.unwrap_or_default();
}

/// Says a little now and then.
async fn slow(mut stream: Stream) {
    while stream.write_all(b".").await.is_ok() && stream.flush().await.is_ok() {
        sleep(PATIENCE / 4).await;
    }
}

/// Sends what will be sent back, and takes nothing of it.
async fn deaf(mut stream: Stream) {
    for _ in 0..32 {
        if soon(stream.write_all(&[b'x'; 64 * 1024])).await.is_err() {
            return;
        }
    }
    stream.shutdown().await.unwrap_or_default();
    sleep(2 * PATIENCE).await;
}

/// Sends whatever comes to its mind, without end.
async fn babbling(mut stream: Stream) {
    let mut noise = vec![0; 16 * 1024];
    let mut state = 1_u64;
    loop {
        for byte in &mut noise {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        if soon(stream.write_all(&noise)).await.is_err() {
            return;
        }
    }
}

/// Sends without end, and takes what comes back.
async fn endless(stream: Stream) {
    let (mut reply, request) = stream.into_split();
    let taking = async {
        let mut buffer = vec![0; 64 * 1024];
        while reply.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    let sending = async {
        let mut request = request;
        while request.write_all(&[b'\n'; 16 * 1024]).await.is_ok() {}
    };
    // When the reply has ended, so has the message.
    tokio::select! {
        () = taking => {}
        () = sending => {}
    }
}

/// An honest peer is served, in both ways, while a hostile one does its worst in each way.
async fn withstands<F>(options: &[&str], messages: usize, protocols: &[Protocol], hostile: fn(Stream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let platform = platform();
    // A cell that is kept busy for longer ends.
    let image = Image::of("echo").manifest("[limits]\ndeadline = '2s'\n");
    let server = serve(&image, options);
    let place = server.places().next().expect("a place");
    let honest = Client::new(&platform, place.clone()).await;
    assert_eq!(honest.send_raw("echo", b"before").await, b"before");
    let before = server.running.memory();
    for protocol in protocols {
        let enemy = Client::new(&platform, place.clone()).await;
        let mut attackers = attack(&enemy, protocol, hostile);
        while enemy.net.stream_counts().outbound < STREAMS / 4 {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        let mut largest = before;
        for number in 0..messages {
            let message = format!("message {number}");
            assert_eq!(honest.send_raw("echo", message.as_bytes()).await, message.as_bytes());
            let (reply, status) = honest.call("echo", message.as_bytes()).await;
            assert!(reply == message.as_bytes() && matches!(status, Ok(Status::Ok)), "{status:?}");
            largest = largest.max(server.running.memory());
            // Not so fast that all are served before the worst has begun.
            sleep(PATIENCE / 8).await;
        }
        assert!(began.elapsed() < IN_TIME, "{:?} for {messages} messages", began.elapsed());
        let grown = largest - before;
        assert!(grown < MEMORY, "{} MiB more memory", grown >> 20);
        println!("{protocol}: {messages} messages in {:?}, {} MiB more memory", began.elapsed(), grown >> 20);
        attackers.shutdown().await;
        enemy.net.stop().await;
    }
    assert_eq!(honest.send_raw("echo", b"after").await, b"after");
    honest.net.stop().await;
    server.stop().expect(143, "");
}

fn echo() -> Protocol {
    Protocol::from(ww_core::Name::new("echo").expect("a name"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_say_nothing_or_stop_in_the_middle_are_ended() {
    let platform = platform();
    let image = Image::of("echo");
    let server = serve(&image, &["--async"]);
    for place in server.places() {
        let client = Client::new(&platform, place).await;
        for protocol in [echo(), Protocol::Call] {
            for beginning in [&b""[..], b"\x01"] {
                let mut stream = client.open(protocol.clone()).await.expect("published");
                stream.write_all(beginning).await.expect("open");
                stream.flush().await.expect("open");
                let mut reply = Vec::new();
                soon(stream.read_to_end(&mut reply)).await.unwrap_or_default();
                let echoed = if protocol == echo() { beginning } else { b"" };
                // The guest answers what it got; nobody told it that this is all.
                assert!(reply.is_empty() || reply == echoed, "{protocol}: {reply:?}");
            }
        }
        // A call whose body stops is told why.
        let mut asked = client.begin_call("echo").await;
        let ended = soon(asked.reply.read()).await.expect("a status");
        assert!(matches!(ended, Part::End(Status::Guest(_))), "{ended:?}");
        client.net.stop().await;
    }
    server.stop().expect(143, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_say_nothing_harm_nobody() {
    withstands(&["--async"], MESSAGES, &[echo(), Protocol::Call], silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_say_a_little_now_and_then_harm_nobody() {
    withstands(&["--async"], MESSAGES, &[echo(), Protocol::Call], slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_do_not_listen_harm_nobody() {
    withstands(&[], MESSAGES / 4, &[echo()], deaf).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_without_end_harm_nobody() {
    withstands(&["--async"], MESSAGES / 4, &[echo()], endless).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_babble_harm_nobody() {
    withstands(&[], MESSAGES / 4, &[echo(), Protocol::Call], babbling).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_none_harm_nobody() {
    const CONNECTIONS: usize = 200;
    let platform = platform();
    let image = Image::of("echo");
    let server = serve(&image, &["--async"]);
    let addr = server.addrs[0].split('/').collect::<Vec<_>>();
    let mut attackers = JoinSet::new();
    let to = format!("{}:{}", addr[2], addr[4]);
    for number in 0..CONNECTIONS {
        let to = to.clone();
        attackers.spawn(async move {
            let Ok(mut stream) = TcpStream::connect(to).await else { return };
            // Half of them say nothing.
            while number % 2 == 0 && stream.write_all(&[b'x'; 4 * 1024]).await.is_ok() {}
            stream.read_to_end(&mut Vec::new()).await.map(drop).unwrap_or_default();
        });
    }
    let honest = Client::new(&platform, server.places().nth(1).expect("a place")).await;
    for _ in 0..MESSAGES {
        assert_eq!(honest.send_raw("echo", b"hello").await, b"hello");
    }
    attackers.shutdown().await;
    honest.net.stop().await;
    server.stop().expect(143, "");
}

/// Whether a cell answers a call in its time.
async fn answered(Asked { mut body, mut reply }: Asked<Stream>) -> bool {
    body.write(b"echo\nhello").await.expect("open");
    body.finish(Ending::Whole).await.expect("open");
    matches!(soon(reply.read()).await, Ok(Part::Data(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_64_messages_wait_for_a_cell_and_the_next_is_told() {
    const WAITING: usize = 64;
    let platform = platform();
    let image = Image::of("actor");
    // A stranger may not have as many streams.
    let identity = Identity::ephemeral();
    let config = format!("[[rpc.peers]]\nid = \"{}\"\n", identity.peer_id());
    let server = serve_with(&image, "actor", |ww| ww.args(["--async"]).config(&config));
    let client = Client::with(&platform, server.places().next().expect("a place"), identity).await;
    let Asked { mut body, mut reply } = client.open_call("actor", None).await;
    body.write(b"sleep 3000\n").await.expect("open");
    body.finish(Ending::Whole).await.expect("open");
    // Until it is that one's turn.
    while answered(client.open_call("actor", Some(Duration::from_millis(100))).await).await {}
    let mut calls: FuturesUnordered<_> = (0..WAITING + 3).map(|_| client.call("actor", b"echo\nhello")).collect();
    for _ in 0..3 {
        let (_, status) = calls.next().await.expect("more than wait");
        assert!(matches!(status, Ok(Status::Refused { reason: Reason::Busy, .. })), "{status:?}");
    }
    // Somebody else is not kept out.
    let other = Client::new(&platform, server.places().nth(1).expect("a place")).await;
    let others = async { assert!(matches!(other.call("actor", b"echo\nhello").await.1, Ok(Status::Ok))) };
    let rest = async {
        assert_eq!(soon(reply.read()).await.expect("a reply"), Part::Data(b"slept"));
        while let Some((reply, status)) = calls.next().await {
            assert!(reply == b"hello" && matches!(status, Ok(Status::Ok)), "{status:?}");
        }
    };
    tokio::join!(others, rest);
    other.net.stop().await;
    client.net.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_messages_end_the_cell_is_kept_out_and_nobody_else() {
    /// More than any supervisor bears by default within five seconds.
    const POISON: usize = 6;
    let platform = platform();
    let image = Image::of("actor");
    let server = server::serve(&image, "actor", &["--async"]);
    let place = server.places().next().expect("a place");
    let (enemy, honest) = (Client::new(&platform, place.clone()).await, Client::new(&platform, place).await);
    let count = async || honest.call("actor", b"count\n").await;
    assert!(matches!(count().await, (reply, Ok(Status::Ok)) if reply == b"1"));
    let (mut ended, mut refused) = (0, 0);
    while ended < POISON {
        match enemy.call("actor", b"trap\n").await.1 {
            Ok(Status::Exit { code: 134, .. }) => {
                ended += 1;
                // Everybody else has a new incarnation at once, which has seen nothing yet.
                let answered = count().await;
                assert!(matches!(&answered, (reply, Ok(Status::Ok)) if reply == b"1"), "{answered:?}");
            }
            Ok(Status::Refused { reason: Reason::Busy, .. }) => refused += 1,
            other => panic!("not to be expected: {other:?}"),
        }
    }
    assert!(refused > 0, "it was kept out between its messages");
    assert!(matches!(count().await, (reply, Ok(Status::Ok)) if reply == b"2"), "the cell lives on");
    server.stop().expect(143, "");
    for client in [enemy, honest] {
        client.net.stop().await;
    }
}
