//! What belongs to the thread of the vats: the servers that a capability may turn out to be, and the capabilities that
//! cells were handed.
//!
//! Capabilities are `!Send`, and the specs of cells, which may be started again at any time, are not. So a spec holds a
//! [`Key`], and what it stands for stays here until the last copy of the key is dropped. Bounded by the specs that hold
//! keys, and [`MAX_GRANTS`] for each.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use actix::ArbiterHandle;
use capnp::capability::{Client, FromClientHook};
use capnp_rpc::CapabilityServerSet;
use ww_schema::{cell_capnp, peer_capnp};

use crate::{process, program, remote::Proxy};

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
        }
    }
}

/// A `Process` that can be recognised.
pub(crate) fn new_process(server: process::Server) -> peer_capnp::process::Client {
    SHELF.with_borrow_mut(|shelf| {
        shelf.sweep();
        shelf.processes.new_client(server)
    })
}

/// A `Program` that can be recognised.
pub(crate) fn new_program(server: program::Server) -> cell_capnp::program::Client {
    SHELF.with_borrow_mut(|shelf| {
        shelf.sweep();
        shelf.programs.new_client(server)
    })
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

/// The process of this node that a capability is, if it is one.
pub(crate) async fn process_of(client: peer_capnp::process::Client) -> Option<Rc<process::Server>> {
    let client: peer_capnp::process::Client = resolved(client).await;
    SHELF.with_borrow(|shelf| shelf.processes.get_local_server_of_resolved(&client))
}

/// The program of this node that a capability is, if it is one.
pub(crate) async fn program_of(client: cell_capnp::program::Client) -> Option<Rc<program::Server>> {
    let client: cell_capnp::program::Client = resolved(client).await;
    SHELF.with_borrow(|shelf| shelf.programs.get_local_server_of_resolved(&client))
}

/// What a capability turns out to be.
pub(crate) async fn resolved<C: FromClientHook>(client: C) -> C {
    capnp::capability::get_resolved_cap(client).await
}
