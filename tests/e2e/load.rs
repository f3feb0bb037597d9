//! Many messages, large ones, and replies that break off.

use std::{sync::Arc, time::Instant};

use futures::future::join_all;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    task::JoinSet,
};
use ww::{Audience, Boot, Config, Node, Serving, cell::Mode};
use ww_core::Name;
use ww_net::call::{Asked, Ending, Part, ReadError, Status};

use crate::{
    client::{Client, platform, soon},
    harness::shared_cache,
    image::Image,
    server::{Server, serve, serve_with},
};

/// What the issue calls a large body.
const LARGE: usize = 100_000_000;

/// Byte `at` of a body that no two places of share their neighbourhood.
fn byte(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Bytes of a body, from a place on.
fn body(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

/// Sends messages of many sizes to the cell `echo`, as calls and as raw streams by turns, and checks every reply.
async fn exchange(client: &Client, messages: usize, in_flight: usize) {
    let room = Arc::new(Semaphore::new(in_flight));
    let mut sending = JoinSet::new();
    for number in 0..messages {
        let permit = Arc::clone(&room).acquire_owned().await.expect("open");
        let client = client.clone();
        sending.spawn(async move {
            let message = format!("message {number} {}", "x".repeat(number % 1_000));
            if number % 2 == 0 {
                assert_eq!(client.send_raw("echo", message.as_bytes()).await, message.as_bytes());
            } else {
                let (reply, status) = client.call("echo", message.as_bytes()).await;
                assert!(reply == message.as_bytes() && matches!(status, Ok(Status::Ok)), "{number}: {status:?}");
            }
            drop(permit);
        });
        // What has failed is not found out at the end only.
        while let Some(sent) = sending.try_join_next() {
            sent.expect("answered");
        }
    }
    while let Some(sent) = sending.join_next().await {
        sent.expect("answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_with_48_in_flight_are_each_answered_with_their_own_reply() {
    let platform = platform();
    let image = Image::of("echo");
    let server = serve(&image, "echo", &["--async"]);
    for place in server.places() {
        let client = Client::new(&platform, place).await;
        exchange(&client, 10_000, 48).await;
        client.net.stop().await;
    }
    server.stop().expect(143, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_with_200_in_flight_over_four_cells_are_too() {
    let platform = platform();
    let image = Image::of("echo");
    let servers: Vec<Server<'_>> = (0..4).map(|_| serve(&image, "echo", &["--async"])).collect();
    let exchanges = servers.iter().enumerate().map(async |(at, server)| {
        // Two over each transport.
        let client = Client::new(&platform, server.places().nth(at % 2).expect("a place")).await;
        exchange(&client, 2_500, 50).await;
        client.net.stop().await;
    });
    join_all(exchanges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_64_kib_come_back_whole_over_both_transports() {
    let platform = platform();
    let image = Image::of("echo");
    for options in [&["--async"][..], &[]] {
        let server = serve(&image, "echo", options);
        for place in server.places() {
            let client = Client::new(&platform, place).await;
            for len in [64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1] {
                let message = body(len, len);
                assert!(client.send_raw("echo", &message).await == message, "{len}");
                let (reply, status) = client.call("echo", &message).await;
                assert!(reply == message && matches!(status, Ok(Status::Ok)), "{len}: {status:?}");
            }
            client.net.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_100_mb_comes_back_whole_while_it_is_sent() {
    let platform = platform();
    let image = Image::of("echo");
    let server = serve(&image, "echo", &["--async"]);
    let began = Instant::now();
    let client = Client::new(&platform, server.places().next().expect("a place")).await;
    let Asked { body: mut request, mut reply } = client.open_call("echo", None).await;
    let sending = async move {
        const CHUNK: usize = 64 * 1024;
        for at in (0..LARGE).step_by(CHUNK) {
            request.write(&body(at, CHUNK.min(LARGE - at))).await.expect("open");
        }
        request.finish(Ending::Whole).await.expect("open");
    };
    let receiving = async move {
        let mut received = 0;
        loop {
            match reply.read().await.expect("a reply") {
                Part::Data(bytes) => {
                    assert!(bytes.iter().copied().eq((received..received + bytes.len()).map(byte)), "at {received}");
                    received += bytes.len();
                }
                Part::End(status) => return (received, status),
            }
        }
    };
    let ((), ended) = soon(async { tokio::join!(sending, receiving) }).await;
    assert_eq!(ended, (LARGE, Status::Ok));
    println!("100 MB there and back in {:?}", began.elapsed());
    client.net.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_half_closes_at_once_still_gets_100_mb() {
    let platform = platform();
    let image = Image::of("exits").manifest("[limits]\ndeadline = '10m'\n");
    let server = serve_with(&image, "exits", |ww| ww.guest_args(&["flood", "100000000"]));
    let client = Client::new(&platform, server.places().next().expect("a place")).await;
    let mut stream = client.open_raw("exits").await.expect("published");
    let received = soon(async {
        stream.shutdown().await.expect("open");
        let (mut received, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            match stream.read(&mut buffer).await.expect("a reply") {
                0 => return received,
                read => received += read,
            }
        }
    })
    .await;
    assert_eq!(received, LARGE);
    client.net.stop().await;
}

/// Reads until the reply ends, however it does.
async fn drain(asked: &mut Asked<ww_net::Stream>) -> Result<Status, ReadError> {
    loop {
        if let Part::End(status) = asked.reply.read().await? {
            return Ok(status);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_its_node_does_not_finish_is_torn() {
    let platform = platform();
    let image = Image::of("echo");
    let server = serve(&image, "echo", &["--async"]);
    let mut clients = Vec::new();
    for place in server.places() {
        clients.push(Client::new(&platform, place).await);
    }
    // Of the two, the second has only begun, so that it waits for the first: each has a node of its own.
    let other = serve(&image, "echo", &["--async"]);
    clients[1] = Client::new(&platform, other.places().nth(1).expect("a place")).await;
    let mut calls = vec![clients[0].begin_call("echo").await, clients[1].begin_call("echo").await];
    server.running.signal(Signal::KILL);
    other.running.signal(Signal::KILL);
    for asked in &mut calls {
        let ended = soon(drain(asked)).await;
        assert!(matches!(ended, Err(ReadError::Torn | ReadError::Io(_))), "{ended:?}");
    }
    for client in clients {
        client.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_of_a_cell_that_is_ended_says_so() {
    let platform = platform();
    let image = Image::of("echo");
    // Told to stop, the node gives the cell a moment, and then ends it.
    let server = serve_with(&image, "echo", |ww| ww.args(["--async"]).config("drain = \"200ms\"\n"));
    let client = Client::new(&platform, server.places().next().expect("a place")).await;
    let mut asked = client.begin_call("echo").await;
    server.stop().expect(143, "");
    let ended = soon(drain(&mut asked)).await;
    // The status, unless the connection was closed before it had left.
    assert!(matches!(ended, Ok(Status::Exit { code: 143, .. }) | Err(ReadError::Torn | ReadError::Io(_))), "{ended:?}");
    client.net.stop().await;

    let mut config = Config::default();
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    (config.identity, config.cache) = (None, Some(shared_cache()));
    let node = Node::start(config, tokio::runtime::Handle::current()).await.expect("a node");
    let loaded = node.load(image.path().to_str().expect("UTF-8")).await.expect("an image");
    let process = node.serve(loaded, Boot::default(), Serving::new(Mode::Async)).await.expect("a cell");
    let name = Name::new("echo").expect("a name");
    let published = node.publish(name, process.cell(), Audience::All).expect("a free name");
    let place = (node.net().peer_id(), node.net().addrs().await.remove(0));
    let client = Client::new(&platform, place).await;
    let mut asked = client.begin_call("echo").await;
    process.kill().await;
    let ended = soon(drain(&mut asked)).await;
    assert!(matches!(&ended, Ok(Status::Exit { code: 137, reason }) if reason == "killed"), "{ended:?}");
    drop(published);
    client.net.stop().await;
    node.stop().await;
}
