//! How a guest's connection reaches whoever serves capabilities.

use ww_cell::Duplex;
use ww_core::{CellId, Grants};

use crate::Executor;

/// The cell at the other end of a connection, and what it may do.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The cell itself: owner of everything that is started over this connection.
    pub id: CellId,
    /// Its authority.
    pub grants: Grants,
}

/// Serves the connections of guests to their node.
pub trait GuestVat: Send + Sync + 'static {
    /// Serves one connection until the guest closes it or ends. Called once per cell, on the thread that runs the
    /// guest, when the guest connects: it must not block.
    fn serve(&self, executor: &Executor, guest: Guest, connection: Duplex);
}
