//! The interactive image, through a pipe.

use std::path::Path;

use crate::{
    harness::{Ended, Running, Ww},
    image::{Image, example, guest},
};

const GREETING: &str = "This is a cell. Type `help` for what it can do.\n";
const PROMPT: &str = "ww> ";

/// A peer that is no node here.
const STRANGER: &str = "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf";

fn shell(input: &str) -> Ended {
    Ww::run(&example("shell")).env("RUST_LOG", "off").stdin(input).end()
}

/// What the shell answers to one line.
#[track_caller]
fn answer(line: &str) -> String {
    let ended = shell(&format!("{line}\n"));
    let expected = (GREETING.to_owned() + PROMPT, format!("{PROMPT}\n"));
    let answer = ended.stdout.strip_prefix(&expected.0).and_then(|rest| rest.strip_suffix(&expected.1));
    assert_eq!(ended.code, 0, "{ended}");
    answer.unwrap_or_else(|| panic!("no prompt around the answer: {ended}")).to_owned()
}

#[test]
fn it_ends_with_its_input_or_with_a_code() {
    let silent = format!("{GREETING}{PROMPT}");
    shell("").expect(0, &format!("{silent}\n"));
    shell("exit\n").expect(0, &silent);
    shell("exit 3\n").expect(3, &silent);
    shell("quit 255\nid\n").expect(255, &silent);
    let again = format!("{silent}error: \"256\" is no exit code: expected a number from 0 to 255\n{PROMPT}");
    shell("exit 256\nexit").expect(0, &again);
}

#[test]
fn help_lists_every_command() {
    let help = answer("help");
    for command in ["help", "id", "addrs", "peers", "connect", "echo", "run", "exit"] {
        assert!(help.lines().any(|line| line.starts_with(&format!("{command} "))), "{command}: {help}");
    }
    assert_eq!(answer("?"), help);
}

#[test]
fn each_command_answers() {
    assert!(answer("id").starts_with("12D3KooW"), "{}", answer("id"));
    assert!(answer("addrs").starts_with("/ip4/127.0.0.1/tcp/"), "{}", answer("addrs"));
    for (line, expected) in [
        ("", ""),
        ("   ", ""),
        ("peers", "no peer is connected\n"),
        ("echo hello  there", "hello  there\n"),
        ("echo", "\n"),
        ("frobnicate", "error: there is no command \"frobnicate\": type `help` for those that there are\n"),
        ("run", "error: expected: run <path in the image> [args]...\n"),
        ("run bin/child-echo.wasm", "bin/child-echo.wasm exited with code 0\n"),
        ("run bin/none.wasm", "error: \"bin/none.wasm\": there is no such file in the image\n"),
    ] {
        assert_eq!(answer(line), expected, "{line:?}");
    }
}

#[test]
fn run_shows_output_arguments_and_code() {
    let image = Image::of("shell").file("bin/exits.wasm", guest("exits"));
    let lines =
        "run bin/exits.wasm args a --b\nrun bin/exits.wasm exit 9\nrun bin/exits.wasm cat\nrun bin/exits.wasm error\n";
    let ended = Ww::run(&image).stdin(lines).end();
    let expected = [
        "a\n--b\nbin/exits.wasm exited with code 0\n",
        "bin/exits.wasm exited with code 9\n",
        "bin/exits.wasm exited with code 0\n",
        "bin/exits.wasm exited with code 1\n",
        "\n",
    ];
    ended.expect(0, &format!("{GREETING}{PROMPT}{}", expected.join(PROMPT)));
    ended.expect_stderr(&["an error on purpose"]);
}

#[test]
fn addresses_that_are_none_are_explained() {
    for (line, part) in [
        ("connect", "expected: connect <multiaddr>"),
        ("connect nowhere", "\"nowhere\" is no multiaddr"),
        ("connect /ip4/127.0.0.1/tcp/1", "append /p2p/<peer id>"),
    ] {
        let said = answer(line);
        assert!(said.starts_with("error: ") && said.contains(part), "{line:?}: {said}");
    }
}

/// A shell that is typed to.
struct Conversation<'image>(Running<'image>);

impl<'image> Conversation<'image> {
    fn start(image: &'image Path) -> Self {
        let mut running = Ww::run(image).env("RUST_LOG", "ww=debug").open_stdin().start();
        running.wait_for_stdout(PROMPT);
        Self(running)
    }

    fn ask(&mut self, line: &str) -> String {
        self.0.type_in(&format!("{line}\n"));
        let answer = self.0.wait_for_stdout(PROMPT);
        answer.strip_suffix(PROMPT).unwrap_or(&answer).to_owned()
    }
}

#[test]
fn two_nodes_connect_and_list_each_other() {
    let image = example("shell");
    let (mut here, mut there) = (Conversation::start(&image), Conversation::start(&image));
    let (own, peer) = (here.ask("id"), there.ask("id"));
    let (own, peer, addr) = (own.trim(), peer.trim(), there.ask("addrs"));
    assert_ne!(own, peer);
    let address = format!("{}/p2p/{peer}", addr.trim());
    assert_eq!(here.ask(&format!("connect {address}")), format!("connected to {peer}\n"));
    // Once more is no error, and no second connection.
    assert_eq!(here.ask(&format!("connect {address}")), format!("connected to {peer}\n"));
    assert_eq!(here.ask("peers"), format!("{peer}\n  {}\n", addr.trim()));
    // The other side learns of it at the same time, or a little later.
    there.0.wait_for_stderr(&format!("connected peer={own}"));
    assert!(there.ask("peers").starts_with(&format!("{own}\n  /ip4/127.0.0.1/tcp/")));
    // Whoever listens there is somebody else.
    let wrong = here.ask(&format!("connect {}/p2p/{STRANGER}", addr.trim()));
    assert!(wrong.starts_with("error: ") && wrong.contains(STRANGER) && wrong.contains(peer), "{wrong}");
    for mut conversation in [here, there] {
        conversation.0.type_in("exit\n");
        assert_eq!(conversation.0.end().code, 0);
    }
}

#[test]
fn an_address_where_nobody_listens_is_told() {
    // The port has been assigned to nothing that runs anywhere for decades.
    let said = answer(&format!("connect /ip4/127.0.0.1/tcp/1/p2p/{STRANGER}"));
    assert!(said.starts_with("error: ") && said.contains(STRANGER), "{said}");
}
