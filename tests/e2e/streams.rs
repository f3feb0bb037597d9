//! Standard streams of the image's program: bytes arrive whole or their loss is told, and a slow reader is waited for.

use std::{
    fs::{self, File},
    io::{Seek, Write},
    time::{Duration, Instant},
};

use crate::{
    harness::Ww,
    image::{Image, guest},
    verbs::{ONCE, User},
};

/// Reads 3 bytes of standard input, and writes them to standard output and standard error by turns, 3 times.
const THREE: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\03\00\00\00")
    (func $turn
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16)))
        (i32.store8 (i32.const 64) (i32.add (i32.load8_u (i32.const 64)) (i32.const 1))))
    (func (export "_start")
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
        (call $turn) (call $turn) (call $turn)))"#;

/// Far longer than the short drain below.
const LONG: Duration = Duration::from_secs(20);

/// Larger than all buffers between the ends together.
const LARGE: usize = 5 << 20;

/// What a guest's `flood` writes.
fn flood(bytes: usize) -> String {
    let line = format!("{}\n", "x".repeat(1023));
    line.repeat(bytes.div_ceil(line.len()))[..bytes].to_owned()
}

#[test]
fn input_comes_out_unchanged() {
    let large: Vec<u8> = (0..LARGE).map(|at| b'a' + (at % 23) as u8).collect();
    for (name, args) in [("exits", &["cat"][..]), ("echo", &[]), ("preview1", &["cat"])] {
        let image = Image::of(name);
        for input in [&b""[..], b"x", &large] {
            let ended = Ww::run(&image).stdin(input).guest_args(args).end();
            assert_eq!(ended.code, 0, "{name}: {}", ended.stderr);
            assert!(ended.stdout.as_bytes() == input, "{name}: {} bytes became {}", input.len(), ended.stdout.len());
        }
    }
}

#[test]
fn a_conversation_goes_line_by_line() {
    let image = Image::of("exits");
    let mut running = Ww::run(&image).open_stdin().guest_args(&["upper"]).start();
    for (line, answer) in [("one\n", "ONE\n"), ("two\n", "TWO\n")] {
        running.type_in(line);
        running.wait_for_stdout(answer);
    }
    running.close_stdin();
    running.end().expect(0, "ONE\nTWO\n");
}

#[test]
fn input_that_is_not_read_holds_nothing_up() {
    let image = Image::of("exits");
    Ww::run(&image).stdin(vec![b'x'; LARGE]).guest_args(&["ignore-stdin"]).end().expect(0, "done\n");
    Ww::run(&image).open_stdin().guest_args(&["ignore-stdin"]).end().expect(0, "done\n");
    let lines = format!("first\n{}", "rest\n".repeat(LARGE / 5));
    Ww::run(&image).stdin(lines).guest_args(&["first-line"]).end().expect(0, "first\n");
}

#[test]
fn all_of_both_outputs_arrives() {
    let image = Image::of("exits");
    let bytes = LARGE.to_string();
    let ended = Ww::run(&image).env("RUST_LOG", "off").guest_args(&["flood", &bytes]).end();
    assert!(ended.code == 0 && ended.stdout == flood(LARGE), "{} bytes arrived", ended.stdout.len());
    let ended = Ww::run(&image).env("RUST_LOG", "off").guest_args(&["flood-stderr", &bytes]).end();
    ended.expect(0, "");
    assert!(ended.stderr == flood(LARGE), "{} bytes arrived", ended.stderr.len());
}

#[test]
fn a_slow_reader_gets_everything() {
    let image = Image::of("exits");
    let bytes = LARGE.to_string();
    let mut running = Ww::run(&image).unread_stdout().guest_args(&["flood", &bytes]).start();
    let mut read = Vec::new();
    // A little at a time, so that the guest has to wait, then the rest.
    for _ in 0..500 {
        read.extend(running.read(1000));
    }
    read.extend(running.read(usize::MAX));
    running.end().expect(0, "");
    assert!(read == flood(LARGE).as_bytes(), "{} bytes arrived", read.len());
}

#[test]
fn output_that_nobody_reads_holds_the_guest_up() {
    // The deadline proves it: it ends the guest before it could write everything.
    let image = Image::of("exits").manifest("[limits]\ndeadline = \"1s\"\n");
    let bytes = LARGE.to_string();
    let mut running =
        Ww::run(&image).env("RUST_LOG", "ww=debug").unread_stdout().guest_args(&["flood", &bytes]).start();
    running.wait_for_stderr("reason=limit: deadline");
    let read = running.read(usize::MAX);
    assert_eq!(running.end().code, 124);
    assert!(!read.is_empty() && read.len() < LARGE, "{} bytes arrived", read.len());
    assert!(flood(read.len()).as_bytes() == read, "what arrived is what was written");
}

