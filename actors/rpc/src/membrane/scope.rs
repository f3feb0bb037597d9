//! Where cells belong that are started through a membrane.
//!
//! Each owner on whose behalf the membrane starts cells gets a [`Place`] below it: a part of what it owns, with the limits
//! that were narrowed, which ends by itself. The servers that start cells are replaced by ones that use that place, as they
//! are met: a capability behind several membranes is in the scopes of all of them, each place below the one before.
//!
//! A supervisor that was made outside the scope keeps its own place, and its limits. Children that are started through the
//! membrane are noted, and stopped and deleted when the scope ends.
//!
//! Cells of other nodes have their places there: see [`Afar`].
//!
//! Bounded: [`MAX_PLACES`] owners, [`MAX_NOTED`] children of supervisors that live.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use capnp::{Error, capability::Client, traits::HasTypeId};
use tokio::{runtime::Handle, sync::OnceCell, time::Instant};
use ww_core::{CellId, Grants, Limits, SlotId, grants::Narrowing, task};
use ww_executor::{Owner, Session, SupervisorHandle, Which};
use ww_schema::{cell_capnp::registry, peer_capnp::executor, supervision_capnp::supervisor};

use super::{afar::Afar, grants};
use crate::{context::Context, remote::Proxy, shelf};

/// Owners on whose behalf one membrane starts cells: more executors than a program knows what to do with.
const MAX_PLACES: usize = 64;

/// Children of supervisors that are noted: as many as one owner may have by default.
const MAX_NOTED: usize = 1_024;

/// What was started through one membrane.
pub(crate) struct Scope {
    narrowing: Rc<Narrowing>,
    /// By the owners above, in the order in which they were opened.
    places: RefCell<Vec<(CellId, Rc<OnceCell<Session>>)>>,
    noted: RefCell<Vec<Undo>>,
    afar: Afar,
    opened: Instant,
    ended: Cell<bool>,
}

/// One child of a supervisor, to be stopped.
pub(crate) struct Undo {
    pub(crate) supervisor: SupervisorHandle,
    pub(crate) which: Which,
    pub(crate) slot: SlotId,
}

/// The scope of a server, and whose it was before.
pub(crate) struct Place {
    scope: Rc<Scope>,
    above: Context,
}

impl Scope {
    pub(super) fn new(narrowing: Rc<Narrowing>) -> Self {
        Self {
            narrowing,
            places: RefCell::default(),
            noted: RefCell::default(),
            afar: Afar::default(),
            opened: Instant::now(),
            ended: Cell::new(false),
        }
    }

    /// Asks what was started to end, at once.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.afar.end();
        for (_, place) in self.places.take().into_iter().rev() {
            if let Some(session) = place.get() {
                session.end();
            }
        }
        let noted = self.noted.take();
        if noted.is_empty() {
            return;
        }
        // Without a runtime the thread ends, and with it the node.
        let Ok(runtime) = Handle::try_current() else { return };
        let stop = async move {
            for Undo { supervisor, which, .. } in noted.into_iter().rev() {
                // It may have ended in the meantime.
                let _ = supervisor.terminate_child(which.clone()).await;
                if let Which::Id(id) = which {
                    let _ = supervisor.delete_child(id).await;
                }
            }
        };
        drop(task::spawn(&runtime, task::Kind::detached("revocation", "children of supervisors"), stop));
    }

    /// A capability of another node, held to the narrowing there; `None` if it is already.
    async fn afar(self: &Rc<Self>, proxy: &Rc<Proxy>) -> Result<Option<Client>, Error> {
        if proxy.is_within(self) {
            return Ok(None);
        }
        if self.ended.get() {
            return Err(ended());
        }
        let left = self.narrowing.expires.map(|after| after.saturating_sub(self.opened.elapsed()));
        let there = self.afar.within(proxy.node(), proxy.there(), &self.narrowing, left).await?;
        if self.ended.get() { Err(ended()) } else { Ok(Some(proxy.within(self, there))) }
    }

    /// The place below an owner.
    fn place(&self, owner: CellId) -> Result<Rc<OnceCell<Session>>, Error> {
        if self.ended.get() {
            return Err(ended());
        }
        let mut places = self.places.borrow_mut();
        if let Some((_, place)) = places.iter().find(|(above, _)| *above == owner) {
            return Ok(Rc::clone(place));
        }
        if places.len() >= MAX_PLACES {
            let why =
                format!("cells of {MAX_PLACES} executors were started through one narrowed capability, no more can");
            return Err(Error::overloaded(why));
        }
        let place = Rc::new(OnceCell::new());
        places.push((owner, Rc::clone(&place)));
        Ok(place)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.end();
    }
}

fn ended() -> Error {
    Error::failed("revoked: nothing starts any more through what was narrowed".into())
}

