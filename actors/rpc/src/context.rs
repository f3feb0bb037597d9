//! What the capability servers of one cell share.

use std::{cell::Cell, rc::Rc, sync::Arc};

use actix::ArbiterHandle;
use capnp::Error;
use tokio::sync::Semaphore;
use ww_cell::message::Sender;
use ww_core::Limits;
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
    /// The thread of the vats.
    pub(crate) vats: ArbiterHandle,
    /// Monitors that its capabilities hold.
    pub(crate) monitors: Rc<Cell<usize>>,
    /// What a client of the control socket may use, who is no cell.
    session: Option<Limits>,
}

impl Context {
    /// What the capabilities of a cell share that connects.
    pub(crate) fn new(guest: Guest, network: Arc<dyn Network>, executor: Executor, vats: ArbiterHandle) -> Self {
        let dials = Arc::new(Semaphore::new(MAX_DIALS));
        Self { guest: Rc::new(guest), network, executor, dials, vats, monitors: Rc::default(), session: None }
    }

    /// The same for a client of the control socket, whose cells get at most these limits.
    pub(crate) fn of_client(self, limits: Limits) -> Self {
        Self { session: Some(limits), ..self }
    }

    /// What the cell itself may use, of which its children get no more.
    pub(crate) fn limits(&self) -> Result<Limits, Error> {
        if let Some(limits) = &self.session {
            return Ok(limits.clone());
        }
        let cell = self.executor.directory().cell(self.guest.id);
        let cell = cell.ok_or_else(|| Error::failed("the cell that holds this has ended".into()))?;
        Ok(cell.limits().clone())
    }

    /// As whom it sends messages.
    pub(crate) fn sender(&self) -> Sender {
        if self.session.is_some() { Sender::Host } else { Sender::Cell(self.guest.id) }
    }
}

/// The error of a call that was not granted.
pub(crate) fn denied(what: impl std::fmt::Display) -> Error {
    Error::failed(format!("denied: {what} is not granted to this cell"))
}
