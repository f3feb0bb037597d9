//! Nothing that was not given: environment, capabilities, files, and as much of the machine as the limits say.

use std::{io::ErrorKind, net::TcpListener, path::Path};

use crate::{
    harness::{Ended, Ww},
    image::{Image, guest},
};

/// Every method that can be granted, by the name of the caller's test, in `etc/ww.toml` and in errors.
const METHODS: [(&str, &str, &str); 10] = [
    ("id", "host", "Host.id"),
    ("addrs", "host", "Host.addrs"),
    ("peers", "host", "Host.peers"),
    ("connect", "host", "Host.connect"),
    ("executor", "host", "Host.executor"),
    ("dial", "host", "Host.dial"),
    ("registry", "host", "Host.registry"),
    ("nodes", "host", "Host.nodes"),
    ("narrow", "host", "Host.narrow"),
    ("echo", "executor", "Executor.echo"),
];

const HOST: [&str; 9] = ["id", "addrs", "peers", "connect", "executor", "dial", "registry", "nodes", "narrow"];
const EXECUTOR: [&str; 2] = ["runBytes", "echo"];

fn caller(manifest: &str, args: &[&str]) -> Ended {
    let image = Image::of("caller").manifest(manifest).file("bin/child.wasm", guest("exits"));
    Ww::run(&image).guest_args(args).end()
}

/// `[grants]` with everything but one method.
fn all_but(table: &str, method: &str) -> String {
    let all = if table == "host" { &HOST[..] } else { &EXECUTOR };
    let rest: Vec<_> = all.iter().filter(|granted| **granted != method).collect();
    format!("[grants]\n{table} = {rest:?}\n")
}

#[test]
fn no_variable_is_inherited() {
    for name in ["exits", "preview1"] {
        let ended = Ww::run(&Image::of(name)).env("FOO", "of the node").guest_args(&["env"]).end();
        ended.expect(0, "");
    }
}

#[test]
fn variables_come_from_the_image_and_options_win() {
    let manifest = "[env]\nA = \"of the image\"\nB = \"of the image\"\n";
    for name in ["exits", "preview1"] {
        let image = Image::of(name).manifest(manifest);
        let options = ["--env", "A=of an option", "--env", "C=", "--env", "D==", "--env", "E=1", "--env", "E=2"];
        let ended = Ww::run(&image).env("B", "of the node").args(options).guest_args(&["env"]).end();
        ended.expect(0, "A=of an option\nB=of the image\nC=\nD==\nE=2\n");
    }
}

#[test]
fn arguments_arrive_as_they_were_given() {
    for name in ["exits", "preview1"] {
        let ended = Ww::run(&Image::of(name)).guest_args(&["args", "--port", "", "two words", "日本", "--"]).end();
        ended.expect(0, "--port\n\ntwo words\n日本\n--\n");
    }
}

#[test]
fn everything_is_granted_unless_the_image_says_less() {
    for (method, _, _) in METHODS {
        let ended = caller("", &["host", method]);
        match method {
            // What it was asked is nonsense, but it was asked.
            "connect" | "dial" => assert!(ended.stdout.contains("not a peer id") && ended.code == 0, "{ended}"),
            "narrow" => assert!(ended.stdout.contains("no capability to narrow") && ended.code == 0, "{ended}"),
            _ => drop(ended.expect(0, "ok\n")),
        }
    }
}

#[test]
fn what_is_not_granted_is_denied_by_name() {
    for (method, table, name) in METHODS {
        let denied = format!("error: Failed: remote exception: denied: {name} is not granted to this cell\n");
        caller(&all_but(table, method), &["host", method]).expect(0, &denied);
        let other = if method == "id" { "addrs" } else { "id" };
        caller(&all_but(table, method), &["host", other]).expect(0, "ok\n");
    }
    let ended = caller(&all_but("executor", "runBytes"), &["run", "bin/child.wasm", "return"]);
    ended.expect(1, "").expect_stderr(&["denied: Executor.runBytes is not granted to this cell"]);
    let ended = caller("[grants]\nloader = false\n", &["load", "bin/child.wasm"]);
    ended.expect(1, "").expect_stderr(&["denied: the files of the image are not granted to this cell"]);
}

#[test]
fn a_program_without_any_grant_still_computes() {
    let nothing = "[grants]\nhost = []\nexecutor = []\nloader = false\n";
    let image = Image::of("exits").manifest(nothing);
    Ww::run(&image).stdin("input").guest_args(&["cat"]).end().expect(0, "input");
}

#[test]
fn the_loader_reads_the_image_and_nothing_else() {
    let image = Image::of("caller").file("share/text", "four").file("etc/ww.toml", "");
    std::os::unix::fs::symlink("/etc/passwd", image.path().join("share/link")).expect("a link");
    Ww::run(&image).guest_args(&["load", "share/text"]).end().expect(0, "4 bytes\n");
    for path in ["share/none", "share", "../etc/passwd", "share/../../x", "/etc/passwd", "share/link", "", "."] {
        let ended = Ww::run(&image).guest_args(&["load", path]).end();
        ended.expect(1, "").expect_not_in_stderr(&["panicked", "trap("]);
    }
}

#[test]
fn a_child_has_no_image() {
    let image = Image::of("caller");
    let ended = Ww::run(&image).guest_args(&["run", "bin/main.wasm", "load", "bin/main.wasm"]).end();
    ended.expect(1, "").expect_stderr(&["denied: the files of the image are not granted to this cell"]);
}

