//! What the command itself says on standard error, its log included. A reader of standard error that stalls should hold
//! neither the threads of a node up nor its end: what it does not take in a moment is left out, and counted. Only where
//! somebody else fills the last place between a look and a write, that write waits.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::Output;

/// How long a notice waits for a reader that has taken all the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that a pipe with room takes at once: `PIPE_BUF` of Linux.
const PIECE: usize = 4096;

/// Notices that were left out since the last one that was not. One for all, as there is one standard error.
static LEFT_OUT: AtomicUsize = AtomicUsize::new(0);

/// Writes notices, each in one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notices;

impl Notices {
    /// Writes a notice, if that does not take long.
    pub(crate) fn say(self, text: &[u8]) {
        let patience = if LEFT_OUT.load(Ordering::Relaxed) > 0 { Duration::ZERO } else { PATIENCE };
        let until = Instant::now() + patience;
        if !has_room(Output::Stderr.fd(), patience) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            write(format!("ww: {left_out} lines were left out here: standard error was not read\n").as_bytes());
        }
        let left = || until.saturating_duration_since(Instant::now());
        if !text.chunks(PIECE).all(|piece| has_room(Output::Stderr.fd(), left()) && write(piece)) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether an output takes [`PIECE`] bytes now, or soon.
fn has_room(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let patience = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&patience)) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            // Then writing says what is wrong, to nobody.
            Err(_) => return true,
        }
    }
}

/// Whether it was written: what cannot be said there cannot be said in another way either.
fn write(text: &[u8]) -> bool {
    Output::Stderr.write_all(text).is_ok()
}

impl io::Write for Notices {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.say(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_has_room_until_it_is_full() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let mut pieces = 0;
        while has_room(writer.as_fd(), Duration::ZERO) {
            writer.write_all(&[b'x'; PIECE]).expect("no wait, or the test does not end");
            pieces += 1;
        }
        assert!(pieces > 0);
        assert!(!has_room(writer.as_fd(), Duration::from_millis(1)), "it stays full");
        reader.read_exact(&mut [0; PIECE]).expect("what was written");
        assert!(has_room(writer.as_fd(), PATIENCE));
    }
}
