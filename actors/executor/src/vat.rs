//! How a guest's connection reaches whoever serves capabilities.

use std::{any::Any, fmt, sync::Arc};

use ww_cell::{Duplex, Files, Slot};
use ww_core::{Account, CellId, Grants};

use crate::Executor;

/// What a vat keeps for a cell, of which the executor knows nothing. It lives as long as somebody can start the cell.
pub type Handed = Arc<dyn Any + Send + Sync>;

/// The cell at the other end of a connection, and what it may do.
#[derive(Clone)]
pub struct Guest {
    /// The cell itself: owner of everything that is started over this connection.
    pub id: CellId,
    /// Its authority.
    pub grants: Grants,
    /// The files of its image, if it may read them.
    pub files: Option<Arc<dyn Files>>,
    /// What the node holds for it, and for all that it starts.
    pub account: Account,
    /// What the vat keeps for it.
    pub handed: Option<Handed>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("id", &self.id).field("grants", &self.grants).finish_non_exhaustive()
    }
}

/// Lets peers send messages to a new slot until it ends. The error says why that is not possible.
pub type Publish = Arc<dyn Fn(&Slot) -> Result<(), String> + Send + Sync>;

/// Serves the connections of guests to their node.
pub trait GuestVat: Send + Sync + 'static {
    /// Serves one connection until the guest closes it or ends. Called once per cell, on the thread that runs the
    /// guest, when the guest connects: it must not block.
    fn serve(&self, executor: &Executor, guest: Guest, connection: Duplex);
}
