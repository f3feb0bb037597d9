//! Capabilities over the network: what a node's configuration grants to a peer, and nothing else.

use std::{fs, path::PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;
use ww_net::{Identity, PeerId};

use crate::{
    harness::{Ended, Running, Ww},
    image::{Image, guest},
    server::{Server, serve_with},
    verbs::EXIT,
};

/// A key, and who has it.
pub(crate) struct Key {
    directory: TempDir,
    pub(crate) id: PeerId,
}

impl Key {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let id = Identity::generate_to(directory.path().join("key")).expect("a key").peer_id();
        Self { directory, id }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    /// A verb of somebody with this key.
    fn verb(&self, place: &str, args: &[&str]) -> Ww<'static> {
        Ww::new(&args[..1]).args(["--node", place]).arg_path("--identity", &self.file()).args(&args[1..])
    }

    pub(crate) fn ask(&self, place: &str, args: &[&str]) -> Ended {
        self.verb(place, args).end()
    }

    #[track_caller]
    fn prints(&self, place: &str, args: &[&str]) -> String {
        let ended = self.ask(place, args);
        assert_eq!(ended.code, 0, "{ended}");
        ended.stdout
    }
}

/// A node with a served cell, and this in its configuration.
pub(crate) fn grants<'image>(image: &'image Image, name: &'static str, config: &str) -> Server<'image> {
    serve_with(image, name, |ww| ww.args(["--async"]).config(config))
}

/// Where a node is, over each transport.
pub(crate) fn places(server: &Server<'_>) -> impl Iterator<Item = String> {
    server.addrs.iter().map(|addr| format!("{addr}/p2p/{}", server.peer))
}

pub(crate) fn place(server: &Server<'_>) -> String {
    places(server).next().expect("an address")
}

/// What a configuration says to grant everything to somebody.
pub(crate) fn everything(id: &PeerId) -> String {
    format!(
        "[[rpc.peers]]\nid = \"{id}\"\nadmin = true\n[rpc.peers.grants]\n\
         host = [\"id\", \"addrs\", \"peers\", \"connect\", \"executor\", \"dial\", \"grant\", \"nodes\", \"registry\", \"narrow\"]\n\
         executor = [\"runBytes\", \"echo\", \"load\", \"spawn\", \"supervisor\"]\n\
         mail = true\nself = true\nregistry = true\nprocess = true\nlog = true\npublish = true\n"
    )
}

#[test]
fn every_verb_works_from_another_machine_as_far_as_granted() {
    let (friend, image) = (Key::new(), Image::of("echo"));
    let server = grants(&image, "echo", &everything(&friend.id));
    for place in places(&server) {
        assert!(friend.prints(&place, &["ps"]).contains("echo"));
        let tree = friend.prints(&place, &["tree"]);
        assert!(tree.starts_with(&format!("node {place}")) && tree.contains(" client\n"), "{tree}");
        assert!(friend.prints(&place, &["inspect", "echo"]).contains("state: running"));
        assert!(friend.prints(&place, &["id"]).starts_with(&server.peer));
        assert!(friend.prints(&place, &["peers"]).starts_with(&friend.id.to_string()));
        friend.ask(&place, &["send", "echo", "hello"]).expect(0, "hello");
        friend.ask(&place, &["send", "ehco", "hello"]).expect(69, "").expect_stderr(&["did you mean echo?"]);
        friend.ask(&place, &["logs", "echo"]).expect(0, "");
        let program = friend.directory.path().join("program.wasm");
        fs::write(&program, wat::parse_str(EXIT).expect("a program")).expect("written");
        friend.verb(&place, &["spawn"]).args([&program]).end().expect(3, "out");
        fs::write(&program, guest("child-echo")).expect("written");
        let spawned = friend.verb(&place, &["spawn"]).args([&program]).stdin("hello").end();
        spawned.expect(0, "child-echo: hello\n").expect_stderr(&["the node echoed"]);
    }
    let place = place(&server);
    let waiting = friend.verb(&place, &["wait", "echo"]);
    let other = Key::new();
    other.ask(&place, &["ps"]).expect(77, "").expect_stderr(&["grants nothing to", &other.id.to_string()]);
    friend.ask(&place, &["kill", "echo"]).expect(0, "");
    drop(waiting);
    server.stop().expect(143, "");
}

