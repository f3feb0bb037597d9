//! What tells the command to stop: signals, and clients of its node.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::code;
use crate::StopRequests;

/// SIGINT and SIGTERM, from now on.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    clients: Option<StopRequests>,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            clients: None,
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
        tokio::select! {
            () = clients => code::TERMINATED,
            _ = self.interrupt.recv() => code::INTERRUPTED,
            _ = self.terminate.recv() => code::TERMINATED,
        }
    }
}
