//! Membranes: capabilities that do less than what is behind them, and that can be taken back.
//!
//! | file | concept |
//! |---|---|
//! | `membrane` | one membrane: what it lets through, what it holds, its end |
//! | `wrapped` | the server that stands for a capability on the other side |
//! | `scope` | where cells belong that are started through a membrane |
//! | `grants` | what such cells may be given |
//! | `afar`, `kept` | the ends of a membrane at the nodes that own what is behind it: from here, and there |
//! | `revoker` | how one is asked for, and revoked |
//! | `wire` | a narrowing in a message |
//!
//! A narrowed capability never resolves to what is behind it. Whatever comes out through it as a result is *wrapped*, and so
//! stays behind the membrane, with the methods that [`Narrowing::allows_reached`] leaves. Whatever goes in as a parameter is
//! wrapped as well, the other way round: what it is handed in turn comes out wrapped, and a call on it after the revocation
//! fails. Two things pass as they are: what went in comes out again as its owner's own, and what came out goes in again *as
//! the narrowed capability that it is*. Nobody gets more by handing something on: an executor that is asked to grant a
//! narrowed capability to a child grants the narrowed one. Servers of the node that have to recognise a capability, such as
//! the program of a spec, look through membranes with [`behind`].
//!
//! To revoke one breaks it at once: calls under way fail, and everything that it holds is dropped, so that monitors,
//! subscriptions and messages that were reached through it end.
//!
//! Bounded: [`MAX_NARROWED`] membranes for each connection, [`MAX_HELD`] capabilities behind each, [`MAX_DEPTH`] layers.

mod afar;
mod grants;
mod kept;
mod revoker;
mod scope;
mod wire;
mod wrapped;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
    sync::Arc,
};

use capnp::{Error, any_pointer, capability::Client, message};
use capnp::{
    private::capability::ClientHook,
    traits::{Imbue, ImbueMut},
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use ww_core::{
    grants::{Method, Narrowing},
    task::{self, Task},
};

use ww_schema::grant_capnp::narrowing;

use crate::{context::Context, shelf};

pub(crate) use kept::Neighbour;
pub(crate) use revoker::narrow;
pub(crate) use scope::{Place, Scope, Undo, settled};
pub(crate) use wrapped::{Any, Wrapped};

/// Capabilities that one connection may have narrowed at once: a membrane for each child that a cell may own.
pub(crate) const MAX_NARROWED: usize = 1_024;

/// Capabilities that pass one membrane and are held at once: as many as there may be calls under way.
const MAX_HELD: usize = 16_384;

/// Membranes around membranes: each is a step of recursion in every call.
pub(crate) const MAX_DEPTH: usize = 16;

/// One membrane.
pub(crate) struct Membrane {
    narrowing: Rc<Narrowing>,
    scope: Rc<Scope>,
    /// What is behind, by the numbers of those that stand for it.
    held: RefCell<HashMap<u64, Client>>,
    next: Cell<u64>,
    revoked: CancellationToken,
    reason: OnceCell<String>,
    /// Ends it in time.
    _expiry: OnceCell<Task<()>>,
    _place: OwnedSemaphorePermit,
}

/// Where a capability is, seen from who holds what stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Behind the membrane: the narrowed capability itself.
    Narrowed,
    /// Behind the membrane, reached through the narrowed one.
    Reached,
    /// Outside: it belongs to who holds the narrowed one.
    Outside,
}

/// Where a capability goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// A message on its way through a membrane.
struct Parcel {
    message: message::Builder<message::HeapAllocator>,
    caps: Vec<Option<Box<dyn ClientHook>>>,
}

impl Membrane {
    /// A membrane that lets through what a message says, on behalf of whom the context belongs to.
    ///
    /// # Errors
    ///
    /// Where the narrowing cannot be read, or there are too many.
    fn open(context: &Context, to: narrowing::Reader<'_>) -> Result<Rc<Self>, Error> {
        let narrowing = wire::read(to)?;
        let Ok(place) = Arc::clone(&context.narrowed).try_acquire_owned() else {
            let why = format!("{MAX_NARROWED} narrowed capabilities, as many as one connection may have: drop some");
            return Err(Error::overloaded(why));
        };
        Ok(Self::new(narrowing, place))
    }

