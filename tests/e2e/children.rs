//! Programs that start programs: ends reach the parent, and nobody outlives it.

use std::time::{Duration, Instant};

use crate::{
    harness::{Ended, Ww},
    image::{Image, guest},
};

/// Far more than ending a few cells takes, far less than they would go on.
const SOON: Duration = Duration::from_secs(20);

const CHILD: &str = "bin/child.wasm";

fn caller(args: &[&str]) -> Ended {
    caller_with("", args)
}

fn caller_with(manifest: &str, args: &[&str]) -> Ended {
    let image = Image::of("caller").manifest(manifest).file(CHILD, guest("exits"));
    Ww::run(&image).env("RUST_LOG", "ww=debug").guest_args(args).end()
}

#[test]
fn the_end_of_a_child_reaches_its_parent() {
    for (child, code) in [
        (&["return"][..], 0),
        (&["exit", "7"], 7),
        (&["exit", "255"], 255),
        (&["std-exit", "7"], 1),
        (&["error"], 1),
        (&["panic"], 134),
        (&["overflow"], 134),
        (&["grow"], 135),
    ] {
        caller(&[&["run", CHILD], child].concat()).expect(code, "");
    }
    caller_with("[limits]\ncpu = \"200ms\"\n", &["run", CHILD, "spin"]).expect(124, "");
}

#[test]
fn waiting_answers_any_number_of_times() {
    for (child, codes) in [(&["exit", "5"][..], "5 5 5\n"), (&["return"], "0 0 0\n"), (&["panic"], "134 134 134\n")] {
        caller(&[&["wait-twice", CHILD], child].concat()).expect(0, codes);
    }
}

#[test]
fn a_core_module_is_a_child_as_well() {
    let image = Image::of("caller").file(CHILD, guest("preview1"));
    Ww::run(&image).guest_args(&["run", CHILD, "exit", "200"]).end().expect(200, "");
    Ww::run(&image).guest_args(&["stdin", "input", CHILD, "cat"]).end().expect(0, "input\ncode 0\n");
}

#[test]
fn what_is_no_program_is_refused_with_the_reason() {
    for (hex, reason) in [
        ("", "the program is empty"),
        ("00", "not a WebAssembly binary"),
        ("7f454c46", "not a WebAssembly binary"),
        ("0061736d0100000001", "not a valid WebAssembly program"),
        ("0061736d01000000", "the program exports no main"),
    ] {
        let ended = caller(&["bytes", hex]);
        assert!(ended.code == 0 && ended.stdout.starts_with("error: "), "{ended}");
        assert!(ended.stdout.contains(reason), "{reason}: {ended}");
    }
}

#[test]
fn input_and_output_of_a_child_are_its_parents() {
    caller(&["stdin", "input", CHILD, "cat"]).expect(0, "input\ncode 0\n");
    caller(&["stdin", "one\ntwo\n", CHILD, "upper"]).expect(0, "ONE\nTWO\n\ncode 0\n");
    caller(&["unclosed-stdin", "line\n", CHILD, "first-line"]).expect(0, "line\n\ncode 0\n");
    let ended = caller(&["run", CHILD, "flood", "3000000"]);
    assert!(ended.code == 0 && ended.stdout.len() == 3_000_000, "{} bytes", ended.stdout.len());
}

#[test]
fn no_child_outlives_its_parent() {
    for child in [&["spin"][..], &["sleep", "3600000"]] {
        let started = Instant::now();
        let ended = caller(&[&["orphans", CHILD], child].concat());
        ended.expect(0, "started 2\n");
        assert!(started.elapsed() < SOON, "{child:?}: {:?}", started.elapsed());
        assert_eq!(ended.stderr.matches("reason=shutdown").count(), 2, "{ended}");
    }
}

#[test]
fn grandchildren_end_with_their_owners() {
    // The caller starts itself, from the bytes of its own image; that one has no image to start another from.
    let started = Instant::now();
    let image = Image::of("caller").file(CHILD, guest("pid0"));
    let ended = Ww::run(&image).guest_args(&["run", CHILD]).end();
    ended.expect(0, "child-echo: hello from pid0\nchild-echo exited with code 0\n");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn a_child_ends_with_the_last_reference_to_it() {
    let image = Image::of("caller").file(CHILD, guest("exits"));
    let ww = Ww::run(&image).env("RUST_LOG", "ww=debug").open_stdin();
    let mut running = ww.guest_args(&["drop", CHILD, "spin"]).start();
    running.wait_for_stdout("dropped\n");
    // The parent is still there, and waits for its input.
    running.wait_for_stderr("reason=shutdown");
    running.close_stdin();
    running.end().expect(0, "dropped\n");
}

#[test]
fn output_that_the_parent_does_not_read_holds_the_child_up() {
    let ended = caller_with("[limits]\ndeadline = \"1s\"\n", &["unread-output", CHILD, "flood", "1000000"]);
    ended.expect(124, "");
    // What fits the buffer does not.
    caller(&["unread-output", CHILD, "flood", "1000"]).expect(0, "code 0\n");
    caller(&["few-bytes", "10", CHILD, "flood", "1000"]).expect(0, "10 bytes\ncode 0\n");
}

#[test]
fn errors_that_the_parent_does_not_read_hold_nobody_up_and_are_in_the_log() {
    let ended = caller(&["unread-output", CHILD, "flood-stderr", "20000000"]);
    ended.expect(0, "code 0\n").expect_stderr(&["ww::stderr", "were left out: more than it may write"]);
    let lines = ended.stderr.lines().filter(|line| line.contains("INFO ww::stderr: xxx")).count();
    assert!((100..10_000).contains(&lines), "{lines} lines in the log");
    caller(&["unread-output", CHILD, "log"]).expect_stderr(&["ww::stderr: ERROR 1", "ww::stderr: INFO 3"]);
}
