//! Guests that send messages to cells: of another node, through `Host.dial`, and of their own.

use tokio::runtime::Handle;
use ww::{
    Audience, Boot, Config, Node, Serving,
    cell::{Mode, Stderr, Stdio, pipe},
};

use crate::{
    harness::{Ended, Running, Ww},
    image::{Image, example},
    server::serve,
};

/// The program that sends there what it reads.
fn client<'image>(image: &'image Image, to: &str) -> Ww<'image> {
    Ww::run(image).guest_args(&[to])
}

#[test]
fn one_component_is_server_and_client_over_both_transports_in_both_modes() {
    let image = Image::of("echo");
    for options in [&["--async"][..], &[]] {
        let server = serve(&image, "echo", options);
        for target in server.targets() {
            client(&image, &target).stdin("").end().expect(0, "");
            let long = "0123456789abcdef\n".repeat(100_000);
            client(&image, &target).stdin(&*long).end().expect(0, &long);
        }
        server.stop().expect(143, "");
    }
}

#[test]
fn a_guest_sends_while_it_receives() {
    let image = Image::of("echo");
    let server = serve(&image, "echo", &["--async"]);
    let mut client: Running<'_> = client(&image, &server.target()).open_stdin().start();
    for line in ["one\n", "two\n", "three\n"] {
        client.type_in(line);
        client.wait_for_stdout(line);
    }
    client.close_stdin();
    client.end().expect(0, "one\ntwo\nthree\n");
}

#[test]
fn a_guest_learns_what_became_of_its_message() {
    let (echo, actor) = (Image::of("echo"), Image::of("actor").manifest("[cell]\nrestart = \"temporary\"\n"));
    let server = serve(&actor, "actor", &["--async"]);
    let send = |to: &str, message: &str| -> Ended { client(&echo, to).stdin(message).end() };
    let target = server.target();
    send(&target, "count\n").expect(0, "1");
    // A cell that answers before it has read everything.
    let early = format!("early\n{}", "x".repeat(1 << 20));
    send(&target, &early).expect(0, "early");
    send(&target, "error\nnot today").expect(1, "").expect_stderr(&["the cell could not answer: not today"]);
    let nobody = target.replace("/actor", "/nobody");
    send(&nobody, "hello").expect(69, "").expect_stderr(&["no-such-cell: there is no such cell"]);
    send("nonsense/actor", "hello").expect(1, "").expect_stderr(&["/p2p/<peer id>/<name>"]);
    send("actor", "hello").expect(69, "").expect_stderr(&["no-such-cell"]);
    // A port on which nobody listens.
    let closed = target.replacen(target.split('/').nth(4).expect("a port"), "1", 1);
    send(&closed, "hello").expect(1, "").expect_stderr(&["cannot reach the peer"]);
    send(&target, "torn\n")
        .expect(134, "half a li")
        .expect_stderr(&["ended before it had answered: trap(unreachable)"]);
    server.running.end().expect(134, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_reaches_the_cells_of_its_own_node_by_name_without_a_stream() {
    let mut config = Config::default();
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    (config.identity, config.cache) = (None, Some(crate::harness::shared_cache()));
    let node = Node::start(config, Handle::current()).await.expect("a node");
    let image = node.load(Image::of("actor").path().to_str().expect("UTF-8")).await.expect("an image");
    let process = node.serve(image, Boot::default(), Serving::new(Mode::Async)).await.expect("a cell");
    let published = node.publish("actor".parse().expect("a name"), process.cell(), Audience::All).expect("a free name");
    let own = format!("/p2p/{}/actor", node.net().peer_id());
    for (to, reply) in [("actor", "1"), (&*own, "2")] {
        let image = node.load(example("echo").to_str().expect("UTF-8")).await.expect("an image");
        let (stdin, guest_stdin) = pipe::pipe(pipe::CAPACITY);
        let (guest_stdout, stdout) = pipe::pipe(pipe::CAPACITY);
        let stderr = Stderr::Pipe(pipe::Writer::discarding().into());
        let stdio = Stdio { stdin: guest_stdin.into(), stdout: guest_stdout.into(), stderr };
        let boot = Boot { args: vec![to.to_owned()], ..Boot::default() };
        let client = node.boot(image, boot, stdio).await.expect("a cell");
        stdin.write_all(b"count\n").await.expect("open");
        stdin.close();
        let mut output = Vec::new();
        while let Some(bytes) = stdout.read(usize::MAX).await.ok().filter(|bytes| !bytes.is_empty()) {
            output.extend_from_slice(&bytes);
        }
        assert_eq!((client.exit().wait().await.code(), output.as_slice()), (0, reply.as_bytes()));
    }
    let counts = node.net().stream_counts();
    assert_eq!((counts.inbound, counts.outbound), (0, 0));
    drop((published, process));
    node.stop().await;
}