#[test]
fn a_reader_that_stalls_does_not_hold_an_end_up() {
    let image = Image::of("exits").manifest("[limits]\ndeadline = \"100ms\"\n");
    let ww = Ww::run(&image).config("drain = 200\n").unread_stdout();
    let running = ww.guest_args(&["flood", &LARGE.to_string()]).start();
    let begun = Instant::now();
    let ended = running.end();
    assert_eq!(ended.code, 124, "what ended the cell counts more than what was lost: {ended}");
    ended.expect_stderr(&["nobody has read the rest of the program's output within 200ms", "limit: deadline"]);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[test]
fn output_that_cannot_be_written_is_told_and_changes_the_code() {
    let full = || File::options().write(true).open("/dev/full").expect("Linux");
    let (user, image) = (User::new(), Image::of("echo").manifest(ONCE));
    let told = |ww: Ww<'_>, stderr: &str| {
        let ended = ww.stdout_to(full()).end();
        assert_eq!(ended.code, 71, "{ended}");
        ended.expect_stderr(&["cannot write to standard output", stderr]);
    };
    let program = Image::of("exits");
    told(Ww::run(&program).guest_args(&["ignore-stdin"]), "what the program wrote");
    told(Ww::new(["--version"]), "is lost");
    // What the program says of its end counts more.
    assert_eq!(Ww::run(&program).stdout_to(full()).guest_args(&["unflushed-exit", "9"]).end().code, 9);

    let node = user.serve(&image, &["--async", "--name", "echo"]);
    told(user.verb(&["ps"]), "is lost");
    told(user.verb(&["send", "echo", "hello"]), "is lost");
    let file = user.directory().join("program.wasm");
    fs::write(&file, guest("exits")).expect("written");
    told(user.verb(&["spawn"]).args([&file]).guest_args(&["ignore-stdin"]), "is lost");

    // A reader that goes away ends a client, whatever it has still to send.
    let mut sending = user.verb(&["send", "echo", "-"]).stdin(vec![b'x'; 10 * LARGE]).unread_stdout().start();
    assert_eq!(sending.read(5), b"xxxxx");
    sending.close_stdout();
    assert_eq!(sending.end().code, 71);

    // All of a burst arrives.
    let ended = user.verb(&["spawn"]).args([&file]).guest_args(&["flood-stderr", &LARGE.to_string()]).end();
    ended.expect(0, "");
    assert!(ended.stderr == flood(LARGE), "{} bytes arrived", ended.stderr.len());
    drop(node);
}

#[test]
fn a_program_takes_what_it_reads_and_both_its_outputs_keep_their_order_in_one_file() {
    let (user, node) = (User::new(), Image::of("echo"));
    let _node = user.serve(&node, &["--async"]);
    let image = Image::of_text(THREE);
    let file = image.path().join("bin/main.wasm");
    for spawned in [false, true] {
        let mut input = tempfile::tempfile().expect("a file");
        input.write_all(b"abcdefgh").expect("written");
        input.rewind().expect("a file");
        let output = image.path().join("output");
        let both = File::create(&output).expect("a file");
        let ww = if spawned { user.verb(&["spawn"]).args([&file]) } else { Ww::run(&image).env("RUST_LOG", "off") };
        let ww = ww.stdin_from(input.try_clone().expect("another handle"));
        let ended = ww.stdout_to(both.try_clone().expect("another handle")).stderr_to(both).end();
        assert_eq!(ended.code, 0, "{ended}");
        assert_eq!(fs::read_to_string(&output).expect("written"), "abcabcbbcbbccbccbc");
        assert_eq!(input.stream_position().expect("a file"), 3, "the rest is left for another program");
    }
}

#[test]
fn a_guest_learns_that_its_output_is_closed() {
    let image = Image::of("exits");
    let bytes = LARGE.to_string();
    let mut running = Ww::run(&image).unread_stdout().guest_args(&["flood", &bytes]).start();
    assert_eq!(running.read(10), b"xxxxxxxxxx");
    running.close_stdout();
    let ended = running.end();
    assert_eq!(ended.code, 1, "{ended}");
    ended.expect_not_in_stderr(&["panicked", "trap("]);
}

#[test]
fn what_a_guest_left_in_its_buffers_arrives() {
    let image = Image::of("exits");
    Ww::run(&image).guest_args(&["unflushed"]).end().expect(0, "unflushed");
    Ww::run(&image).guest_args(&["unflushed-exit", "9"]).end().expect(9, "unflushed");
}
