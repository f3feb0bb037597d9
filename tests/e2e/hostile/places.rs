//! Places at a published cell: how many there are, who gets them, and who loses them.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ww_net::{
    Identity, Protocol, Stream,
    call::{Asked, Ending, Part, Reason, Status},
};

use super::streams::raw;
use crate::{
    client::{Client, platform, soon},
    image::Image,
    server::{self, Server, serve_with},
};

/// How long the node has patience with a silent peer, in its configuration: the cell has one message after the other, and each
/// of ten lasts as long.
const PATIENCE: Duration = Duration::from_secs(1);

fn serve<'image>(image: &'image Image, options: &[&str]) -> Server<'image> {
    let config = format!("peer-timeout = \"{}ms\"\n", PATIENCE.as_millis());
    serve_with(image, "echo", |ww| ww.args(options).config(&config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_say_nothing_or_stop_in_the_middle_are_ended() {
    let platform = platform();
    let image = Image::of("echo");
    let server = serve(&image, &["--async"]);
    for place in server.places() {
        let client = Client::new(&platform, place).await;
        for protocol in [raw("echo"), Protocol::Call] {
            for beginning in [&b""[..], b"\x01"] {
                let mut stream = client.open(protocol.clone()).await.expect("published");
                stream.write_all(beginning).await.expect("open");
                stream.flush().await.expect("open");
                let mut reply = Vec::new();
                soon(stream.read_to_end(&mut reply)).await.unwrap_or_default();
                let echoed = if protocol == raw("echo") { beginning } else { b"" };
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
