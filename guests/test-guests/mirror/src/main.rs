//! Answers every message with itself through its standard streams, in both modes.
//!
//! For measurements: what a program costs that Rust's standard library makes of three lines. It has no `handle`, so that
//! every message takes the way of the streams.

use std::io::{self, copy, stdin, stdout};

ww_guest::cell! { main: echo, poll: echo }

fn echo() -> io::Result<()> {
    copy(&mut stdin().lock(), &mut stdout().lock()).map(|_| ())
}
