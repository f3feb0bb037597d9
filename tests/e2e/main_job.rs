//! The first image: pid0 starts child-echo, says hello to it, and hands its answer on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    harness::{Ended, Ww},
    image::example,
};

const LINES: &str = "child-echo: hello from pid0\nchild-echo exited with code 0\n";

/// What is in a line of the log for one message of Cap'n Proto.
const RPC: &str = "ww::rpc";

fn pid0(log: &str) -> Ended {
    Ww::run(&example("pid0")).env("RUST_LOG", log).end()
}

#[test]
fn pid0_prints_its_two_lines_and_the_log_goes_to_standard_error() {
    let ended = Ww::run(&example("pid0")).end();
    ended.expect(0, LINES).expect_stderr(&["the node runs", "INFO the node echoed: hello from child-echo"]);
    ended.expect_not_in_stderr(&["\x1b"]);
}

#[test]
fn with_a_cold_cache_and_with_a_warm_one() {
    let cache = tempfile::tempdir().expect("a directory");
    for temperature in ["cold", "warm"] {
        let ended = Ww::run(&example("pid0")).env("XDG_CACHE_HOME", cache.path()).env("RUST_LOG", "ww=debug").end();
        ended.expect(0, LINES);
        let compiled = ended.stderr.matches("compiled a program").count();
        let expected = if temperature == "cold" { 2 } else { 0 };
        assert_eq!(compiled, expected, "{temperature}: {ended}");
    }
}

#[test]
fn with_a_cache_that_is_damaged_and_with_none() {
    let cache = tempfile::tempdir().expect("a directory");
    let run = |cache: &Path| Ww::run(&example("pid0")).env("XDG_CACHE_HOME", cache).end();
    run(cache.path()).expect(0, LINES);
    let mut damaged = 0;
    for file in files_below(cache.path()) {
        let mut bytes = fs::read(&file).expect("a file of the cache");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        damaged += usize::from(bytes.len() > 10_000);
        fs::write(&file, bytes).expect("a damaged file");
    }
    assert_eq!(damaged, 2, "the code of two programs is in the cache");
    run(cache.path()).expect(0, LINES);
    let file = cache.path().join("file");
    fs::write(&file, "").expect("a file");
    run(&file).expect(0, LINES).expect_stderr(&["compiled programs are not kept on disk"]);
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn at_level_trace_each_message_is_one_line() {
    let ended = pid0("ww=trace");
    ended.expect(0, LINES);
    let lines: Vec<_> = ended.stderr.lines().filter(|line| line.contains(RPC)).collect();
    for line in &lines {
        assert!(
            line.contains("cell=") && (line.contains("direction=\"in\" ") || line.contains("direction=\"out\" ")),
            "{line}"
        );
    }
    let count = |cell: &str, direction: &str, message: &str| {
        let part = format!("{cell} direction=\"{direction}\" {message}");
        lines.iter().filter(|line| line.contains(&part)).count()
    };
    // pid0: executor, runBytes, stdin, stdout, write, close, some reads, wait. child-echo: executor, echo.
    assert!(count("cell=1", "in", "call") >= 8, "{ended}");
    assert_eq!(count("cell=2", "in", "bootstrap"), 1, "{ended}");
    assert_eq!(count("cell=2", "in", "call"), 2, "{ended}");
    assert_eq!(count("cell=2", "out", "return"), 3, "{ended}");
}

#[test]
fn without_a_log_standard_error_is_empty() {
    let ended = pid0("off");
    ended.expect(0, LINES);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_filter_that_is_not_valid_is_told_and_not_used() {
    pid0("ww=loud").expect(0, LINES).expect_stderr(&["RUST_LOG is not valid", "the node runs"]);
}
