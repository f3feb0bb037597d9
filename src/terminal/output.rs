//! Standard output and standard error: every byte is written, or there is an error.
//!
//! They are written without a buffer. The standard library takes a stream that is closed for one that takes everything,
//! and puts `/dev/null` in its place before `main`: so [`note_closed`] looks at them before that.

use std::{
    fmt,
    io::{self, IsTerminal},
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::fstat,
    io::Errno,
    io::fcntl_getfd,
    stdio::{stderr, stdout},
};
use tokio::task::spawn_blocking;

/// Which outputs were closed when the process started.
static CLOSED: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

/// One of the outputs of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Looks which outputs are closed. To be called before the standard library starts; it calls nothing of that.
pub fn note_closed() {
    for (closed, fd) in CLOSED.iter().zip([stdout(), stderr()]) {
        closed.store(fcntl_getfd(fd).is_err(), Ordering::Relaxed);
    }
}

/// Whether both outputs lead to the same file, pipe or terminal.
pub(crate) fn lead_to_the_same() -> bool {
    if Output::Stdout.was_closed() || Output::Stderr.was_closed() {
        return false;
    }
    match (fstat(stdout()), fstat(stderr())) {
        (Ok(out), Ok(err)) => (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino),
        _ => false,
    }
}

impl Output {
    pub(super) fn fd(self) -> BorrowedFd<'static> {
        match self {
            Self::Stdout => stdout(),
            Self::Stderr => stderr(),
        }
    }

    /// Whether it is a terminal.
    pub(crate) fn is_terminal(self) -> bool {
        self.fd().is_terminal()
    }

    fn was_closed(self) -> bool {
        let [out, err] = &CLOSED;
        match self {
            Self::Stdout => out.load(Ordering::Relaxed),
            Self::Stderr => err.load(Ordering::Relaxed),
        }
    }

    /// Writes all bytes, and waits as long as it takes. A reader that goes away is an error of the kind `BrokenPipe`.
    ///
    /// # Errors
    ///
    /// Where not all were written.
    pub fn write_all(self, mut bytes: &[u8]) -> io::Result<()> {
        if self.was_closed() && !bytes.is_empty() {
            return Err(io::Error::other("it was closed when the command started"));
        }
        while !bytes.is_empty() {
            match rustix::io::write(self.fd(), bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                // Somebody who shares it does not want to wait.
                Err(Errno::AGAIN) => match poll(&mut [PollFd::new(&self.fd(), PollFlags::OUT)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The same for a task. Not cancel safe: what was begun is written on.
    pub(crate) async fn write(self, bytes: Bytes) -> io::Result<()> {
        spawn_blocking(move || self.write_all(&bytes)).await.map_err(io::Error::other)?
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
        })
    }
}
