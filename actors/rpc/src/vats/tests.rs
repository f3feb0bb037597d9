//! Connections: how they end, and what hostile guests can do to them.

mod hostile;
#[path = "../../../../fuzz/mutate.rs"]
mod mutate;

use futures::FutureExt;
use ww_cell::pipe::{self, CAPACITY};
use ww_core::{Grants, Limits};

use super::*;
use crate::fixture::{
    Connected, ECHO, SPIN, client, close, connected, local, parts, read, run, session, soon, stdin, stdout, visitor,
    wait, wasm, write,
};
use crate::load::Bounds;

/// Everything that a vat says until its end.
async fn drained(from_vat: &pipe::Reader) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match soon(from_vat.read(usize::MAX)).await.expect("no failure") {
            bytes if bytes.is_empty() => return all,
            bytes => all.extend_from_slice(&bytes),
        }
    }
}

/// Another guest still has its node.
async fn others_live() {
    let session = session(Grants::all()).await;
    let id = soon(session.host.id_request().send().promise).await.expect("an answer");
    assert_eq!(id.get().and_then(|id| id.get_peer_id()).expect("bytes"), b"me");
}

#[test]
fn nothing_is_left_of_a_guest_that_disconnects() {
    local(async {
        let session = session(Grants::all()).await;
        let executor = session.executor();
        let child = run(&executor, &wasm(SPIN), &[], &[]).done().await.expect("a program");
        let pending = wait(&child);
        drop((executor, child, pending));
        let (cell, gone) = session.disconnect();
        soon(gone).await.expect("told");
        assert_eq!(cell.0.exit().reason(), None, "the cell goes on without its node");
    });
}

#[test]
fn a_vat_ends_when_its_guest_sends_no_more() {
    local(async {
        let Connected { to_vat, from_vat, gone, .. } = connected(Grants::all(), Limits::default()).await;
        drop(to_vat);
        let goodbye = drained(&from_vat).await;
        assert!(String::from_utf8_lossy(&goodbye).contains("disconnected"), "an abort says why: {goodbye:?}");
        soon(gone).await.expect("told");

        // One that does not read any more may go on sending.
        let Connected { to_vat, from_vat, gone, .. } = connected(Grants::all(), Limits::default()).await;
        drop(from_vat);
        to_vat.write_all(&transcript().await).await.expect("open");
        to_vat.close();
        soon(gone).await.expect("told");

        let Connected { to_vat, gone, .. } = connected(Grants::all(), Limits::default()).await;
        to_vat.fail("the guest trapped");
        soon(gone).await.expect("told");
        others_live().await;
    });
}

#[test]
fn a_guest_that_keeps_an_answer_is_answered_for_ever() {
    local(async {
        let session = session(Grants::all()).await;
        // Its answer is not finished as long as this is kept; what comes after it is read.
        let executor = session.executor();
        let text = "x".repeat(512 << 10);
        for _ in 0..2 + Bounds::OWN.unread_bytes / text.len() {
            let mut request = executor.echo_request();
            request.get().set_message(&text);
            soon(request.send().promise).await.expect("an answer");
        }
    });
}

#[test]
fn garbage_ends_its_own_vat() {
    local(async {
        let text = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
        // One segment of 4 GiB words, 2^32 segments, and one message that is longer than a vat reads.
        let too_many_words = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff].to_vec();
        let too_many_segments = vec![0xff; 64];
        let words = u32::try_from(Bounds::OWN.message_words + 1).expect("small").to_le_bytes();
        let over_the_limit = [[0; 4], words].concat();
        // An empty message, a null root, and a root that points out of the message.
        let null = [&[0, 0, 0, 0, 1, 0, 0, 0][..], &[0; 8]].concat();
        let outside = [&[0, 0, 0, 0, 1, 0, 0, 0][..], &[0xfc, 0xff, 0xff, 0x7f, 1, 0, 1, 0]].concat();
        let mut cut = transcript().await;
        cut.truncate(cut.len() - 3);
        for garbage in [text, too_many_words, too_many_segments, over_the_limit, null, outside, cut] {
            let Connected { to_vat, from_vat, gone, .. } = connected(Grants::all(), Limits::default()).await;
            // The vat may be gone before it has all.
            let _ = soon(to_vat.write_all(&garbage)).await;
            to_vat.close();
            drained(&from_vat).await;
            soon(gone).await.expect("told");
        }
        others_live().await;
    });
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_is_read() {
    local(async {
        let Connected { to_vat, from_vat, gone, .. } = connected(Grants::all(), Limits::default()).await;
        let words = u32::try_from(Bounds::OWN.message_words + 1).expect("small").to_le_bytes();
        soon(to_vat.write_all(&[[0; 4], words].concat())).await.expect("open");
        let said = drained(&from_vat).await;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("too large"), "an abort says why: {said:?}");
        soon(gone).await.expect("told");
    });
}

