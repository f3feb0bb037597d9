//! The verbs that ask a running node, each against a real one.

use std::{fs, path::Path};

use capnp::traits::HasTypeId;
use rustix::process::Signal;
use tempfile::TempDir;
use ww_net::Identity;
use ww_schema::peer_capnp::process;

use crate::{
    harness::{Ended, Running, Ww},
    image::{Image, guest},
};

/// Reports `oops` again and again, and a line when it starts; until it is stopped.
const COMPLAIN: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "started\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 8))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16)))
        (loop (br 0))))"#;

/// Writes `out`, and exits with 3.
pub(crate) const EXIT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "out")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 3))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
        (call $exit (i32.const 3))))"#;

/// What an image says whose cell is not started again.
pub(crate) const ONCE: &str = "[cell]\nrestart = \"temporary\"\n";

/// The interface of `Process`, whose method 3 is `wait`, as the log names it.
const WAIT: u64 = <process::Client as HasTypeId>::TYPE_ID;

/// The runtime directory of a user, in which nodes and verbs meet.
pub(crate) struct User(TempDir);

impl User {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    /// A node of this user that runs an image.
    pub(crate) fn run<'image>(&self, image: &'image Image, args: &[&str]) -> Ww<'image> {
        Ww::run(image).env("XDG_RUNTIME_DIR", self.directory()).args(args)
    }

    /// The same, once its cell serves messages.
    pub(crate) fn serve<'image>(&self, image: &'image Image, args: &[&str]) -> Running<'image> {
        let mut node = self.run(image, args).start();
        node.wait_for_stderr("the cell serves messages");
        node
    }

    /// A verb of this user.
    pub(crate) fn verb(&self, args: &[&str]) -> Ww<'static> {
        Ww::new(args).env("XDG_RUNTIME_DIR", self.directory())
    }

    pub(crate) fn ask(&self, args: &[&str]) -> Ended {
        self.verb(args).end()
    }

    /// What a verb prints that succeeds.
    #[track_caller]
    pub(crate) fn prints(&self, args: &[&str]) -> String {
        let ended = self.ask(args);
        assert_eq!(ended.code, 0, "{ended}");
        ended.stdout
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn cells_are_listed_drawn_and_inspected() {
    let (user, image) = (User::new(), Image::of("echo"));
    let node = user.serve(&image, &["--async", "--name", "echo"]);
    let list = user.prints(&["ps"]);
    let mut lines = list.lines();
    assert!(lines.next().is_some_and(|head| {
        head.split_whitespace().eq(["CELL", "NAME", "STATE", "ASYNC", "AGE", "CPU", "MEMORY", "MAILBOX", "MESSAGES"])
    }));
    assert!(
        lines.next().is_some_and(|line| line.split_whitespace().take(4).eq(["2", "echo", "running", "yes"])),
        "{list}"
    );
    assert_eq!(lines.next(), None);

    let list = json(&user.prints(&["ps", "--json"]));
    assert_eq!((&list[0]["cell"], &list[0]["names"][0], &list[0]["async"]), (&2.into(), &"echo".into(), &true.into()));
    assert_eq!(list[0]["state"], "running");
    assert!(list[0]["memory"].as_u64().is_some_and(|bytes| bytes > 0) && list[0]["ended"].is_null(), "{list}");

    let tree = user.prints(&["tree"]);
    assert!(tree.starts_with("node unix:") && tree.contains("├── 1 supervisor\n│   └── 2 echo\n└── "), "{tree}");
    assert!(tree.ends_with(" client\n"), "whoever asks is a client: {tree}");
    let tree = json(&user.prints(&["tree", "--json"]));
    let supervised = &tree["children"][0]["children"][0]["label"];
    assert_eq!((&tree["cell"], supervised), (&0.into(), &"echo".into()));

    for cell in ["echo", "2"] {
        let inspected = user.prints(&["inspect", cell]);
        for part in ["names: echo", "state: running", "mode: async", "memory: 64.0MiB", "deadline: 30000ms"] {
            assert!(inspected.contains(part), "{inspected}");
        }
    }
    let inspected = json(&user.prints(&["inspect", "--json", "echo"]));
    assert_eq!((&inspected["limits"]["children"], &inspected["status"]["code"]), (&1_024.into(), &().into()));
    node.signal(Signal::TERM);
    node.end().expect(143, "");
}

#[test]
fn a_message_that_comes_while_the_program_is_compiled_waits() {
    let (user, image, cache) = (User::new(), Image::of("echo"), tempfile::tempdir().expect("a directory"));
    let node = user.run(&image, &["--async", "--name", "echo"]).env("XDG_CACHE_HOME", cache.path());
    let mut node = node.start();
    node.wait_for_stderr("the node runs");
    let states = json(&user.prints(&["ps", "--json"]));
    assert_eq!(states.as_array().map(Vec::len), Some(1), "it is there for the first client: {states}");
    assert!(matches!(states[0]["state"].as_str(), Some("compiling" | "starting" | "running")), "{states}");
    user.ask(&["send", "echo", "early"]).expect(0, "early");
}

#[test]
fn nodes_know_who_they_are_and_whom_they_are_connected_to() {
    let (user, other, image) = (User::new(), User::new(), Image::of("echo"));
    let _node = user.serve(&image, &["--async"]);
    let _peer = other.serve(&image, &["--async"]);
    let id = other.prints(&["id"]);
    let (peer, addrs) = id.split_once('\n').expect("an id and addresses");
    assert_eq!(json(&other.prints(&["id", "--json"]))["peer"], peer);
    user.ask(&["peers"]).expect(0, "");
    user.ask(&["connect", addrs.trim()]).expect(0, "");
    let peers = json(&user.prints(&["peers", "--json"]));
    assert_eq!(peers[0]["peer"], peer);
    assert!(user.prints(&["peers"]).starts_with(peer));
    assert_eq!(json(&other.prints(&["peers", "--json"])).as_array().map(Vec::len), Some(1));
    user.ask(&["connect", "/ip4/127.0.0.1/tcp/1"]).expect(64, "").expect_stderr(&["no peer id"]);
    let nobody = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", Identity::ephemeral().peer_id());
    user.ask(&["connect", &nobody]).expect(69, "");
}

#[test]
fn a_program_is_spawned_as_an_image_is_run() {
    let (user, image) = (User::new(), Image::of("echo"));
    let _node = user.serve(&image, &["--async"]);
    let program = user.directory().join("exits.wasm");
    fs::write(&program, guest("exits")).expect("written");
    let spawn = |env: &str| user.verb(&["spawn", "--env", "A=1", "--env", env]).args([&program]).guest_args(&["env"]);
    spawn("A=2").end().expect(0, "A=2\n");
    spawn("B=").end().expect(0, "A=1\nB=\n");
    spawn("B").end().expect(64, "").expect_stderr(&["--env", "expected KEY=VALUE"]);
    user.ask(&["spawn", "/dev/zero"]).expect(66, "").expect_stderr(&["/dev/zero", "at most 50331648 bytes"]);
}

#[test]
fn messages_reach_a_cell_of_the_node() {
    let (user, image) = (User::new(), Image::of("actor").manifest(ONCE));
    let node = user.serve(&image, &["--async", "--name", "actor"]);
    user.ask(&["send", "actor", "count\n"]).expect(0, "1");
    user.ask(&["send", "2", "count\n"]).expect(0, "2");
    user.verb(&["send", "actor"]).stdin("count\n").end().expect(0, "3");
    let failed = user.ask(&["send", "actor", "error\nnot today"]);
    failed.expect(1, "").expect_stderr(&["the cell could not answer: not today"]);
    user.ask(&["send", "--deadline", "300", "actor", "sleep 1500\n"]).expect(69, "");
    user.ask(&["send", "acto", "count\n"]).expect(69, "").expect_stderr(&["no such cell: acto; did you mean actor?"]);
    user.ask(&["send", "77", "count\n"]).expect(69, "").expect_stderr(&["no such cell: 77"]);
    let torn = user.ask(&["send", "actor", "torn\n"]);
    assert_eq!(torn.code, 134, "{torn}");
    torn.expect_stderr(&["ended before it had answered: trap(unreachable)"]);
    node.end().expect(134, "");
}

#[test]
fn a_cell_is_killed_and_waited_for() {
    let (user, image) = (User::new(), Image::of("echo").manifest(ONCE));
    let node = user.run(&image, &["--async", "--name", "echo"]).env("RUST_LOG", "ww=info,ww::rpc=trace");
    let mut node = node.start();
    node.wait_for_stderr("the cell serves messages");
    let program = user.directory().join("exit.wasm");
    fs::write(&program, wat::parse_str(EXIT).expect("a program")).expect("written");
    let spawned = user.verb(&["spawn"]).args([&program]).end();
    spawned.expect(3, "out");
    // It has ended, and is still known.
    let id = (3..100).map(|id: u64| id.to_string()).find(|id| user.ask(&["inspect", id]).code == 0).expect("a cell");
    user.ask(&["wait", &id]).expect(3, "");
    assert!(user.prints(&["inspect", &id]).contains("state: ended with 3: exit(3)"));
    user.ask(&["kill", "ehco"]).expect(69, "").expect_stderr(&["did you mean echo?"]);

    let waiting = user.verb(&["wait", "echo"]).start();
    // Two have waited before, for the program.
    for _ in 0..3 {
        node.wait_for_stderr(&format!("{WAIT:#x}.3"));
    }
    // One that is not there does not keep the next one.
    let killed = user.ask(&["kill", "ehco", "echo"]);
    killed.expect(69, "").expect_stderr(&["cannot kill ehco: no such cell", "did you mean echo?"]);
    node.end().expect(137, "").expect_stderr(&["echo ended: killed"]);
    waiting.end().expect(137, "");
}

#[test]
fn a_number_means_the_cell_of_that_name_or_id_and_nothing_where_it_could_mean_two() {
    let (user, image) = (User::new(), Image::of("echo").manifest(ONCE));
    let program = user.directory().join("program.wasm");
    fs::write(&program, wat::parse_str(COMPLAIN).expect("a program")).expect("written");
    // The image's own cell is 2, and what the first client starts is 4.
    let node = user.serve(&image, &["--async", "--name", "4"]);
    let mut spawned = user.verb(&["spawn"]).args([&program]).start();
    spawned.wait_for_stderr("started\n");
    let ids: Vec<_> = json(&user.prints(&["ps", "--json"]))
        .as_array()
        .expect("a list")
        .iter()
        .map(|cell| cell["cell"].as_u64())
        .collect();
    assert_eq!(ids, [Some(2), Some(4)]);
    for args in [&["kill", "4"][..], &["wait", "4"], &["inspect", "4"], &["logs", "4"], &["send", "4", "hello"]] {
        let refused = user.ask(args);
        refused.expect(64, "").expect_stderr(&["4 could mean two cells: cell 2", "say name:4 or id:4"]);
    }
    assert!(user.prints(&["inspect", "id:4"]).contains("cell: 4\n"));
    assert!(user.prints(&["inspect", "name:4"]).contains("cell: 2\n"));
    user.ask(&["send", "name:4", "hello"]).expect(0, "hello");
    user.ask(&["kill", "id:4"]).expect(0, "");
    spawned.end().expect(137, "");
    // It has ended, and an operator who meant it must not end the other one.
    user.ask(&["kill", "4"]).expect(64, "");
    user.ask(&["inspect", "name:2"]).expect(69, "").expect_stderr(&["no such cell: 2"]);
    user.ask(&["inspect", "id:echo"]).expect(64, "").expect_stderr(&["expected a number of `ww ps`"]);
    user.ask(&["kill", "name:4"]).expect(0, "");
    node.end().expect(137, "");

    let node = user.serve(&image, &["--async", "--name", "77"]);
    user.ask(&["send", "77", "hello"]).expect(0, "hello");
    user.ask(&["send", "2", "hello"]).expect(0, "hello");
    user.ask(&["kill", "77"]).expect(0, "");
    node.end().expect(137, "");
}

#[test]
fn what_a_cell_reports_is_kept_and_followed() {
    let (user, image) = (User::new(), Image::of_text(COMPLAIN));
    let mut node = user.run(&image, &[]).start();
    node.wait_for_stderr("started\n");
    user.ask(&["logs", "pid0"]).expect(0, "started\n");
    user.ask(&["logs", "pid0"]).expect(0, "started\n");
    let mut following = user.verb(&["logs", "-f", "pid0"]).start();
    following.wait_for_stdout("started\n");
    user.ask(&["logs", "pid"]).expect(69, "").expect_stderr(&["did you mean pid0?"]);
    user.ask(&["kill", "pid0"]).expect(0, "");
    following.end().expect(0, "started\n");
    node.end().expect(137, "");
}

#[test]
fn a_spawned_program_has_this_terminal_and_ends_with_its_command() {
    let (user, image) = (User::new(), Image::of("echo"));
    let _node = user.serve(&image, &["--async"]);
    let program = user.directory().join("program.wasm");
    let spawn = || user.verb(&["spawn"]).args([&program]);
    fs::write(&program, guest("child-echo")).expect("written");
    spawn().stdin("hello").end().expect(0, "child-echo: hello\n").expect_stderr(&["the node echoed"]);

    fs::write(&program, wat::parse_str(COMPLAIN).expect("a program")).expect("written");
    let mut spawned = spawn().start();
    spawned.wait_for_stderr("started\n");
    let cells = json(&user.prints(&["ps", "--json"]));
    let id = cells[1]["cell"].as_u64().expect("a second cell").to_string();
    let tree = user.prints(&["tree"]);
    assert!(tree.contains(" client\n│   └── "), "the client owns it: {tree}");
    let waiting = user.verb(&["wait", &id]).start();
    spawned.signal(Signal::KILL);
    waiting.end().expect(143, "");

    fs::write(&program, "no program").expect("written");
    spawn().end().expect(126, "").expect_stderr(&["cannot start the program"]);
    user.ask(&["spawn", "nowhere.wasm"]).expect(66, "").expect_stderr(&["nowhere.wasm"]);
}

#[test]
fn without_a_node_or_with_several_a_verb_says_what_to_do() {
    let (user, image) = (User::new(), Image::of("echo"));
    let none = user.ask(&["ps"]);
    none.expect(69, "").expect_stderr(&["no node of this user is running", "ww run IMAGE", "--node"]);
    user.ask(&["ps", "--node", "unix:/nowhere/socket"]).expect(69, "").expect_stderr(&["no node is running at"]);
    user.ask(&["ps", "--node", "tcp:192.0.2.1:1"]).expect(64, "").expect_stderr(&["not on loopback"]);

    let nodes = [user.serve(&image, &["--async", "--name", "a"]), user.serve(&image, &["--async", "--name", "b"])];
    let several = user.ask(&["ps"]);
    several.expect(64, "").expect_stderr(&["several nodes are running, choose one"]);
    let addresses: Vec<_> = several.stderr.lines().filter_map(|line| line.trim().strip_prefix("--node ")).collect();
    assert_eq!(addresses.len(), 2, "{several}");
    let names: Vec<_> = addresses.iter().map(|node| json(&user.prints(&["ps", "--json", "--node", node]))).collect();
    let mut names: Vec<_> = names.iter().map(|list| list[0]["names"][0].as_str().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
    for node in nodes {
        node.signal(Signal::INT);
        node.end().expect(130, "");
    }
    user.ask(&["ps"]).expect(69, "");
}

#[test]
fn the_machine_is_examined_and_shells_get_their_scripts() {
    let (user, image) = (User::new(), Image::of("echo"));
    let report = user.ask(&["doctor"]);
    report.expect_stderr(&[]);
    for part in ["identity: HOME is not set", "cache: ", "control sockets: ", "nodes: none is running"] {
        assert!(report.stdout.contains(part), "{report}");
    }
    let _node = user.serve(&image, &["--async"]);
    assert!(user.ask(&["doctor"]).stdout.contains("ok     node: unix:"));
    for shell in ["bash", "zsh", "fish"] {
        let script = user.prints(&["completions", shell]);
        assert!(["inspect", "doctor", "follow", "control"].iter().all(|word| script.contains(word)), "{shell}");
    }
    user.ask(&["completions", "cmd"]).expect(64, "");
}
