//! What the capability servers of one cell share.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use actix::ArbiterHandle;
use capnp::Error;
use tokio::sync::Semaphore;
use ww_cell::{Cause, Envelope, Failure, Handling, message::Sender};
use ww_core::{CellId, Grants, Limits, grants::AdminMethod};
use ww_executor::{Executor, Guest};

use crate::{
    entitlement::Entitlement,
    membrane::{MAX_NARROWED, Place, Scope},
    network::Network,
    program::Sources,
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
    /// Programs that it holds.
    pub(crate) sources: Sources,
    /// What the cell is handling.
    handling: Handling,
    /// Room for the capabilities that it narrows.
    pub(crate) narrowed: Arc<Semaphore>,
    /// Where what it starts belongs, if not directly to the cell.
    place: Option<Rc<Place>>,
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
            sources: Sources::default(),
            handling: Handling::default(),
            narrowed: Arc::new(Semaphore::new(MAX_NARROWED)),
            place: None,
            session: None,
        }
    }

    /// The same for a cell that may be handling a message.
    pub(crate) fn of_instance(self, handling: Handling) -> Self {
        Self { handling, ..self }
    }

    /// The same for a client, which is no cell.
    pub(crate) fn of_client(self, entitlement: Rc<Entitlement>) -> Self {
        Self { session: Some(entitlement), ..self }
    }

    /// The same for capabilities whose cells belong to a scope.
    pub(crate) fn within(&self, scope: &Rc<Scope>) -> Self {
        Self { place: Some(Place::new(scope, self.clone())), ..self.clone() }
    }

    /// Whether its cells belong to a scope.
    pub(crate) fn is_within(&self, scope: &Rc<Scope>) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_within(scope))
    }

    /// Where its cells belong that do not belong directly to the cell.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_deref()
    }

    /// As whom it owns what it starts.
    pub(crate) async fn owner(&self) -> Result<CellId, Error> {
        match &self.place {
            Some(place) => place.owner().await,
            None => Ok(self.guest.id),
        }
    }

    /// As whom it owns what it has started; `None` if that cannot be anything yet.
    pub(crate) fn known_owner(&self) -> Option<CellId> {
        match &self.place {
            Some(place) => place.known_owner(),
            None => Some(self.guest.id),
        }
    }

    /// What it can give to cells that it starts.
    pub(crate) fn grants_for_children(&self) -> Grants {
        match &self.place {
            Some(place) => place.grants(),
            None => self.guest.grants.clone(),
        }
    }

    /// Whether it is a client of the control socket, to whom all cells count as its own.
    pub(crate) fn is_local_client(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.is_remote())
    }

    /// What the cell itself may use, of which its children get no more.
    pub(crate) fn limits(&self) -> Result<Limits, Error> {
        if let Some(place) = &self.place {
            return place.limits();
        }
        if let Some(session) = &self.session {
            return Ok(session.limits.clone());
        }
        let cell = self.executor.directory().cell(self.guest.id);
        let cell = cell.ok_or_else(|| Error::failed("the cell that holds this has ended".into()))?;
        Ok(cell.limits().clone())
    }

    /// The message on whose behalf it sends others.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.handling.cause()
    }

    /// The envelope of a message to a cell of this node.
    ///
    /// # Errors
    ///
    /// Where that one waits for the answer to what the sender is handling.
    pub(crate) fn envelope(&self, to: &ww_cell::Cell, timeout: Option<Duration>) -> Result<Envelope, Failure> {
        let mut envelope = to.envelope(timeout);
        envelope.sender = self.sender();
        envelope.client = self.is_local_client().then_some(self.guest.id);
        let Some(cause) = self.cause() else { return Ok(envelope) };
        if to.at_once() == 1 && cause.chain.blocks(to.slot().id()) {
            return Err(Failure::Deadlock);
        }
        Ok(envelope.caused_by(cause))
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use ww_cell::message::Chain;

    use super::*;
    use crate::fixture::{context, local};

    #[test]
    fn a_message_carries_what_its_sender_is_handling_and_is_none_to_who_waits_for_that() {
        local(async {
            let (idle, (process, _streams)) = context(Handling::default()).await;
            let cell = process.cell();
            let own = idle.envelope(cell, None).expect("nobody waits");
            assert_eq!((own.deadline, own.chain, own.sender), (None, Chain::default(), Sender::Cell(process.id())));

            let left = Duration::from_secs(5);
            let until = Instant::now() + left;
            let cause = Cause { trace: 4711, deadline: Some(until), chain: Chain::default() };
            let (busy, _other) = context(cause.clone().into()).await;
            for (timeout, most) in [(None, until), (Some(3 * left), until), (Some(left / 5), until - left / 2)] {
                let envelope = busy.envelope(cell, timeout).expect("nobody waits");
                assert_eq!(envelope.trace, 4711);
                assert!(envelope.deadline.is_some_and(|deadline| deadline <= most), "{timeout:?}");
            }

            let chain = Chain::default().with(cell.slot().id());
            let (waited_for, _another) = context(Cause { chain, ..cause }.into()).await;
            assert!(matches!(waited_for.envelope(cell, None), Err(Failure::Deadlock)));
        });
    }
}
