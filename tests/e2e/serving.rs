//! Cells that peers send messages to, from another process: over TCP and QUIC, in both modes.

use std::sync::Arc;

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
    task::JoinSet,
};
use ww_core::{Name, Platform};
use ww_net::{Config, Identity, Net, Protocol};

use crate::{harness::Ww, image::Image, server::serve};

#[test]
fn one_component_echoes_to_peers_in_both_modes() {
    let image = Image::of("echo");
    for options in [&["--async"][..], &[]] {
        let server = serve(&image, "echo", options);
        for target in server.targets() {
            for framing in [&[][..], &["--raw"]] {
                let send = |rest: &[&str]| Ww::new(["send", &*target]).args(framing).args(rest);
                send(&["hello"]).end().expect(0, "hello");
                send(&[""]).end().expect(0, "");
                let long = "0123456789abcdef\n".repeat(100_000);
                send(&[]).stdin(&*long).end().expect(0, &long);
            }
        }
        server.stop().expect(143, "");
    }
}

#[test]
fn a_call_tells_what_became_of_the_message() {
    let image = Image::of("actor").manifest("[cell]\nasync = true\npublish = true\nrestart = \"temporary\"\n");
    let server = serve(&image, "actor", &[]);
    for count in ["1", "2", "3"] {
        server.send("count\n").expect(0, count);
    }
    server.send("error\nnot today").expect(1, "").expect_stderr(&["the cell could not answer: not today"]);
    let target = server.targets().next().expect("an address");
    let late = Ww::new(["send", "--deadline", "300", &*target, "sleep 1500\n"]).end();
    late.expect(69, "");
    // Both ends run out of time at the same moment, and either may say so first.
    let said = ["no whole reply within 300ms", "the deadline of the message has passed"];
    assert!(said.iter().any(|said| late.stderr.contains(said)), "{late}");
    server.send("count\n").expect(0, "6");
    server.send("torn\n").expect(134, "half a li").expect_stderr(&["ended before it had answered: trap(unreachable)"]);
    server.running.end().expect(134, "").expect_stderr(&["not today", "actor ended: trap(unreachable)"]);
}

#[test]
fn no_number_of_messages_that_end_a_cell_end_it_for_good() {
    let image = Image::of("actor");
    let server = serve(&image, "actor", &["--async"]);
    server.send("count\n").expect(0, "1");
    for bad in ["trap\n", "panic\n", "exit 7\n", "exit 0\n", "trap\n", "trap\n"] {
        let ended = server.send(bad).code;
        assert!([134, 7, 1].contains(&ended), "{bad}: {ended}");
    }
    server.send("count\n").expect(0, "1");
    server.stop().expect(143, "");
}

#[test]
fn a_raw_reply_of_a_failed_message_is_empty_and_never_torn() {
    let image = Image::of("actor").manifest("[cell]\nrestart = \"temporary\"\n");
    let server = serve(&image, "actor", &["--async"]);
    let target = server.targets().next().expect("an address");
    let send = |message: &str| Ww::new(["send", "--raw", &*target, message]).end();
    send("error\nnot today").expect(0, "");
    send("count\n").expect(0, "2");
    send("torn\n").expect(0, "");
    server.running.end().expect(134, "");
}

#[test]
fn a_name_that_is_not_published_and_a_mode_that_is_not_exported_are_refused() {
    let image = Image::of("echo");
    let server = serve(&image, "echo", &["--async"]);
    let target = server.targets().next().expect("an address").replace("/echo", "/nobody");
    Ww::new(["send", &*target, "hello"]).end().expect(69, "").expect_stderr(&["refused (NoSuchCell)"]);
    let raw = Ww::new(["send", "--raw", &*target, "hello"]).end();
    raw.expect(69, "").expect_stderr(&["does not accept /ww/0.1.0/nobody"]);
    Ww::new(["send", "x/echo", "hello"]).end().expect(64, "").expect_stderr(&["/p2p/<peer id>/<name>"]);
    Ww::new(["send", "--raw", "echo", "hello"]).end().expect(64, "").expect_stderr(&["/p2p/<peer id>/<name>"]);

    let no_poll = Image::of("exits");
    Ww::run(&no_poll).args(["--async"]).end().expect(126, "").expect_stderr(&["Async", "main (wasi:cli/run"]);
    let no_main = Image::of("actor");
    Ww::run(&no_main).args(["--publish"]).end().expect(126, "").expect_stderr(&["Sync", "poll (wetware:cell/actor)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_at_once_are_each_answered_with_their_own_reply() {
    const MESSAGES: usize = 1_000;
    const IN_FLIGHT: usize = 32;
    let image = Image::of("echo");
    let server = serve(&image, "echo", &["--async"]);
    let platform = Platform::start(Handle::current()).expect("threads");
    for (peer, addr) in server.places() {
        let net = Net::start(Config::default(), Identity::ephemeral(), &platform.arbiter().expect("a thread starts"))
            .await
            .expect("a network");
        let room = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
        let mut sending = JoinSet::new();
        for number in 0..MESSAGES {
            let permit = Arc::clone(&room).acquire_owned().await.expect("open");
            let (net, addr) = (net.clone(), addr.clone());
            sending.spawn(async move {
                let message = format!("message {number}");
                let protocol = Protocol::from(Name::new("echo").expect("a name"));
                let mut stream = net.open(peer, vec![addr], protocol).await.expect("published");
                stream.write_all(message.as_bytes()).await.expect("open");
                stream.shutdown().await.expect("open");
                let mut reply = String::new();
                stream.read_to_string(&mut reply).await.expect("a reply");
                assert_eq!(reply, message);
                drop(permit);
            });
        }
        while let Some(sent) = sending.join_next().await {
            sent.expect("answered");
        }
        net.stop().await;
    }
    server.running.signal(Signal::INT);
    server.running.end().expect(130, "");
}
