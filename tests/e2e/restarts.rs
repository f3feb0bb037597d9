//! Programs on the terminal that are started again.

use rustix::process::Signal;

use crate::{harness::Ww, image::Image};

/// Copies one byte from stdin to stdout, then does what it says: traps at `t`, exits with 3 at `3`, spins at `s`, and
/// returns at any other, and at the end.
const STEP: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 1))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
        (i32.store (i32.const 4) (i32.load (i32.const 16)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
        (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const 116)) (then unreachable))
        (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const 115)) (then (loop (br 0))))
        (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const 51)) (then (call $exit (i32.const 3))))))"#;

fn step(restart: &str) -> Image {
    Image::of_text(STEP).manifest(&format!("[cell]\nrestart = {restart:?}\n"))
}

#[test]
fn a_transient_program_is_started_again_until_it_returns_and_reads_on_where_it_was() {
    let image = step("transient");
    for (input, code, output) in
        [("ttn-", 0, "ttn"), ("33n-", 0, "33n"), ("n-", 0, "n"), ("t", 0, "t"), ("tttttttn", 0, "tttttttn")]
    {
        Ww::run(&image).stdin(input).end().expect(code, output);
    }
}

#[test]
fn a_program_that_says_nothing_or_temporary_runs_once() {
    for image in [Image::of_text(STEP), step("temporary")] {
        Ww::run(&image).stdin("tn").end().expect(134, "t");
        Ww::run(&image).stdin("3n").end().expect(3, "3");
    }
}

#[test]
fn a_permanent_program_is_started_again_whatever_its_end_until_the_node_is_told_to_stop() {
    let image = step("permanent");
    let mut running = Ww::run(&image).open_stdin().start();
    running.type_in("n3tn");
    running.wait_for_stdout("n3tn");
    running.signal(Signal::INT);
    running.end().expect(130, "n3tn");

    // One that does not end by itself is shut down, and no other is started.
    let mut running = Ww::run(&image).config("drain = \"200ms\"\n").open_stdin().start();
    running.type_in("ns");
    running.wait_for_stdout("ns");
    running.signal(Signal::TERM);
    running.end().expect(143, "ns").expect_stderr(&["it is shut down"]);
}

#[test]
fn a_program_without_a_main_is_refused_as_without_restarts() {
    let image = Image::of_text("(module (memory (export \"memory\") 1))").manifest("[cell]\nrestart = \"permanent\"\n");
    Ww::run(&image).end().expect(126, "").expect_stderr(&["exports no main"]);
}
