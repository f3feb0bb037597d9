//! Answers every message with itself, in every mode: once as a program, per message as a cell.

use std::io::{self, copy, stdin, stdout};

ww_guest::cell! { main: echo, poll: echo, handle: |body: Vec<u8>| body }

/// Copies through a small buffer: a message may be larger than the cell's memory.
fn echo() -> io::Result<()> {
    copy(&mut stdin().lock(), &mut stdout().lock()).map(|_| ())
}
