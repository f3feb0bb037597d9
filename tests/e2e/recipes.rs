//! Programs in Go, C and Zig, as `guests/recipes` says they are built: both modes, their state, and every end.
//!
//! `tests/set-up/recipes.sh` builds them; `WW_TEST_RECIPES` is the directory in which they are. Where it is not set, each
//! test says that it was left out; with `WW_TEST_REQUIRE_ALL=1` that is a failure.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::process::Signal;

use crate::{
    harness::{Ended, Ww},
    image::{Image, in_repository},
    server::{Server, serve},
    verbs::ONCE,
};

/// The programs of the recipes, each for both modes.
const RECIPES: [&str; 3] = ["go/main", "c/main", "zig/main"];

/// Programs that end in every way. The second one of C is a program whose constructors are exported.
const ENDS: [&str; 4] = ["go-ends/main", "c-ends/main", "c-ends/command", "zig-ends/main"];

/// Where the programs are.
fn built(test: &str) -> Option<PathBuf> {
    let directory = env::var_os("WW_TEST_RECIPES").filter(|directory| !directory.is_empty());
    if directory.is_none() {
        assert_ne!(env::var("WW_TEST_REQUIRE_ALL").as_deref(), Ok("1"), "WW_TEST_RECIPES is not set");
        // Past the capture of the test harness: whoever runs the tests should see what did not run.
        writeln!(io::stderr(), "left out: {test} (no toolchains)").expect("stderr is open");
    }
    directory.map(PathBuf::from)
}

fn image(built: &Path, program: &str) -> Image {
    let path = built.join(program).with_extension("wasm");
    let program = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // Ends are what is looked at.
    Image::new(program).manifest(ONCE)
}

/// Sends a message that may be too long for a command line.
fn send(server: &Server<'_>, message: &str) -> Ended {
    Ww::new(["send", &*server.targets().next().expect("an address")]).stdin(message).end()
}

#[test]
fn a_recipe_keeps_its_state_in_async_mode_and_starts_afresh_in_sync_mode() {
    let Some(built) = built("the recipes in both modes") else { return };
    let long = "0123456789abcdef".repeat(1 << 16);
    for recipe in RECIPES {
        let image = image(&built, recipe);
        Ww::run(&image).stdin("no newline").end().expect(0, "1 no newline");
        for (options, numbers) in [(&["--async"][..], [1, 2, 3, 4]), (&[], [1; 4])] {
            let server = serve(&image, "recipe", options);
            for (message, number) in ["one", "", &long, "four\n"].into_iter().zip(numbers) {
                send(&server, message).expect(0, &format!("{number} {message}"));
            }
            server.running.signal(Signal::TERM);
            server.running.end().expect(143, "");
        }
    }
}

#[test]
fn a_library_is_initialised_once_and_nothing_of_a_message_reaches_the_next() {
    let Some(built) = built("initialisers, failures and exits in async mode") else { return };
    for program in ENDS {
        let image = image(&built, program);
        let server = serve(&image, "ends", &["--async"]);
        send(&server, "anything").expect(0, "1 1");
        send(&server, "").expect(0, "1 2");
        send(&server, &"mostly unread".repeat(10_000)).expect(0, "1 3");
        send(&server, "fail").expect(1, "").expect_stderr(&["the cell could not answer: poll returned 1"]);
        send(&server, "").expect(0, "1 5");
        if program == "go-ends/main" {
            send(&server, "wait").expect(0, "1 6");
        }
        send(&server, "exit 7").expect(7, "").expect_stderr(&["ended before it had answered: exit(7)"]);
        server.running.end().expect(7, "");
    }
}

#[test]
fn a_panic_in_async_mode_ends_the_cell_with_a_trap_and_its_message_on_stderr() {
    let Some(built) = built("panics in async mode") else { return };
    for (program, message, said) in [
        ("go-ends/main", "trap", "panic: a panic on purpose"),
        ("go-ends/main", "nil", "nil pointer dereference"),
        ("c-ends/main", "trap", "ends ended"),
        ("zig-ends/main", "trap", "panic: a panic on purpose"),
    ] {
        let image = image(&built, program);
        let server = serve(&image, "ends", &["--async"]);
        send(&server, message).expect(134, "").expect_stderr(&["ended before it had answered: trap(unreachable)"]);
        server.running.end().expect(134, "").expect_stderr(&[said, "ends ended: trap(unreachable)"]);
    }
}

#[test]
fn exit_codes_in_sync_mode_are_exact() {
    let Some(built) = built("ends in sync mode") else { return };
    for program in ENDS {
        let image = image(&built, program);
        if program == "c-ends/main" {
            let refused = Ww::run(&image).args(["--publish"]).end();
            refused.expect(126, "").expect_stderr(&["Sync", "poll (wetware:cell/actor)"]);
            continue;
        }
        for (message, code, output) in [
            ("", 0, "1 1"),
            ("exit 0", 0, ""),
            ("exit 7", 7, ""),
            ("exit 255", 255, ""),
            ("fail", 1, ""),
            ("trap", 134, ""),
        ] {
            Ww::run(&image).stdin(message).end().expect(code, output);
        }
        let server = serve(&image, "ends", &[]);
        send(&server, "exit 7").expect(1, "").expect_stderr(&["exit(7)"]);
        send(&server, "trap").expect(1, "").expect_stderr(&["trap(unreachable)"]);
        send(&server, "").expect(0, "1 1");
    }
}

#[test]
fn a_plain_go_executable_has_sync_mode_only_and_its_end_names_the_missing_flag() {
    let Some(built) = built("a plain Go executable") else { return };
    let image = image(&built, "go-ends/plain");
    Ww::run(&image).stdin("exit 7").end().expect(7, "");
    let server = serve(&image, "plain", &["--async"]);
    let why = ["trap(unreachable)", "build it with `go build -buildmode=c-shared`"];
    send(&server, "hello").expect(134, "").expect_stderr(&why);
    server.running.end().expect(134, "").expect_stderr(&why);
}

#[test]
fn the_guide_shows_the_sources_that_are_built() {
    let read = |path: &str| {
        let path = in_repository("guests/recipes").join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let guide = read("README.md");
    for path in ["go/main.go", "go/start.go", "go/go.mod", "tinygo/main.go", "c/main.c", "zig/main.zig"] {
        let source = read(path);
        // The command stands in a block of its own.
        let (commands, source): (Vec<_>, Vec<_>) = source.lines().partition(|line| line.starts_with("// build: "));
        let source = source.join("\n");
        assert!(guide.contains(source.trim()), "the guide does not show {path} as it is");
        for command in commands {
            let command = command.trim_start_matches("// build: ");
            assert!(guide.lines().any(|line| line == command), "the guide does not build {path} by `{command}`");
        }
    }
}
