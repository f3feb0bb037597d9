//! Options, configuration and ports: what cannot be used is named, with what to do instead.

use std::{
    ffi::{OsStr, OsString},
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use rustix::process::Signal;

use crate::{
    harness::Ww,
    image::{Image, guest},
};

#[test]
fn wrong_arguments_are_named() {
    for (args, named) in [
        (&[][..], &["Usage: ww <COMMAND>"][..]),
        (&["fly"], &["unrecognized subcommand 'fly'"]),
        (&["run"], &["<IMAGE>"]),
        (&["run", "image", "--nope"], &["unexpected argument '--nope'"]),
        (&["run", "image", "another"], &["unexpected argument 'another'"]),
        (&["run", "image", "--env", "=value"], &["--env", "expected KEY=VALUE"]),
        (&["run", "image", "--env", "KEY"], &["--env", "expected KEY=VALUE"]),
        (&["run", "image", "--name", "Not A Name"], &["--name", "1 to 63 characters of a-z"]),
        (&["run", "image", "--port", "65536"], &["--port", "65536"]),
        (&["run", "image", "--listen", "127.0.0.1:1"], &["--listen", "127.0.0.1:1"]),
        (&["run", "image", "--control", "on"], &["--control", "off"]),
        (&["keygen"], &["<FILE>"]),
    ] {
        Ww::new(args).end().expect(64, "").expect_stderr(named);
    }
}

#[test]
fn help_lists_every_option() {
    let help = Ww::new(["run", "--help"]).end();
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for part in [
        "<IMAGE>",
        "--port <PORT>",
        "--listen <MULTIADDR>",
        "--wasm-debug",
        "--name <NAME>",
        "--env <KEY=VALUE>",
        "--control <ADDR|off>",
        "--identity <FILE>",
        "--config <FILE>",
        "--ipfs-url <URL>",
        "--mdns",
        "[default: 2020]",
        "[default: http://localhost:5001]",
        "bin/main.wasm",
        "etc/ww.toml",
    ] {
        assert!(help.stdout.contains(part), "no {part} in the help: {help}");
    }
    for code in [64, 66, 69, 78, 124, 126, 130, 134, 135, 137, 143] {
        assert!(help.stdout.contains(&code.to_string()), "no exit code {code} in the help: {help}");
    }
    // A paragraph is broken where the terminal ends, and nowhere else.
    let is_torn = |line: &&str| line.starts_with(char::is_alphabetic) && line.len() < 20 && !line.ends_with([':', '.']);
    assert_eq!(help.stdout.lines().find(is_torn), None, "{help}");
}

#[test]
fn the_version_is_that_of_the_crate() {
    Ww::new(["--version"]).end().expect(0, concat!("ww ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_configuration_that_is_not_valid_names_file_line_and_key() {
    let image = Image::of("echo");
    for (text, parts) in [
        ("mdns = false\nprot = 1\n", &["node.toml", "line 2", "prot", "port"][..]),
        ("port = 70000\n", &["node.toml", "line 1", "70000"]),
        ("listen = [\"nowhere\"]\n", &["node.toml", "line 1", "listen"]),
        ("port =\n", &["node.toml", "line 1"]),
        ("max-memory = 1073741825\n", &["max-memory", "1073741825", "1073741824"]),
    ] {
        let ended = Ww::run(&image).config(text).end();
        ended.expect(78, "").expect_stderr(parts).expect_not_in_stderr(&["panicked"]);
    }
    let ended = Ww::run(&image).args(["--config", "/nowhere/ww.toml"]).end();
    ended.expect(78, "").expect_stderr(&["/nowhere/ww.toml", "--config"]);
    let ended = Ww::run(&image).args(["--config", "/dev/zero"]).end();
    ended.expect(78, "").expect_stderr(&["/dev/zero", "at most 1048576 bytes"]);
}

#[test]
fn paths_need_not_be_text() {
    let home = tempfile::tempdir().expect("a directory");
    let odd = home.path().join(OsStr::from_bytes(b"\xff"));
    let image = odd.join("image");
    fs::create_dir_all(image.join("bin")).expect("a directory");
    fs::write(image.join("bin/main.wasm"), guest("echo")).expect("written");
    fs::write(odd.join("node.toml"), "drain = \"1s\"\n").expect("written");
    let address = OsString::from_vec([b"unix:", odd.join("sock").as_os_str().as_bytes()].concat());
    let options = [OsStr::new("--async"), OsStr::new("--control"), &address];
    let node = Ww::run(&image).arg_path("--config", &odd.join("node.toml")).arg_path("--identity", &odd.join("key"));
    let mut node = node.args(options).start();
    node.wait_for_stderr("the cell serves messages");
    let list = Ww::new([OsStr::new("ps"), OsStr::new("--node"), &address]).end();
    assert!(list.code == 0 && list.stdout.contains("pid0"), "{list}");
    node.signal(Signal::TERM);
    node.end().expect(143, "");
    Ww::new([OsStr::new("keygen"), odd.join("key").as_os_str()]).end().expect(78, "").expect_stderr(&["exists"]);
}

#[test]
fn a_configuration_is_read_and_options_win_over_it() {
    let image = Image::of("shell");
    let quic = "listen = [\"/ip4/127.0.0.1/udp/0/quic-v1\"]\n";
    let ended = Ww::run_anywhere(&image).config(quic).stdin("addrs\n").end();
    assert!(ended.code == 0 && ended.stdout.contains("ww> /ip4/127.0.0.1/udp/"), "{ended}");
    let ended = Ww::run(&image).config(quic).stdin("addrs\n").end();
    assert!(ended.stdout.contains("ww> /ip4/127.0.0.1/tcp/") && !ended.stdout.contains("/udp/"), "{ended}");
    // What the node has to give bounds what an image may ask for.
    let image = Image::of("exits").manifest("[limits]\nmemory = \"32MiB\"\n");
    let ended = Ww::run(&image).config("max-memory = 16777216\n").end();
    ended.expect(66, "").expect_stderr(&["`memory` is 33554432", "at most 16777216"]);
}

#[test]
fn an_address_of_the_daemon_that_is_none_is_named() {
    let image = Image::of("echo");
    let parts = ["localhost:5001", "expected one like http://localhost:5001"];
    Ww::run(&image).args(["--ipfs-url", "localhost:5001"]).end().expect(64, "").expect_stderr(&parts);
    Ww::run(&image).config("ipfs-url = \"localhost:5001\"\n").end().expect(78, "").expect_stderr(&parts);
}

#[test]
fn a_port_in_use_is_named() {
    let image = Image::of("echo");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let everywhere = TcpListener::bind("0.0.0.0:0").expect("a port");
    let [tcp_port, udp_port, port_everywhere] = [tcp.local_addr(), udp.local_addr(), everywhere.local_addr()]
        .map(|address| address.expect("an address").port());
    for (port, options) in [
        (tcp_port, ["--listen", &format!("/ip4/127.0.0.1/tcp/{tcp_port}")]),
        (udp_port, ["--listen", &format!("/ip4/127.0.0.1/udp/{udp_port}/quic-v1")]),
        (port_everywhere, ["--port", &port_everywhere.to_string()]),
    ] {
        let ended = Ww::run_anywhere(&image).args(options).end();
        ended.expect(69, "").expect_stderr(&[&format!("port {port} "), "is in use", "--port 0"]);
    }
}