#[test]
fn who_was_granted_nothing_learns_nothing_and_who_was_granted_a_part_has_that_part() {
    let (nothing, part, stranger) = (Key::new(), Key::new(), Key::new());
    let config = format!(
        "[[rpc.peers]]\nid = \"{}\"\n[[rpc.peers]]\nid = \"{}\"\nadmin = [\"list\"]\n[rpc.peers.grants]\n\
         host = [\"id\", \"executor\"]\nexecutor = [\"runBytes\"]\n[rpc.peers.limits]\nchildren = 1\nmemory = \"2MiB\"\n",
        nothing.id, part.id
    );
    let image = Image::of("echo");
    let server = grants(&image, "echo", &config);
    let place = place(&server);
    stranger.ask(&place, &["id"]).expect(77, "").expect_stderr(&["grants nothing to", "[[rpc.peers]]"]);
    for verb in [&["id"][..], &["ps"], &["tree"], &["kill", "2"], &["spawn", "--", "x"]] {
        let Some(verb) = (verb[0] != "spawn").then_some(verb) else { continue };
        let refused = nothing.ask(&place, verb);
        refused.expect(77, "").expect_stderr(&["denied: ", " is not granted to this peer"]);
    }
    assert!(part.prints(&place, &["ps"]).contains("echo"));
    part.ask(&place, &["kill", "echo"]).expect(77, "").expect_stderr(&["denied: Admin.process"]);
    part.ask(&place, &["tree"]).expect(77, "").expect_stderr(&["denied: Admin.tree"]);
    part.ask(&place, &["peers"]).expect(77, "").expect_stderr(&["denied: Host.peers"]);
    part.ask(&place, &["inspect", "echo"]).expect(77, "").expect_stderr(&["denied: Admin.inspect"]);
    let program = part.directory.path().join("program.wasm");
    fs::write(&program, wat::parse_str(EXIT).expect("a program")).expect("written");
    part.verb(&place, &["spawn"]).args([&program]).end().expect(3, "out");
    // What it starts has no more than it has itself: no echo, and 2 MiB.
    fs::write(&program, guest("child-echo")).expect("written");
    let spawned = part.verb(&place, &["spawn"]).args([&program]).end();
    spawned.expect(1, "").expect_stderr(&["denied: Executor.echo"]);
    let large =
        wat::parse_str("(module (memory (export \"memory\") 64) (func (export \"_start\")))").expect("a program");
    fs::write(&program, large).expect("written");
    assert_eq!(part.verb(&place, &["spawn"]).args([&program]).end().code, 135);
    server.stop().expect(143, "");
}

#[test]
fn what_a_peer_started_ends_with_its_connection_for_that_reason() {
    let (friend, image) = (Key::new(), Image::of("echo"));
    let server = grants(&image, "echo", &everything(&friend.id));
    let place = place(&server);
    let program = friend.directory.path().join("program.wasm");
    let spin =
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export \"memory\") 1) (data (i32.const 64) \"started\\n\")
        (func (export \"_start\") (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))) (loop (br 0))))";
    fs::write(&program, wat::parse_str(spin).expect("a program")).expect("written");
    let mut spawning: Running<'_> = friend.verb(&place, &["spawn"]).args([&program]).start();
    spawning.wait_for_stdout("started\n");
    spawning.signal(Signal::KILL);
    drop(spawning);
    // The place is free again when the connection has ended, and with it the program.
    let ended = loop {
        let list: serde_json::Value = serde_json::from_str(&friend.prints(&place, &["ps", "--json"])).expect("JSON");
        if list.as_array().is_some_and(|cells| cells.len() == 1) {
            break (3..100).find(|id: &u64| friend.ask(&place, &["inspect", &id.to_string()]).code == 0);
        }
    };
    let id = ended.expect("it is still known").to_string();
    let inspected = friend.prints(&place, &["inspect", &id]);
    assert!(inspected.contains("state: ended with 69: no connection"), "{inspected}");
    friend.ask(&place, &["wait", &id]).expect(69, "");
    server.stop().expect(143, "");
}

#[test]
fn a_key_in_use_and_a_node_that_is_not_there_are_told() {
    let (friend, image) = (Key::new(), Image::of("echo"));
    let server = grants(&image, "echo", &everything(&friend.id));
    let place = place(&server);
    let held = Identity::load_or_create(friend.file()).expect("the key");
    friend.ask(&place, &["ps"]).expect(78, "").expect_stderr(&["in use by a node that runs", "--identity"]);
    drop(held);
    Ww::new(["ps", "--node", &place]).end().expect(78, "").expect_stderr(&["HOME is not set", "--identity"]);
    let nobody = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", PeerId::random());
    friend.ask(&nobody, &["ps"]).expect(69, "").expect_stderr(&["cannot reach the peer"]);
    friend.ask("/ip4/127.0.0.1/tcp/1", &["ps"]).expect(64, "").expect_stderr(&["no peer id"]);
    server.stop().expect(143, "");

    let image = Image::of("echo");
    let config = format!("[[rpc.peers]]\nid = \"{0}\"\n[[rpc.peers]]\nid = \"{0}\"\n", friend.id);
    let refused = Ww::run(&image).config(&config).end();
    refused.expect(78, "").expect_stderr(&["is named twice"]);
}

/// The program that starts cells on another node, as a node with this key.
fn visitor<'image>(image: &'image Image, key: &Key, place: &str) -> Ww<'image> {
    Ww::run(image).arg_path("--identity", &key.file()).guest_args(&["remote", place, "bin/child.wasm"])
}