#[test]
fn a_child_has_the_grants_of_its_parent() {
    let manifest = all_but("host", "id");
    let denied = "error: Failed: remote exception: denied: Host.id is not granted to this cell\n";
    caller(&manifest, &["run", "bin/main.wasm", "host", "id"]).expect(0, denied);
    caller(&manifest, &["run", "bin/main.wasm", "host", "addrs"]).expect(0, "ok\n");
}

#[test]
fn a_child_has_only_the_environment_that_it_is_given() {
    let image = Image::of("caller").manifest("[env]\nSECRET = \"1\"\n").file("bin/child.wasm", guest("exits"));
    let ended = Ww::run(&image).env("FOO", "1").args(["--env", "BAR=1"]).guest_args(&["env", "bin/child.wasm"]).end();
    ended.expect(0, "A=1\nB=2\n");
}

#[test]
fn children_are_counted() {
    let ended = caller("[limits]\nchildren = 2\n", &["spawn", "3", "bin/child.wasm", "spin"]);
    assert_eq!(ended.code, 0, "{ended}");
    let refused = "the cell owns 2 children already, which is its limit `children`";
    assert!(ended.stdout.contains(refused) && ended.stdout.ends_with("running 2\n"), "{ended}");
    let ended = caller("[limits]\nsubtree-cells = 1\n", &["spawn", "2", "bin/child.wasm", "spin"]);
    assert!(ended.stdout.contains("limit `subtree-cells`") && ended.stdout.ends_with("running 1\n"), "{ended}");
    let ended = caller("[limits]\nsubtree-memory = \"64MiB\"\n", &["spawn", "2", "bin/child.wasm", "spin"]);
    assert!(ended.stdout.contains("limit `subtree-memory`") && ended.stdout.ends_with("running 1\n"), "{ended}");
}

#[test]
fn a_child_has_no_more_memory_than_its_parent() {
    caller("[limits]\nmemory = \"16MiB\"\n", &["run", "bin/child.wasm", "grow"]).expect(135, "");
}

/// What a child of the caller was told for each method.
fn told(ended: &Ended) -> Vec<(&str, &str)> {
    ended.stdout.lines().filter_map(|line| line.split_once(": ")).collect()
}

#[test]
fn a_child_that_was_given_nothing_can_do_nothing() {
    let ended = caller("", &["nothing"]);
    assert_eq!(ended.code, 0, "{ended}");
    let told = told(&ended);
    // Each method of `Host` and `Executor`, and what they lead to.
    assert_eq!(told.len(), 17, "{ended}");
    for (method, outcome) in told {
        let path = match method {
            // What it was not handed is not there.
            "grant" => "denied: \"nothing\"",
            "names" | "whereis" => "denied: Host.registry",
            "run" | "echo" | "load" | "spawn" | "supervisor" => "denied: Host.executor",
            _ => &format!("denied: Host.{method}"),
        };
        assert!(outcome.contains(path), "{method}: {outcome}");
    }
}

#[test]
fn a_capability_that_a_cell_serves_is_handed_on_narrowed_and_taken_back() {
    let ended = caller("", &["hand-on"]);
    assert_eq!(ended.code, 0, "{ended}");
    let lines: Vec<_> = ended.stdout.lines().collect();
    let revoked = "error: Failed: remote exception: revoked: the test says so";
    assert_eq!(lines.len(), 8, "{ended}");
    assert_eq!(lines[..2], ["ok", "ok"], "{ended}");
    assert!(lines[2].contains("denied: method 0 of the interface"), "{ended}");
    assert_eq!(lines[3..], ["ok", revoked, revoked, "ok", "xxxx"], "the whole one goes on: {ended}");
}

#[test]
fn a_narrowed_executor_is_handed_on_and_what_was_started_with_it_ends() {
    let ended = caller("", &["hand-on-executor"]);
    assert_eq!(ended.code, 0, "{ended}");
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines[..2], ["ok", "names: pid0 started"], "{ended}");
    assert!(lines[2].contains("owns 1 children already"), "{ended}");
    assert_eq!(lines[3..5], ["names: pid0 started", "code 143"], "{ended}");
    assert!(lines[5].contains("revoked: the test says so"), "{ended}");
    assert_eq!(lines[6..], ["names: pid0"], "{ended}");
}

#[test]
fn files_sockets_and_the_environment_of_the_machine_are_out_of_reach() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    server.set_nonblocking(true).expect("a socket");
    let port = server.local_addr().expect("an address").port().to_string();
    // With every grant there is.
    let ended = Ww::run(&Image::of("outside")).env("FOO", "of the node").guest_args(&[&port]).end();
    assert_eq!(ended.code, 0, "{ended}");
    let attempts: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(attempts.len(), 12, "{ended}");
    assert!(!ended.stdout.contains("PERMITTED"), "{ended}");
    for attempt in ["connect over TCP", "listen on TCP", "send over UDP", "look a name up"] {
        assert!(attempts.iter().any(|line| line.starts_with(attempt)), "{attempt}: {ended}");
    }
    let heard = server.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock), "nobody connected");
    assert!(!Path::new("/tmp/outside").exists() && !Path::new("/tmp/outside-directory").exists());
}

#[test]
fn there_are_no_files() {
    // WASI's own way to tell is `badf`, 8: there is no directory to begin with.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (call $prestat (i32.const 3) (i32.const 0)))))"#;
    Ww::run(&Image::of_text(text)).end().expect(8, "");
}