    /// A membrane that lets through what the narrowing says.
    pub(crate) fn new(narrowing: Narrowing, place: OwnedSemaphorePermit) -> Rc<Self> {
        let narrowing = Rc::new(narrowing);
        let membrane = Rc::new(Self {
            scope: Rc::new(Scope::new(Rc::clone(&narrowing))),
            narrowing,
            held: RefCell::default(),
            next: Cell::new(0),
            revoked: CancellationToken::new(),
            reason: OnceCell::new(),
            _expiry: OnceCell::new(),
            _place: place,
        });
        if let Some(after) = membrane.narrowing.expires {
            let narrowed = Rc::downgrade(&membrane);
            let expiry = task::spawn_local(task::Kind::owned("expiry", "a narrowed capability"), async move {
                tokio::time::sleep(after).await;
                if let Some(narrowed) = Weak::upgrade(&narrowed) {
                    narrowed.revoke("it has expired");
                }
            });
            membrane._expiry.get_or_init(|| expiry);
        }
        membrane
    }

    /// What stands for the capability that is narrowed.
    pub(crate) fn narrowed(self: &Rc<Self>, client: Client) -> Result<Client, Error> {
        self.wrap(client, Side::Narrowed)
    }

    /// Breaks everything that was reached through it. Only the first reason counts.
    pub(crate) fn revoke(&self, reason: &str) {
        if self.reason.set(reason.to_owned()).is_err() {
            return;
        }
        // First cells, whose processes are then dropped in vain: they end one after the other.
        self.scope.end();
        self.revoked.cancel();
        let held = self.held.take();
        held.into_values().for_each(shelf::bury);
    }

    /// The error of calls after the revocation.
    fn error(&self) -> Error {
        let reason = self.reason.get().map_or("nobody said why", String::as_str);
        Error::failed(format!("revoked: {reason}"))
    }

    fn check(&self) -> Result<(), Error> {
        if self.reason.get().is_some() { Err(self.error()) } else { Ok(()) }
    }

    fn allows(&self, side: Side, method: Method) -> bool {
        match side {
            Side::Narrowed => self.narrowing.allows(method),
            Side::Reached => self.narrowing.allows_reached(method),
            Side::Outside => true,
        }
    }

    /// What is behind, or the error of calls to it.
    fn behind(&self, number: u64) -> Result<Client, Error> {
        self.check()?;
        // Whoever stands for it holds its place.
        self.held.borrow().get(&number).cloned().ok_or_else(|| self.error())
    }

    fn wrap(self: &Rc<Self>, client: Client, side: Side) -> Result<Client, Error> {
        self.check()?;
        wrapped::check_depth(&client)?;
        let mut held = self.held.borrow_mut();
        if held.len() >= MAX_HELD {
            let why =
                format!("{MAX_HELD} capabilities behind one that was narrowed, as many as there may be: drop some");
            return Err(Error::overloaded(why));
        }
        let number = self.next.replace(self.next.get() + 1);
        held.insert(number, client);
        drop(held);
        Ok(shelf::new_wrapped(Wrapped::new(Rc::clone(self), number, side)))
    }

    /// What a capability is on the other side.
    fn across(self: &Rc<Self>, client: Client, way: Way) -> Result<Client, Error> {
        let own = shelf::wrapped(&client).filter(|wrapped| wrapped.is_of(self));
        match (own, way) {
            (Some(wrapped), Way::Out) if wrapped.side() == Side::Outside => wrapped.behind(),
            (Some(_), _) => Ok(client),
            (None, Way::In) => self.wrap(client, Side::Outside),
            (None, Way::Out) => self.wrap(client, Side::Reached),
        }
    }

    /// Copies a message, with its capabilities as they are on the other side.
    fn carry(self: &Rc<Self>, from: any_pointer::Reader<'_>, way: Way) -> Result<Parcel, Error> {
        let mut message = message::Builder::new_default();
        let mut caps = Vec::new();
        let mut root: any_pointer::Builder<'_> = message.init_root();
        root.imbue_mut(&mut caps);
        root.set_as::<any_pointer::Owned>(from)?;
        for cap in caps.iter_mut().flatten() {
            *cap = self.across(Client::new(cap.add_ref()), way)?.hook;
        }
        Ok(Parcel { message, caps })
    }
}

impl Parcel {
    fn root(&self) -> Result<any_pointer::Reader<'_>, Error> {
        let mut root: any_pointer::Reader<'_> = self.message.get_root_as_reader()?;
        root.imbue(&self.caps);
        Ok(root)
    }
}

/// The capability behind all membranes, if all of them leave it this method, or it is not asked for one.
pub(crate) async fn behind(client: Client, method: Option<Method>) -> Option<Client> {
    let mut client = capnp::capability::get_resolved_cap(client).await;
    for _ in 0..=MAX_DEPTH {
        let Some(wrapped) = shelf::wrapped(&client) else { return Some(client) };
        if !method.is_none_or(|method| wrapped.allows(method)) {
            return None;
        }
        client = capnp::capability::get_resolved_cap(wrapped.behind().ok()?).await;
    }
    None
}

#[cfg(test)]
mod tests;