fn caller() -> Image {
    Image::of("caller").file("bin/child.wasm", guest("actor"))
}

#[test]
fn a_node_that_is_killed_in_the_middle_of_calls_is_no_connection_to_another() {
    let (other, image, caller) = (Key::new(), Image::of("echo"), caller());
    for transport in 0..2 {
        let server = grants(&image, "echo", &everything(&other.id));
        let place = places(&server).nth(transport).expect("an address");
        let mut visitor = visitor(&caller, &other, &place).start();
        visitor.wait_for_stdout("answered 1\n");
        server.running.signal(Signal::KILL);
        let ended = visitor.end();
        ended.expect(0, "answered 1\ndown 69: no connection\ncode 69, linked 69\ncall: Disconnected\n");
    }
}

#[test]
fn what_a_guest_started_on_another_node_is_seen_there_and_ends_with_the_guest() {
    let (other, friend, image, caller) = (Key::new(), Key::new(), Image::of("echo"), caller());
    let config = format!("{}{}", everything(&other.id), everything(&friend.id));
    let server = grants(&image, "echo", &config);
    let place = place(&server);
    let mut visitor: Running<'_> = visitor(&caller, &other, &place).start();
    visitor.wait_for_stdout("answered 1\n");
    let cells: serde_json::Value = serde_json::from_str(&friend.prints(&place, &["ps", "--json"])).expect("JSON");
    let id = cells[1]["cell"].as_u64().expect("a second cell").to_string();
    let waiting = friend.verb(&place, &["wait", &id]).start();
    // Over there the cell can be killed as well, which is told here.
    friend.ask(&place, &["kill", &id]).expect(0, "");
    waiting.end().expect(137, "");
    let ended = visitor.end();
    ended.expect(0, "answered 1\ndown 137: killed\ncode 137, linked 137\ncall: Failed\n");

    let mut visitor = self::visitor(&caller, &other, &place).start();
    visitor.wait_for_stdout("answered 1\n");
    let cells: serde_json::Value = serde_json::from_str(&friend.prints(&place, &["ps", "--json"])).expect("JSON");
    let id = cells[1]["cell"].as_u64().expect("a second cell").to_string();
    let waiting = friend.verb(&place, &["wait", &id]).start();
    visitor.signal(Signal::KILL);
    drop(visitor);
    waiting.end().expect(69, "");
    server.stop().expect(143, "");
}

#[test]
fn a_node_that_grants_nothing_or_too_little_says_so_to_a_guest() {
    let (other, part, image, caller) = (Key::new(), Key::new(), Image::of("echo"), caller());
    let config = format!("[[rpc.peers]]\nid = \"{}\"\ngrants = {{ host = [\"executor\"] }}\n", part.id);
    let server = grants(&image, "echo", &config);
    let place = place(&server);
    let own = other.id.to_string();
    visitor(&caller, &other, &place).end().expect(1, "").expect_stderr(&["denied: the node", "grants nothing", &own]);
    let refused = visitor(&caller, &part, &place).end();
    refused.expect(1, "").expect_stderr(&["denied: Executor.load is not granted to this peer"]);
    // The guest itself needs a grant as well.
    let without = self::caller().manifest("[grants]\nhost = [\"id\", \"executor\"]\n");
    let refused = visitor(&without, &part, &place).end();
    refused.expect(1, "").expect_stderr(&["denied: Host.nodes is not granted to this cell"]);
    server.stop().expect(143, "");
}
