//! What the capability servers of one cell share.

use std::{cell::Cell, rc::Rc, sync::Arc};

use actix::ArbiterHandle;
use capnp::Error;
use tokio::sync::Semaphore;
use ww_cell::message::Sender;
use ww_core::{Limits, grants::AdminMethod};
use ww_executor::{Executor, Guest};

use crate::{
    entitlement::Entitlement,
    network::Network,
    remote::{nodes::MAX_NODES, ties::Ties},
};

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
    /// Room for its connections to other nodes.
    pub(crate) nodes: Arc<Semaphore>,
    /// Its links to processes of other nodes.
    pub(crate) ties: Rc<Ties>,
    /// Monitors that its capabilities hold.
    pub(crate) monitors: Rc<Cell<usize>>,
    /// What a client gets, which is no cell.
    session: Option<Rc<Entitlement>>,
}

impl Context {
    /// What the capabilities of a cell share that connects.
    pub(crate) fn new(guest: Guest, network: Arc<dyn Network>, executor: Executor, vats: ArbiterHandle) -> Self {
        Self {
            guest: Rc::new(guest),
            network,
            executor,
            dials: Arc::new(Semaphore::new(MAX_DIALS)),
            vats,
            nodes: Arc::new(Semaphore::new(MAX_NODES)),
            ties: Rc::default(),
            monitors: Rc::default(),
            session: None,
        }
    }

    /// The same for a client, which is no cell.
    pub(crate) fn of_client(self, entitlement: Rc<Entitlement>) -> Self {
        Self { session: Some(entitlement), ..self }
    }

    /// What the cell itself may use, of which its children get no more.
    pub(crate) fn limits(&self) -> Result<Limits, Error> {
        if let Some(session) = &self.session {
            return Ok(session.limits.clone());
        }
        let cell = self.executor.directory().cell(self.guest.id);
        let cell = cell.ok_or_else(|| Error::failed("the cell that holds this has ended".into()))?;
        Ok(cell.limits().clone())
    }

    /// As whom it sends messages.
    pub(crate) fn sender(&self) -> Sender {
        self.session.as_ref().map_or(Sender::Cell(self.guest.id), |session| session.sender())
    }

    /// Fails unless the holder is a client with this part of `Admin`.
    pub(crate) fn require_admin(&self, method: AdminMethod) -> Result<(), Error> {
        let has = self.session.as_ref().is_some_and(|session| session.admin.contains(&method));
        if has { Ok(()) } else { Err(self.denied(method)) }
    }

    /// The error of a call that was not granted.
    pub(crate) fn denied(&self, what: impl std::fmt::Display) -> Error {
        let whom = if self.session.is_some() { "peer" } else { "cell" };
        Error::failed(format!("denied: {what} is not granted to this {whom}"))
    }
}
