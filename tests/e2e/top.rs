//! `ww top`, in a terminal.

use std::{fs::File, io::Write};

use rustix::{
    fs::{Mode, OFlags, open},
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{
    image::Image,
    verbs::{ONCE, User},
};

/// Both ends of a terminal: the inner one, for a program, and the outer one, where a person would sit.
fn terminal(rows: u16, columns: u16) -> (File, File) {
    let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&outer).expect("granted");
    unlockpt(&outer).expect("unlocked");
    let name = ptsname(&outer, Vec::new()).expect("a name");
    let inner = open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).expect("the inner end");
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&inner, size).expect("a size");
    (inner.into(), outer.into())
}

#[test]
fn a_live_screen_shows_sorts_kills_and_leaves_the_terminal_as_it_was() {
    let (user, image) = (User::new(), Image::of("echo").manifest(ONCE));
    let node = user.serve(&image, &["--async", "--name", "echo"]);
    let (inner, mut outer) = terminal(12, 100);
    let before = tcgetattr(&outer).expect("modes").local_modes;
    assert!(before.contains(LocalModes::ICANON | LocalModes::ECHO));
    let mut top = user
        .verb(&["top", "--interval", "100"])
        .env("TERM", "xterm")
        .terminal(inner, outer.try_clone().expect("another handle"))
        .start();
    top.wait_for_stdout("\x1b[?1049h");
    top.wait_for_stdout("1 cells");
    let row = top.wait_for_stdout("\x1b[27m");
    assert!(row.contains("\x1b[7m") && row.contains("echo"), "the first cell is chosen: {row:?}");
    assert!(!tcgetattr(&outer).expect("modes").local_modes.contains(LocalModes::ICANON));

    // A message changes its line, and nothing redraws the help below it.
    top.wait_for_stdout("q quit");
    user.ask(&["send", "echo", "hello"]).expect(0, "hello");
    let changes = top.wait_for_stdout("echo");
    assert!(!changes.contains("q quit"), "only what changed is written: {changes:?}");

    outer.write_all(b"\x1b[Bim").expect("typed");
    outer.write_all(b"k").expect("typed");
    top.wait_for_stdout("cell 2 was killed");
    node.end().expect(137, "");
    // The node is gone, and with it the screen.
    let end = top.end();
    assert_eq!(end.code, 69, "{end}");
    assert!(end.stdout.ends_with("\x1b[?25h\x1b[?1049l"), "{:?}", end.stdout);
    assert_eq!(tcgetattr(&outer).expect("modes").local_modes, before);
}

#[test]
fn a_stop_gives_the_terminal_back_until_it_goes_on() {
    let (user, image) = (User::new(), Image::of("echo"));
    let _node = user.serve(&image, &["--async", "--name", "echo"]);
    let (inner, mut outer) = terminal(5, 30);
    let mut top = user.verb(&["top"]).job().terminal(inner, outer.try_clone().expect("another handle")).start();
    let raw = |outer: &File| !tcgetattr(outer).expect("modes").local_modes.contains(LocalModes::ICANON);
    top.wait_for_stdout("cells");
    for typed in [true, false] {
        if typed {
            outer.write_all(b"\x1a").expect("typed");
        } else {
            top.signal(Signal::TSTP);
        }
        top.wait_for_stdout("\x1b[?1049l");
        top.wait_until_stopped();
        assert!(!raw(&outer));
        let size = Winsize { ws_row: 6, ws_col: if typed { 60 } else { 40 }, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&outer, size).expect("a size");
        top.signal(Signal::CONT);
        top.wait_for_stdout("\x1b[?1049h");
        top.wait_for_stdout("cells");
        assert!(raw(&outer));
    }
    top.signal(Signal::TERM);
    let end = top.end();
    assert_eq!((end.code, end.signal), (143, Some(Signal::TERM.as_raw())), "{end}");
    assert!(end.stdout.ends_with("\x1b[?1049l") && !raw(&outer), "{:?}", end.stdout);
    let (inner, outer) = terminal(5, 30);
    let dumb = user.verb(&["top"]).env("TERM", "dumb").terminal(inner, outer).end();
    assert_eq!(dumb.code, 64, "{dumb}");
}

#[test]
fn it_ends_with_a_key_and_needs_a_terminal() {
    let (user, image) = (User::new(), Image::of("echo"));
    let _node = user.serve(&image, &["--async", "--name", "echo"]);
    for key in [b"q", b"\x03"] {
        let (inner, mut outer) = terminal(5, 30);
        let mut top = user.verb(&["top"]).terminal(inner, outer.try_clone().expect("another handle")).start();
        top.wait_for_stdout("cells");
        outer.write_all(key).expect("typed");
        assert_eq!(top.end().code, 0);
    }
    user.ask(&["top"]).expect(64, "").expect_stderr(&["needs a terminal", "ww ps --json"]);
}
