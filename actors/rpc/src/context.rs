//! What the capability servers of one cell share.

use std::{rc::Rc, sync::Arc};

use capnp::Error;
use tokio::sync::Semaphore;
use ww_executor::{Executor, Guest};

use crate::network::Network;

/// Messages of one cell under way to others: as many as may wait for one. Each holds a stream and some buffers.
pub(crate) const MAX_DIALS: usize = 64;

/// What the capabilities of one cell share.
#[derive(Clone)]
pub(crate) struct Context {
    /// The cell that holds them.
    pub(crate) guest: Rc<Guest>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) executor: Executor,
    /// Room for the messages that it dials.
    pub(crate) dials: Arc<Semaphore>,
}

impl Context {
    /// What the capabilities of a cell share that connects.
    pub(crate) fn new(guest: Guest, network: Arc<dyn Network>, executor: Executor) -> Self {
        Self { guest: Rc::new(guest), network, executor, dials: Arc::new(Semaphore::new(MAX_DIALS)) }
    }
}

/// The error of a call that was not granted.
pub(crate) fn denied(what: impl std::fmt::Display) -> Error {
    Error::failed(format!("denied: {what} is not granted to this cell"))
}
