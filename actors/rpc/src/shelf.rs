//! What belongs to the thread of the vats: the servers that a capability may turn out to be, and the capabilities that
//! cells were handed.
//!
//! Capabilities are `!Send`, and the specs of cells, which may be started again at any time, are not. So a spec holds a
//! [`Key`], and what it stands for stays here until the last copy of the key is dropped. Bounded by the specs that hold
//! keys, and [`MAX_GRANTS`] for each.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use actix::ArbiterHandle;
use capnp::capability::{Client, FromClientHook};
use capnp::traits::HasTypeId;
use capnp_rpc::CapabilityServerSet;
use ww_core::grants::Method;
use ww_schema::{cell_capnp, peer_capnp, supervision_capnp};

use crate::{
    executor,
    membrane::{self, Scope, Wrapped},
    process, program, registry,
    remote::Proxy,
    supervisor,
};

/// Capabilities that one cell may be handed: more than any program knows what to do with.
pub(crate) const MAX_GRANTS: usize = 64;

/// Servers that are remembered before those that have gone are forgotten.
const SWEEP: usize = 256;

thread_local! {
    static SHELF: RefCell<Shelf> = RefCell::default();
}

#[derive(Default)]
struct Shelf {
    processes: CapabilityServerSet<process::Server, peer_capnp::process::Client>,
    programs: CapabilityServerSet<program::Server, cell_capnp::program::Client>,
    proxies: CapabilityServerSet<Proxy, Client>,
    executors: CapabilityServerSet<executor::Server, peer_capnp::executor::Client>,
    supervisors: CapabilityServerSet<supervisor::Server, supervision_capnp::supervisor::Client>,
    registries: CapabilityServerSet<registry::Server, cell_capnp::registry::Client>,
    wrapped: CapabilityServerSet<Wrapped, membrane::Any>,
    added: usize,
    handed: HashMap<u64, HashMap<String, Client>>,
    next: u64,
}

/// Stands for the capabilities of one spec, on any thread.
#[derive(Debug)]
pub(crate) struct Key {
    number: u64,
    vats: ArbiterHandle,
}

impl Key {
    /// Puts capabilities on the shelf. On the thread of the vats only.
    pub(crate) fn new(grants: HashMap<String, Client>, vats: ArbiterHandle) -> Self {
        SHELF.with_borrow_mut(|shelf| {
            let number = shelf.next;
            shelf.next += 1;
            shelf.handed.insert(number, grants);
            Self { number, vats }
        })
    }

    /// The capability under a name. On the thread of the vats only.
    pub(crate) fn get(&self, name: &str) -> Option<Client> {
        SHELF.with_borrow(|shelf| {
            let client = shelf.handed.get(&self.number)?.get(name)?;
            Some(Client::new(client.hook.add_ref()))
        })
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let number = self.number;
        // A thread that has ended has dropped them itself.
        self.vats.spawn_fn(move || {
            // Dropped after the borrow: what they lead to may drop other keys.
            let handed = SHELF.with_borrow_mut(|shelf| shelf.handed.remove(&number));
            drop(handed);
        });
    }
}

impl Shelf {
    fn sweep(&mut self) {
        self.added += 1;
        if self.added.is_multiple_of(SWEEP) {
            self.processes.gc();
            self.programs.gc();
            self.proxies.gc();
            self.executors.gc();
            self.supervisors.gc();
            self.registries.gc();
            self.wrapped.gc();
        }
    }
}