#[test]
fn a_peer_sends_messages_of_the_size_that_it_is_allowed() {
    local(async {
        let usual = Entitlement::of_peer(b"peer".to_vec(), Grants::all(), Default::default(), Limits::default());
        let (less, more) = (usual.clone().with_messages_of(0), usual.clone().with_messages_of(32 << 20));
        for (entitlement, bytes, taken) in [
            (&less, 1 << 20, true),
            (&less, 3 << 20, false),
            (&usual, 3 << 20, true),
            (&usual, 17 << 20, false),
            (&more, 17 << 20, true),
        ] {
            let (_connection, client) = visitor(entitlement.clone(), Arc::new(|| {}));
            let mut request = client.host.executor_request().send().pipeline.get_executor().load_request();
            request.get().init_wasm(bytes);
            let error = soon(request.send().promise).await.map(drop).expect_err("zeros are no program");
            let was_taken = error.kind == capnp::ErrorKind::Failed && !error.extra.contains("too large");
            assert_eq!(was_taken, taken, "{bytes} bytes: {error}");
        }
    });
}

/// What a client sends that does a bit of everything, as bytes.
async fn transcript() -> Vec<u8> {
    transcript_with(&wasm(ECHO)).await
}

async fn transcript_with(program: &[u8]) -> Vec<u8> {
    let (to_vat, sent) = pipe::pipe(CAPACITY);
    let (_nothing, from_vat) = pipe::pipe(1);
    let (host, system) = client(from_vat, to_vat);
    let executor = host.executor_request().send().pipeline.get_executor();
    let process = run(&executor, program, &["a"], &["A=b"]).process;
    let mut connect = host.connect_request();
    connect.get().set_peer_id(b"friend");
    connect.get().init_addrs(1).set(0, b"there");
    let mut echo = executor.echo_request();
    echo.get().set_message("hello");
    let mut pending = vec![
        host.id_request().send().promise.map(drop).boxed_local(),
        host.peers_request().send().promise.map(drop).boxed_local(),
        connect.send().promise.map(drop).boxed_local(),
        echo.send().promise.map(drop).boxed_local(),
        read(&stdout(&process), 9).map(drop).boxed_local(),
        write(&stdin(&process), b"hello").map(drop).boxed_local(),
        close(&stdin(&process)).map(drop).boxed_local(),
        wait(&process).map(drop).boxed_local(),
    ];
    let mut bytes = Vec::new();
    // One call that is given up as well: a finish.
    drop(pending.swap_remove(1));
    loop {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        match sent.try_read(usize::MAX) {
            Ok(Some(more)) => bytes.extend_from_slice(&more),
            _ => break,
        }
    }
    drop((pending, system));
    assert!(bytes.len() > 500, "{}", bytes.len());
    bytes
}

#[test]
fn no_bytes_make_a_vat_panic_or_stay() {
    // Most without a program: compiling one takes far longer than everything else.
    let (whole, without) = local(async { (transcript().await, transcript_with(b"").await) });
    let mut seeds = vec![without; 15];
    seeds.push(whole);
    mutate::drive("vat", |bytes| local(told(bytes)), &seeds);
    local(others_live());
}

/// A vat is told this by its guest, and ends.
async fn told(bytes: &[u8]) {
    let (duplex, bootstrap, Connected { to_vat, from_vat, gone, cell: _cell, .. }) = parts(None).await;
    let vat = task::spawn_local(task::Kind::owned("vat", "a test"), serve(duplex, bootstrap, 1, Rc::default()));
    let writing = async {
        // It may be gone before it has all.
        let _ = soon(to_vat.write_all(bytes)).await;
        to_vat.close();
    };
    futures::join!(writing, drained(&from_vat));
    soon(vat).await.expect("a vat that ended by itself");
    soon(gone).await.expect("told");
}

#[test]
fn a_guest_with_too_many_calls_under_way_loses_its_connection_and_nobody_else_does() {
    local(async {
        let session = session(Grants::all()).await;
        let child = run(&session.executor(), &wasm(SPIN), &[], &[]).done().await.expect("a program");
        let waits: Vec<_> = (0..=Bounds::OWN.calls).map(|_| wait(&child)).collect();
        for wait in waits {
            soon(wait).await.expect_err("the connection is gone");
        }
        others_live().await;
    });
}
