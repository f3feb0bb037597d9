//! A component that reads the files of its image.

use std::sync::{Arc, Mutex};

use ww_core::{
    Limits,
    exit::{Limit, Reason},
};

use super::*;
use crate::fixture::{
    component::{CURRENT, component},
    connect_once, runtime, start_with,
};

/// Files that remember what was asked for.
#[derive(Default)]
struct Shelf(Mutex<Vec<String>>);

impl Files for Shelf {
    fn read(&self, path: String) -> BoxFuture<'_, Result<Bytes, String>> {
        let content = match path.as_str() {
            "usr/a file" => Ok(Bytes::from_static(b"content")),
            "empty" => Ok(Bytes::new()),
            "large" => Ok(vec![b'x'; 8 << 20].into()),
            _ => Err("there is no such file in the image".to_owned()),
        };
        self.0.lock().expect("no panic").push(path);
        Box::pin(async move {
            tokio::task::yield_now().await;
            content
        })
    }
}

/// Loads a file and sends what it got over its standard connection: `+` and the content, or `-` and the error.
fn loading(path: &str) -> String {
    let len = path.len();
    component(
        CURRENT,
        &format!(
            r#"(data (i32.const 1024) "{path}")
            (func $run (result i32)
                (local $from i32) (local $len i32)
                (drop (call $get-output-handle (call $create)))
                (call $load (i32.const 1024) (i32.const {len}) (global.get $ret))
                (i32.store8 (i32.const 512) (select (i32.const 45) (i32.const 43) (call $byte (i32.const 0))))
                (local.set $from (call $word (i32.const 4)))
                (local.set $len (call $word (i32.const 8)))
                (call $write (i32.const 1) (i32.const 512) (i32.const 1) (global.get $ret))
                (call $write (i32.const 1) (local.get $from) (local.get $len) (global.get $ret))
                (call $expect (call $byte (i32.const 0)) (i32.const 0))
                (i32.const 0))"#
        ),
    )
}

/// What the guest got, and its end.
async fn load(path: &str, files: Option<Arc<dyn Files>>, limits: Limits) -> (String, Reason) {
    let (tx, rx) = tokio::sync::oneshot::channel();
    let ends = start_with(&runtime(), &loading(path), limits, |start| {
        start.files = files;
        start.connect = Some(connect_once(|duplex| drop(tx.send(duplex))));
    })
    .await;
    let connection = rx.await.expect("the guest connects");
    let mut got = Vec::new();
    loop {
        match connection.from_guest.read(usize::MAX).await.expect("no failure") {
            bytes if bytes.is_empty() => break,
            bytes => got.extend_from_slice(&bytes),
        }
    }
    (String::from_utf8(got).expect("text"), ends.cell.exit().wait().await)
}

#[tokio::test]
async fn a_guest_reads_what_it_was_granted_and_is_told_why_not() {
    let shelf = Arc::new(Shelf::default());
    let files = || Some(Arc::clone(&shelf) as Arc<dyn Files>);
    for (path, got) in [
        ("usr/a file", "+content"),
        ("empty", "+"),
        ("", "-there is no such file in the image"),
        ("../../etc/passwd", "-there is no such file in the image"),
    ] {
        assert_eq!(load(path, files(), Limits::default()).await, (got.to_owned(), Reason::Normal), "{path}");
    }
    assert_eq!(*shelf.0.lock().expect("no panic"), ["usr/a file", "empty", "", "../../etc/passwd"]);
}

#[tokio::test]
async fn a_guest_without_the_grant_is_denied() {
    let (got, end) = load("usr/a file", None, Limits::default()).await;
    assert_eq!((got.strip_prefix('-'), end), (Some(DENIED), Reason::Normal));
    assert!(DENIED.starts_with("denied"));
}

#[tokio::test]
async fn a_file_counts_against_the_memory_of_the_guest() {
    let shelf = || Some(Arc::new(Shelf::default()) as Arc<dyn Files>);
    let (got, end) = load("large", shelf(), Limits::default()).await;
    assert_eq!((got.len(), end), (1 + (8 << 20), Reason::Normal));
    let (got, end) = load("large", shelf(), Limits { memory: 4 << 20, ..Limits::default() }).await;
    assert_eq!((got.as_str(), end), ("", Reason::Limit(Limit::Memory)));
}

#[tokio::test]
async fn a_path_larger_than_any_call_is_a_trap() {
    let shelf = Arc::new(Shelf::default());
    let body = "(func $run (result i32)
        (drop (memory.grow (i32.const 512)))
        (call $load (i32.const 0) (i32.const 0x01100000) (global.get $ret))
        (i32.const 0))";
    let ends = start_with(&runtime(), &component(CURRENT, body), Limits::default(), |start| {
        start.files = Some(Arc::clone(&shelf) as Arc<dyn Files>);
    })
    .await;
    match ends.cell.exit().wait().await {
        Reason::Trap(trap) => assert_eq!(trap.kind, "host-call", "{}", trap.message),
        other => panic!("expected a trap, found {other}"),
    }
    assert!(shelf.0.lock().expect("no panic").is_empty());
}
