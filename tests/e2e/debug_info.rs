//! `--wasm-debug`: a trap names function, file and line, where the program carries debug information.

use std::fs;

use crate::{
    harness::Ww,
    image::{Image, in_repository},
};

/// The guest that is built with debug information.
const SOURCE: &str = "guests/test-guests/exits/src/main.rs";

/// The line of the source that holds a text.
fn line_of(text: &str) -> usize {
    let source = fs::read_to_string(in_repository(SOURCE)).expect("the source of the guest");
    source.lines().position(|line| line.contains(text)).expect("the text is in the source") + 1
}

#[test]
fn with_it_frames_name_file_and_line() {
    let panicking = format!("exits/src/main.rs:{}:", line_of("panic!(\"a panic on purpose\")"));
    let recursing = format!("exits/src/main.rs:{}:", line_of("recurse(depth + 1)"));
    for (end, function, place) in [("panic", "run at /", &panicking), ("overflow", "recurse at /", &recursing)] {
        let ended = Ww::run(&Image::of("exits")).args(["--wasm-debug"]).guest_args(&[end]).end();
        assert_eq!(ended.code, 134, "{ended}");
        let named =
            ended.stderr.lines().any(|line| line.trim_start().starts_with(function) && line.contains(place.as_str()));
        assert!(named, "no frame `{function}…{place}`: {ended}");
    }
}

#[test]
fn without_it_frames_name_functions() {
    let ended = Ww::run(&Image::of("exits")).guest_args(&["overflow"]).end();
    ended.expect(134, "").expect_stderr(&["\n  exits::recurse\n"]).expect_not_in_stderr(&["main.rs"]);
}

#[test]
fn a_configuration_turns_it_on_as_well() {
    let ended = Ww::run(&Image::of("exits")).config("wasm-debug = true\n").guest_args(&["overflow"]).end();
    ended.expect(134, "").expect_stderr(&["exits/src/main.rs:"]);
}

#[test]
fn a_program_without_debug_information_runs_the_same() {
    let ended = Ww::run(&Image::of("pid0")).args(["--wasm-debug"]).end();
    ended.expect(0, "child-echo: hello from pid0\nchild-echo exited with code 0\n");
}
