//! Standard streams of the image's program: bytes arrive whole, and whoever is slow is waited for.

use crate::{harness::Ww, image::Image};

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
