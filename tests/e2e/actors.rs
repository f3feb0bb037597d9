//! Guests as actors, through the library: one live instance with Rust's standard library inside it, message after
//! message, through `handle` and through `poll`.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, split},
    runtime::Handle,
    time::timeout,
};
use ww::{
    Boot, Config, Node, Process, Serving,
    cell::{Cell, Failure, Mode},
    exit::Reason,
    serve,
};

use crate::image::{Image, in_repository};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes far too long")
}

pub(crate) async fn node() -> Node {
    let mut config = Config::default();
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    config.identity = None;
    config.cache = Some(in_repository("target/tmp/cache"));
    Node::start(config, Handle::current()).await.expect("a node starts")
}

async fn cell(node: &Node, guest: &str, mode: Mode) -> (Process, Cell) {
    let image = Image::of(guest);
    let loaded = node.load(image.path().to_str().expect("a path in UTF-8")).await.expect("an image");
    let process = node.serve(loaded, Boot::default(), Serving::new(mode)).await.expect("the guest serves this mode");
    let cell = process.cell().clone();
    (process, cell)
}

/// One message as a stream, sent and received as a peer does.
async fn exchange(cell: &Cell, message: &[u8]) -> (Result<(), Failure>, Vec<u8>) {
    let (ours, theirs) = duplex(1_000);
    let serving = serve::process_message(cell.slot(), theirs, None);
    let (mut reading, mut writing) = split(ours);
    let writing = async {
        // A cell may answer before it has read everything.
        let _ = writing.write_all(message).await;
        let _ = writing.shutdown().await;
    };
    let mut reply = Vec::new();
    let (served, (), read) = soon(async { tokio::join!(serving, writing, reading.read_to_end(&mut reply)) }).await;
    read.expect("a pipe does not fail");
    (served, reply)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_component_echoes_in_both_modes() {
    let node = node().await;
    for mode in [Mode::Async, Mode::Sync] {
        let (_process, cell) = cell(&node, "echo", mode).await;
        for len in [0, 1, 4_096, 3_000_000] {
            let message: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[1]).collect();
            let (served, reply) = exchange(&cell, &message).await;
            assert_eq!(served, Ok(()), "{mode:?}");
            assert!(reply == message, "{mode:?}: {} of {len} bytes", reply.len());
        }
        assert_eq!(soon(cell.ask(cell.envelope(None), "whole")).await.as_deref(), Ok(&b"whole"[..]), "{mode:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_one_message_reaches_the_next() {
    let node = node().await;
    let (_process, cell) = cell(&node, "actor", Mode::Async).await;
    let unread = [b"half\n".as_slice(), &[b'x'; 100_000]].concat();
    let table: [(&[u8], &[u8]); 7] = [
        (b"echo\nhello", b"hello"),
        (&unread, b"half"),
        (b"echo\nafter half", b"after half"),
        (b"early\nnever read", b"early"),
        (b"echo\n", b""),
        (b"half\n", b"half"),
        (b"count\n", b"7"),
    ];
    for (message, expected) in table {
        let (served, reply) = exchange(&cell, message).await;
        assert_eq!((served, &reply[..]), (Ok(()), expected), "{:?}", &message[..8.min(message.len())]);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_fails_its_message_and_a_fault_ends_the_cell() {
    let node = node().await;
    let (_process, cell) = cell(&node, "actor", Mode::Async).await;
    let (served, reply) = exchange(&cell, b"error\nnot today").await;
    assert_eq!((served, &reply[..]), (Err(Failure::Guest("not today".into())), &b""[..]));
    let asked = soon(cell.ask(cell.envelope(None), "error\nnor like this")).await;
    assert_eq!(asked, Err(Failure::Guest("nor like this".into())));
    assert_eq!(soon(cell.ask(cell.envelope(None), "count\n")).await.as_deref(), Ok(&b"3"[..]), "its state survives");
    let (served, reply) = exchange(&cell, b"torn\n").await;
    assert!(matches!(served, Err(Failure::Ended(Reason::Trap(_)))), "{served:?}");
    assert_eq!(reply, b"", "no torn reply");
    assert_eq!(soon(cell.exit().wait()).await.code(), 134);

    let (_process, exiting) = self::cell(&node, "actor", Mode::Async).await;
    let asked = soon(exiting.ask(exiting.envelope(None), "exit 7\n")).await;
    assert_eq!(asked, Err(Failure::Ended(Reason::Exit(7))));
    node.stop().await;
}
