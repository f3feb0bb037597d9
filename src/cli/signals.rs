//! What tells the command to stop: signals, and clients of its node.
//!
//! A signal that the caller of the command ignores stays ignored: SIGHUP below `nohup`, SIGINT of a job in the background
//! of a script. A command that a signal has ended ends by that signal at last: a shell sees the same code, and a loop
//! of commands in it stops.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::StopRequests;

mod disposition;

pub(super) use disposition::{by_default, is_ignored};

use super::code;

/// What a shell adds to the number of a signal.
const SHELL: u8 = 128;

/// SIGINT, SIGTERM and SIGHUP, from now on.
pub(super) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
    clients: Option<StopRequests>,
    /// The code of the first that came.
    caught: Option<u8>,
}

/// A signal, unless it is ignored.
pub(super) fn unless_ignored(kind: SignalKind) -> std::io::Result<Option<Signal>> {
    if is_ignored(kind) { Ok(None) } else { signal(kind).map(Some) }
}

/// Waits for a signal.
pub(super) async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: unless_ignored(SignalKind::terminate())?,
            hangup: unless_ignored(SignalKind::hangup())?,
            clients: None,
            caught: None,
        })
    }

    /// Counts what clients of a node say as a signal as well.
    pub(super) fn listen_to(&mut self, clients: StopRequests) {
        self.clients = Some(clients);
    }

    /// The exit code of the next signal.
    pub(super) async fn next(&mut self) -> u8 {
        let clients = async {
            match &self.clients {
                Some(clients) => clients.next().await,
                None => std::future::pending().await,
            }
        };
        let code = tokio::select! {
            () = clients => return code::TERMINATED,
            () = received(&mut self.interrupt) => code::INTERRUPTED,
            () = received(&mut self.terminate) => code::TERMINATED,
            // A terminal that goes away may say so twice: what has begun to end has its time all the same.
            () = received(&mut self.hangup), if self.caught.is_none() => code::HUNG_UP,
        };
        *self.caught.get_or_insert(code)
    }

    /// The end of a command with this code: by the signal that stopped it, if that is what the code says. Nothing is left
    /// to be done then.
    pub(super) fn end(&self, code: u8) -> u8 {
        if self.caught == Some(code) {
            by_default(SignalKind::from_raw((code - SHELL).into()));
        }
        code
    }
}
