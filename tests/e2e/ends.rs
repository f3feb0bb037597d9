//! Every end of a program, and the exit code that stands for it.

use std::time::{Duration, Instant};

use crate::{
    harness::Ww,
    image::{Image, guest},
};

/// Far more than a limit of a fraction of a second takes, far less than never.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_program_ends_itself() {
    let image = Image::of("exits");
    for (args, code, said) in [
        (&["return"][..], 0, ""),
        (&["exit", "0"], 0, ""),
        (&["exit", "7"], 7, ""),
        (&["exit", "255"], 255, ""),
        (&["std-exit", "0"], 0, ""),
        // WASI 0.2 tells success from failure, and no more.
        (&["std-exit", "7"], 1, ""),
        (&["error"], 1, "an error on purpose\n"),
    ] {
        let ended = Ww::run(&image).env("RUST_LOG", "off").guest_args(args).end();
        ended.expect(code, "");
        assert_eq!(ended.stderr, said, "{args:?}");
    }
}

#[test]
fn a_trap_says_what_and_where() {
    let image = Image::of("exits");
    for (end, kind, function) in [
        ("panic", "trap(unreachable)", "\n  exits::main\n"),
        ("unreachable", "trap(unreachable)", "\n  exits::main\n"),
        ("overflow", "trap(stack-overflow)", "\n  exits::recurse\n"),
        ("overflow-frames", "trap(memory-out-of-bounds)", "\n  exits::recurse_with_frames\n"),
    ] {
        let ended = Ww::run(&image).args(["--name", "faulty"]).guest_args(&[end]).end();
        ended.expect(134, "").expect_stderr(&[&format!("ww: faulty ended: {kind}: "), function]);
    }
    let named = Image::of("exits").manifest("[cell]\nname = \"named\"\n");
    let ended = Ww::run(&named).guest_args(&["panic"]).end();
    ended.expect(134, "").expect_stderr(&["a panic on purpose", "ww: named ended: "]);
}

#[test]
fn traps_of_a_core_module() {
    for (body, kind) in [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer-division-by-zero"),
        ("(drop (i32.load (i32.const 65536)))", "memory-out-of-bounds"),
    ] {
        let text = format!(r#"(module (memory (export "memory") 1) (func $faulty (export "_start") {body}))"#);
        let ended = Ww::run(&Image::of_text(&text)).end();
        ended.expect(134, "").expect_stderr(&[&format!("trap({kind})"), "\n  faulty\n"]);
    }
}

#[test]
fn memory_has_a_limit() {
    for limits in ["", "[limits]\nmemory = \"8MiB\"\n"] {
        for end in ["grow", "try-grow"] {
            let ended = Ww::run(&Image::of("exits").manifest(limits)).guest_args(&[end]).end();
            ended.expect(135, "").expect_stderr(&["ended: limit: memory"]);
        }
    }
}

#[test]
fn time_has_a_limit_where_the_image_says_so() {
    for (limits, end, limit) in [
        ("deadline = \"200ms\"", "spin", "deadline"),
        ("deadline = 200", "cat", "deadline"),
        ("cpu = \"100ms\"", "spin", "cpu"),
    ] {
        let image = Image::of("exits").manifest(&format!("[limits]\n{limits}\n"));
        let started = Instant::now();
        let ended = Ww::run(&image).open_stdin().guest_args(&[end]).end();
        ended.expect(124, "").expect_stderr(&[&format!("ended: limit: {limit}")]);
        assert!(started.elapsed() < SOON, "{limits}: {:?}", started.elapsed());
    }
    // Waiting is not computing.
    let image = Image::of("exits").manifest("[limits]\ncpu = \"100ms\"\n");
    Ww::run(&image).guest_args(&["sleep", "300"]).end().expect(0, "sleeping\nslept\n");
    let image = Image::of("preview1").manifest("[limits]\ndeadline = \"200ms\"\n");
    Ww::run(&image).guest_args(&["spin"]).end().expect(124, "");
}

#[test]
fn what_cannot_start_is_told() {
    for (program, found) in [
        (guest("actor"), "found poll (wetware:cell/actor)"),
        (wat::parse_str("(module)").expect("a module"), "found nothing that can be run"),
        (wat::parse_str("(component)").expect("a component"), "found nothing that can be run"),
        (wat::parse_str(r#"(module (func (export "poll")))"#).expect("a module"), "found poll"),
    ] {
        let ended = Ww::run(&Image::new(program)).end();
        ended.expect(126, "").expect_stderr(&["the program exports no main", "wasi:cli/run or _start", found]);
    }
    let text = r#"(module (import "nowhere" "nothing" (func)) (func (export "_start")))"#;
    Ww::run(&Image::of_text(text)).end().expect(126, "").expect_stderr(&["nowhere", "nothing", "A node offers"]);
}

#[test]
fn exceptions_are_caught_and_one_that_is_not_is_told() {
    let program = |start: &str| {
        Image::of_text(&format!(
            r#"(module (memory (export "memory") 1) (tag $oops) (func (export "_start") {start}))"#
        ))
    };
    let caught = program("(block $caught (try_table (catch_all $caught) (throw $oops)))");
    Ww::run(&caught).end().expect(0, "");
    Ww::run(&program("(throw $oops)")).end().expect(134, "").expect_stderr(&["uncaught-exception"]);
}

#[test]
fn codes_beyond_a_byte_are_reported_as_255() {
    for (code, reported) in [("255", 255), ("256", 255), ("-1", 255), ("512", 255)] {
        let text = format!(
            r#"(module
                 (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                 (memory (export "memory") 1)
                 (func (export "_start") (call $exit (i32.const {code}))))"#
        );
        Ww::run(&Image::of_text(&text)).end().expect(reported, "");
    }
}
