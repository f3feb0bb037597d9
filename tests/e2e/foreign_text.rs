//! Text of guests, in the log of the node and in what the verbs say: one line, escaped, short.

use std::fs;

use rustix::process::Signal;

use crate::{
    image::Image,
    verbs::{ONCE, User},
};

/// Forges a line of the log, clears the screen, and turns the order of the rest around.
const EVIL: &str = "x\n2026-01-01T00:00:00.000000Z  INFO ww::node: FORGED\u{1b}[2J\u{9b}31m\u{202e}\rww: FORGED";

/// Bytes of a log after 10 messages, whatever they say: as many lines, each with one error, and those of the node.
const MAX_LOG: usize = 64 * 1024;

/// That no line is the guest's, and none controls a terminal.
#[track_caller]
fn assert_clean(what: &str, text: &str) {
    let controls = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.contains(controls), "{what}: {text:?}");
    let forged = |line: &str| line.starts_with("2026-01-01") || line.starts_with("ww: FORGED");
    assert!(!text.lines().any(forged), "{what}: {text}");
}

#[test]
fn errors_of_a_guest_are_lines_of_the_node_and_of_the_verb() {
    let (user, image) = (User::new(), Image::of("actor").manifest(ONCE));
    let node = user.serve(&image, &["--async", "--name", "actor"]);
    let message = format!("error\n{EVIL}");
    let failed = user.ask(&["send", "actor", &message]);
    failed.expect(1, "").expect_stderr(&["ww: the cell could not answer: x\\n2026-01-01"]);
    assert_eq!(failed.stderr.lines().count(), 1, "{failed}");
    assert_clean("ww send", &failed.stderr);

    let large = format!("error\n{}", EVIL.repeat(10_000));
    for _ in 0..10 {
        let failed = user.verb(&["send", "actor"]).stdin(large.as_str()).end();
        failed.expect(1, "").expect_stderr(&[" bytes more)"]);
        assert!(failed.stderr.len() < 5_000, "{} bytes", failed.stderr.len());
    }
    node.signal(Signal::INT);
    let ended = node.end();
    ended.expect(130, "").expect_stderr(&["the guest failed a message", "error=x\\n2026-01-01"]);
    assert_clean("the log", &ended.stderr);
    assert!(ended.stderr.len() < MAX_LOG, "{} bytes", ended.stderr.len());
}

#[test]
fn arguments_are_shown_escaped_and_short_in_every_verb() {
    let (user, long) = (User::new(), EVIL.repeat(1_000));
    for evil in [EVIL, &long] {
        let below = format!("/dev/null/{evil}");
        let socket = format!("unix:{below}");
        for args in [
            &[evil][..],
            &["run", evil],
            &["run", "image", "--config", &below],
            &["run", "image", "--identity", &below],
            &["run", "image", "--env", evil],
            &["run", "image", "--listen", evil],
            &["run", "image", "--control", evil],
            &["spawn", "--node", &socket, evil],
            &["send", "--node", evil, "echo", "text"],
            &["send", &below],
            &["wait", "--node", &socket, evil],
            &["connect", evil],
            &["keygen", &below],
            &["completions", evil],
        ] {
            let ended = user.ask(args);
            assert!(ended.code >= 64 && ended.stdout.is_empty(), "{ended}");
            assert!((1..9 * 1024).contains(&ended.stderr.len()), "{} bytes", ended.stderr.len());
            assert_clean(args[0], &ended.stderr);
        }
    }
}

#[test]
fn names_in_a_program_are_escaped_in_backtraces_and_reasons() {
    let name = r"f\1b[2J\0aww: FORGED\0a2026-01-01\c2\9b";
    let traps = format!(r#"(module (func (@name "{name}") (export "_start") unreachable))"#);
    let imports = format!(r#"(module (import "{name}" "{name}" (func)) (func (export "_start")))"#);
    let (user, image) = (User::new(), Image::of_text(&traps));
    let ended = user.run(&image, &[]).end();
    ended.expect(134, "").expect_stderr(&["ww: pid0 ended: trap(unreachable): ", "\n  f\\u{1b}[2J\\nww: FORGED"]);
    assert_clean("ww run, a backtrace", &ended.stderr);
    let ended = user.run(&Image::of_text(&imports), &[]).end();
    ended.expect(126, "").expect_stderr(&["f\\u{1b}[2J\\nww: FORGED"]);
    assert_clean("ww run, an import", &ended.stderr);

    let echo = Image::of("echo");
    let node = user.serve(&echo, &["--async"]);
    let program = user.directory().join("program.wasm");
    for (text, code) in [(&traps, 134), (&imports, 126)] {
        fs::write(&program, wat::parse_str(text).expect("a program")).expect("written");
        let ended = user.verb(&["spawn"]).args([&program]).end();
        assert_eq!(ended.code, code, "{ended}");
        assert_clean("ww spawn", &ended.stderr);
    }
    let ids = (2..10).map(|id: u64| id.to_string());
    let seen: Vec<_> = ids.map(|id| user.ask(&["inspect", &id]).stdout).filter(|text| !text.is_empty()).collect();
    assert!(seen.iter().any(|text| text.contains("state: ended with 134")), "{seen:?}");
    for text in seen.into_iter().chain([&["ps"][..], &["tree"], &["ps", "--json"]].map(|verb| user.prints(verb))) {
        assert_clean("a verb", &text);
    }
    node.signal(Signal::INT);
    let ended = node.end();
    ended.expect(130, "").expect_stderr(&["a cell ended", "backtrace=f\\u{1b}[2J\\nww: FORGED"]);
    assert_clean("the log", &ended.stderr);
}
