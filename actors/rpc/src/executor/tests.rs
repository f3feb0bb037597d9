//! Starting cells over a connection.

use capnp::ErrorKind;
use ww_core::{Grants, Limits};

use super::*;
use crate::fixture::{ECHO, SPIN, limited_session, local, run, session, soon, wasm};

#[test]
fn variables_have_a_key() {
    assert_eq!(variable("A=b=c".into()).expect("valid"), ("A".into(), "b=c".into()));
    assert_eq!(variable("A=".into()).expect("valid"), ("A".into(), String::new()));
    for bad in ["", "A", "=b"] {
        assert!(variable(bad.into()).expect_err("no key").to_string().contains("KEY=VALUE"));
    }
}

#[test]
fn echo_returns_the_text_unchanged() {
    local(async {
        let session = session(Grants::all()).await;
        for text in ["", "hello", "grüße \u{1f980}", "line\nand\ttab"] {
            let mut request = session.executor().echo_request();
            request.get().set_message(text);
            let response = soon(request.send().promise).await.expect("an answer");
            let response = response.get().and_then(|response| response.get_response()).expect("a text");
            assert_eq!(response.to_str(), Ok(text));
        }
    });
}

/// A program, its arguments, its environment, and why it is refused.
type Refused<'a> = (&'a [u8], &'a [&'a str], &'a [&'a str], &'a str);

#[test]
fn what_cannot_be_run_is_refused_with_the_reason() {
    let echo = wasm(ECHO);
    let long = "x".repeat(MAX_STRINGS);
    let empty = vec![""; MAX_STRINGS / 64 + 1];
    let table: [Refused<'_>; 11] = [
        (&echo, &[], &["A"], "KEY=VALUE"),
        (&echo, &[], &["=value"], "KEY=VALUE"),
        (&echo, &[], &["A=1", ""], "KEY=VALUE"),
        (&echo, &["a\0b"], &[], "NUL"),
        (&echo, &[], &["A=\0"], "NUL"),
        (&echo, &[&long], &[], "at most 1048576 bytes"),
        (&echo, &empty, &[], "at most 16384 are taken"),
        (&echo, &["x"], &[&long], "at most 1048576 bytes"),
        (b"", &[], &[], "empty"),
        (b"#!/bin/sh", &[], &[], "not a WebAssembly binary"),
        (b"\0asm\x01\0\0\0garbage", &[], &[], "not a valid WebAssembly program"),
    ];
    local(async {
        let session = session(Grants::all()).await;
        for (wasm, args, env, why) in table {
            let error = run(&session.executor(), wasm, args, env).done().await.map(drop).expect_err(why);
            assert_eq!(error.kind, ErrorKind::Failed);
            assert!(error.extra.contains(why), "{why}: {error}");
        }
        run(&session.executor(), &echo, &["a", ""], &["A=", "B=c=d"]).done().await.expect("the vat lives");
    });
}

#[test]
fn a_program_that_is_too_large_is_refused_with_the_bound() {
    local(async {
        let session = session(Grants::all()).await;
        let program = vec![0; MAX_PROGRAM + 1];
        let error = run(&session.executor(), &program, &[], &[]).done().await.map(drop).expect_err("too large");
        assert!(error.extra.contains(&MAX_PROGRAM.to_string()), "{error}");
        // The largest program fits into a message, and fails for what it is.
        let error = run(&session.executor(), &program[1..], &[], &[]).done().await.map(drop).expect_err("zeros");
        assert!(error.extra.contains("not a WebAssembly binary"), "{error}");
    });
}

#[test]
fn the_limits_of_the_caller_count() {
    local(async {
        let session = limited_session(Grants::all(), Limits { children: 1, ..Limits::default() }).await;
        let executor = session.executor();
        let first = run(&executor, &wasm(SPIN), &[], &[]).done().await.expect("one");
        let error = run(&executor, &wasm(SPIN), &[], &[]).done().await.map(drop).expect_err("two");
        assert!(error.extra.contains("1 children"), "{error}");
        drop(first);
    });
}

#[test]
fn nothing_starts_when_the_caller_has_ended() {
    local(async {
        let session = session(Grants::all()).await;
        session.cell.0.kill().await;
        let error = run(&session.executor(), &wasm(SPIN), &[], &[]).done().await.map(drop).expect_err("no owner");
        assert!(error.extra.contains("the owner has ended"), "{error}");
    });
}