impl Place {
    pub(crate) fn new(scope: &Rc<Scope>, above: Context) -> Rc<Self> {
        Rc::new(Self { scope: Rc::clone(scope), above })
    }

    /// Whether it is within a scope, directly or further up.
    pub(crate) fn is_within(&self, scope: &Rc<Scope>) -> bool {
        Rc::ptr_eq(&self.scope, scope) || self.above.is_within(scope)
    }

    /// As whom cells are owned. The place is taken when the first cell needs it.
    pub(crate) async fn owner(&self) -> Result<CellId, Error> {
        // As deep as there are membranes, which are bounded.
        let above = Box::pin(self.above.owner()).await?;
        let place = self.scope.place(above)?;
        let opened = place.get_or_try_init(|| async {
            let limits = self.limits()?;
            let session = self.above.executor.open_session_below(Owner::Cell(above), limits).await;
            session.map_err(|error| Error::failed(error.to_string()))
        });
        let session = opened.await?;
        if self.scope.ended.get() { Err(ended()) } else { Ok(session.id()) }
    }

    /// As whom cells are owned, if any was started yet.
    pub(crate) fn known_owner(&self) -> Option<CellId> {
        let above = self.above.known_owner()?;
        let places = self.scope.places.borrow();
        let (_, place) = places.iter().find(|(owner, _)| *owner == above)?;
        place.get().map(Session::id)
    }

    /// The most that cells get.
    pub(crate) fn limits(&self) -> Result<Limits, Error> {
        Ok(self.above.limits()?.capped(&self.scope.narrowing.limits))
    }

    /// What cells may be given.
    pub(crate) fn grants(&self) -> Grants {
        grants::narrowed(&self.above.grants_for_children(), &self.scope.narrowing)
    }

    /// Notes a child of a supervisor, so that it is stopped with the scope.
    pub(crate) fn note(&self, undo: Undo) -> Result<(), Error> {
        let scope = &self.scope;
        if scope.ended.get() {
            return Err(ended());
        }
        let directory = self.above.executor.directory();
        let mut noted = scope.noted.borrow_mut();
        if noted.len() >= MAX_NOTED {
            noted.retain(|undo| directory.slot(undo.slot).is_some());
        }
        if noted.len() >= MAX_NOTED {
            return Err(Error::overloaded(format!(
                "{MAX_NOTED} children were started through one narrowed capability"
            )));
        }
        noted.push(undo);
        Ok(())
    }
}

/// Whether calls of this interface start cells, or depend on which cells were started.
pub(super) fn starts_cells(interface: u64) -> bool {
    [executor::Client::TYPE_ID, supervisor::Client::TYPE_ID, registry::Client::TYPE_ID].contains(&interface)
}

/// The same capability, in the scope. Itself if it starts nothing, or is in the scope already.
///
/// # Errors
///
/// Where nobody holds cells to the narrowing: it is about them, and the capability is served by a cell or client, or by a
/// node that knows nothing of it.
pub(super) async fn within(scope: &Rc<Scope>, client: Client, interface: u64) -> Result<Client, Error> {
    let client = settled(client).await;
    Ok(Box::pin(changed(scope, &client, interface)).await?.unwrap_or(client))
}

async fn changed(scope: &Rc<Scope>, client: &Client, interface: u64) -> Result<Option<Client>, Error> {
    if let Some(wrapped) = shelf::wrapped(client) {
        // In the scope of that membrane first: what is narrowed later is a part of it.
        let behind = settled(wrapped.target(interface).await?).await;
        let behind = Box::pin(changed(scope, &behind, interface)).await?;
        return behind.map(|behind| wrapped.beside(behind)).transpose();
    }
    if let Some(proxy) = shelf::proxy_of(client) {
        return scope.afar(&proxy).await;
    }
    match shelf::in_scope(client, interface, scope) {
        Some(scoped) => Ok(Some(scoped).filter(|scoped| scoped.hook.get_ptr() != client.hook.get_ptr())),
        None if scope.narrowing.is_about_cells() => Err(Error::failed(
            "denied: limits and grants were narrowed, to which whoever serves this does not hold its cells".into(),
        )),
        None => Ok(None),
    }
}

/// What a capability is by now. Waits where it will be an answer of this node, and not for other nodes and cells: what
/// they promise may never come.
pub(crate) async fn settled(client: Client) -> Client {
    const THIS_NODE: usize = 0;
    let mut hook = client.hook;
    loop {
        while let Some(resolved) = hook.get_resolved() {
            hook = resolved;
        }
        if hook.get_brand() != THIS_NODE {
            break;
        }
        let Some(more) = hook.when_more_resolved() else { break };
        match more.await {
            Ok(resolved) => hook = resolved,
            Err(_) => break,
        }
    }
    Client::new(hook)
}
