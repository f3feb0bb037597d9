//! A node that is told to stop: cells may finish, then they are shut down.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    harness::{Running, Ww},
    image::{Image, guest},
};

/// Far more than stopping takes, far less than the long drain below.
const SOON: Duration = Duration::from_secs(20);

const SHORT_DRAIN: &str = "drain = 200\n";
const LONG_DRAIN: &str = "drain = 3600000\n";

/// Says so, and computes for ever.
const SPINNING: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\09\00\00\00spinning\n")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
        (loop $ever (br $ever))))"#;

fn image(name: &str) -> Image {
    Image::of(name).file("bin/child.wasm", guest("exits"))
}

fn start<'image>(image: &'image Image, config: &str, args: &[&str]) -> Running<'image> {
    Ww::run(image).env("RUST_LOG", "ww=debug").config(config).open_stdin().guest_args(args).start()
}

#[test]
fn a_cell_that_waits_for_input_gets_its_end_and_finishes() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let image = image("shell");
        let mut running = start(&image, LONG_DRAIN, &[]);
        running.wait_for_stdout("ww> ");
        running.signal(signal);
        // The shell ends its last line when it sees the end of its input, and that arrives as well.
        let ended = running.end();
        ended.expect(code, "This is a cell. Type `help` for what it can do.\nww> \n");
        // So a loop of a shell stops, which would go on after a command that only says that code.
        assert_eq!(ended.signal, Some(signal.as_raw()), "it ends by the signal that stopped it: {ended}");
    }
}

#[test]
fn a_cell_that_does_not_finish_in_time_is_shut_down() {
    let (spinning, sleeping) = (Image::of_text(SPINNING), image("exits"));
    for (signal, code, image, args, said) in [
        (Signal::INT, 130, &spinning, &[][..], "spinning\n"),
        (Signal::TERM, 143, &spinning, &[], "spinning\n"),
        (Signal::TERM, 143, &sleeping, &["sleep", "3600000"], "sleeping\n"),
    ] {
        let mut running = start(image, SHORT_DRAIN, args);
        running.wait_for_stdout(said);
        let told = Instant::now();
        running.signal(signal);
        let ended = running.end();
        ended.expect(code, said);
        ended.expect_stderr(&["within 200ms", "did not finish in time: it is shut down", "reason=shutdown"]);
        assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
    }
}

#[test]
fn a_signal_that_is_ignored_stays_so() {
    let image = image("shell");
    let mut running = Ww::run(&image).ignoring(Signal::HUP).open_stdin().start();
    running.wait_for_stdout("ww> ");
    running.signal(Signal::HUP);
    running.signal(Signal::TERM);
    assert_eq!(running.end().signal, Some(Signal::TERM.as_raw()));
}

#[test]
fn a_cell_that_ends_with_the_code_of_a_signal_has_not_ended_by_one() {
    let image = image("exits");
    let ended = start(&image, LONG_DRAIN, &["exit", "130"]).end();
    ended.expect(130, "");
    assert_eq!(ended.signal, None, "{ended}");
}

#[test]
fn a_second_signal_does_not_wait() {
    let image = Image::of_text(SPINNING);
    let mut running = start(&image, LONG_DRAIN, &[]);
    running.wait_for_stdout("spinning\n");
    let told = Instant::now();
    running.signal(Signal::INT);
    running.wait_for_stderr("another signal ends it at once");
    running.signal(Signal::TERM);
    running.end().expect(130, "spinning\n");
    assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
}

#[test]
fn children_end_with_the_node() {
    let image = image("caller");
    let mut running = start(&image, LONG_DRAIN, &["spawn", "3", "bin/child.wasm", "spin"]);
    running.wait_for_stdout("running 3");
    let told = Instant::now();
    running.signal(Signal::TERM);
    let ended = running.end();
    ended.expect(143, "started\nstarted\nstarted\nrunning 3\n");
    assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
    assert_eq!(ended.stderr.matches("reason=shutdown").count(), 3, "{ended}");
}

#[test]
fn output_that_nobody_reads_does_not_hold_the_stop_up() {
    let image = image("exits");
    for bytes in ["100000", "10000000"] {
        let ww = Ww::run(&image).env("RUST_LOG", "ww=debug").config(SHORT_DRAIN).unread_stdout();
        let mut running = ww.guest_args(&["flood", bytes]).start();
        assert_eq!(running.read(1), b"x");
        let told = Instant::now();
        running.signal(Signal::TERM);
        let ended = running.end();
        assert_eq!(ended.code, 143, "{ended}");
        assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
    }
}