/// Makes a server of this node one that can be recognised.
macro_rules! recognised {
    ($($(#[$doc:meta])* $name:ident($server:ty) in $set:ident -> $client:ty;)*) => {
        $($(#[$doc])*
        pub(crate) fn $name(server: $server) -> $client {
            SHELF.with_borrow_mut(|shelf| {
                shelf.sweep();
                shelf.$set.new_client(server)
            })
        })*
    };
}

recognised! {
    /// A `Process` that can be recognised.
    new_process(process::Server) in processes -> peer_capnp::process::Client;
    /// A `Program` that can be recognised.
    new_program(program::Server) in programs -> cell_capnp::program::Client;
    /// An `Executor` that can be recognised.
    new_executor(executor::Server) in executors -> peer_capnp::executor::Client;
    /// A `Supervisor` that can be recognised.
    new_supervisor(supervisor::Server) in supervisors -> supervision_capnp::supervisor::Client;
    /// A `Registry` that can be recognised.
    new_registry(registry::Server) in registries -> cell_capnp::registry::Client;
}

/// What stands for a capability on the other side of a membrane.
pub(crate) fn new_wrapped(wrapped: Wrapped) -> Client {
    SHELF.with_borrow_mut(|shelf| {
        shelf.sweep();
        shelf.wrapped.new_client(wrapped).cast_to()
    })
}

/// The membrane's server that a capability is by now, if it is one.
pub(crate) fn wrapped(client: &Client) -> Option<Rc<Wrapped>> {
    let mut hook = client.hook.add_ref();
    while let Some(resolved) = hook.get_resolved() {
        hook = resolved;
    }
    SHELF.with_borrow(|shelf| shelf.wrapped.get_local_server_of_resolved(&membrane::Any::new(hook)))
}

/// A capability of another node that can be recognised.
pub(crate) fn new_proxy(server: Proxy) -> Client {
    SHELF.with_borrow_mut(|shelf| {
        shelf.sweep();
        shelf.proxies.new_client(server)
    })
}

/// The capability of another node that a capability is known to be. One that has not turned out to be anything yet is
/// none.
pub(crate) fn proxy_of(client: &Client) -> Option<Rc<Proxy>> {
    let mut hook = client.hook.add_ref();
    while let Some(resolved) = hook.get_resolved() {
        hook = resolved;
    }
    SHELF.with_borrow(|shelf| shelf.proxies.get_local_server_of_resolved(&Client::new(hook)))
}

/// The capability of another node that a process is, itself or behind membranes that leave it a method.
pub(crate) async fn remote_process_of(client: peer_capnp::process::Client, ordinal: u16) -> Option<Rc<Proxy>> {
    let method = Method { interface: peer_capnp::process::Client::TYPE_ID, ordinal };
    proxy_of(&membrane::behind(client.cast_to(), Some(method)).await?)
}

/// The process of this node that a capability is, itself or behind membranes that leave it a method.
pub(crate) async fn process_of(client: peer_capnp::process::Client, ordinal: u16) -> Option<Rc<process::Server>> {
    let method = Method { interface: peer_capnp::process::Client::TYPE_ID, ordinal };
    let client = membrane::behind(client.cast_to(), Some(method)).await?;
    SHELF.with_borrow(|shelf| shelf.processes.get_local_server_of_resolved(&client.cast_to()))
}

/// The program of this node that a capability is, itself or behind membranes.
pub(crate) async fn program_of(client: cell_capnp::program::Client) -> Option<Rc<program::Server>> {
    let client = membrane::behind(client.cast_to(), None).await?;
    SHELF.with_borrow(|shelf| shelf.programs.get_local_server_of_resolved(&client.cast_to()))
}

/// A capability of this node in a scope: itself, if it is there already. `None` if it is none of this node.
pub(crate) fn in_scope(client: &Client, interface: u64, scope: &Rc<Scope>) -> Option<Client> {
    let known = client.clone();
    let changed = match interface {
        peer_capnp::executor::Client::TYPE_ID => {
            let server = SHELF.with_borrow(|shelf| shelf.executors.get_local_server_of_resolved(&known.cast_to()))?;
            (!server.0.is_within(scope)).then(|| executor::client(server.0.within(scope)).cast_to())
        }
        supervision_capnp::supervisor::Client::TYPE_ID => {
            let server = SHELF.with_borrow(|shelf| shelf.supervisors.get_local_server_of_resolved(&known.cast_to()))?;
            server.within(scope).map(FromClientHook::cast_to)
        }
        cell_capnp::registry::Client::TYPE_ID => {
            let server = SHELF.with_borrow(|shelf| shelf.registries.get_local_server_of_resolved(&known.cast_to()))?;
            (!server.0.is_within(scope)).then(|| registry::client(server.0.within(scope)).cast_to())
        }
        _ => return None,
    };
    Some(changed.unwrap_or_else(|| client.clone()))
}

thread_local! {
    /// What is to be dropped, and whether somebody does so already.
    static BURIED: RefCell<(Vec<Client>, bool)> = RefCell::default();
}

/// Drops a capability, and what it leads to one after the other: a chain of them needs no stack.
pub(crate) fn bury(client: Client) {
    let digging = BURIED.try_with(|buried| {
        let mut buried = buried.borrow_mut();
        buried.0.push(client);
        std::mem::replace(&mut buried.1, true)
    });
    // Of a thread that ends, all is dropped in any case.
    if digging != Ok(false) {
        return;
    }
    while let Some(client) = BURIED.with_borrow_mut(|buried| {
        let next = buried.0.pop();
        buried.1 = next.is_some();
        next
    }) {
        drop(client);
    }
}
