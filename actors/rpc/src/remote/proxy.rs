//! One capability of another node, as it is handed on here.
//!
//! Calls go through, and so do capabilities in both directions: what comes from the other node is a proxy as well, a proxy
//! that goes back there is what it stands for. Where a call is one of `Process` that has to end when the connection does,
//! the proxy sees to that.
//!
//! Whoever wants to hand on less than there is, or to take it back, puts that in front of a proxy.

use std::{
    ops::Deref,
    rc::{Rc, Weak},
};

use capnp::{
    Error, ErrorKind, any_pointer,
    capability::{
        self, Client, DispatchCallResult, FromClientHook, FromServer, Params, Promise, RemotePromise, Results,
        get_resolved_cap,
    },
    message,
    private::capability::ClientHook,
    traits::{HasTypeId, Imbue, ImbueMut},
};
use ww_core::exit::Reason;
use ww_schema::peer_capnp::process;

use super::{Node, ties, watched};
use crate::{
    exit_reason,
    membrane::{MAX_DEPTH, Scope, Side, Wrapped},
    shelf,
};

/// The interface of which some calls are not just handed on.
const PROCESS: u64 = <process::Client as HasTypeId>::TYPE_ID;

/// Numbers of methods of `Process`.
const WAIT: u16 = 3;
const STATUS: u16 = 7;
const MONITOR: u16 = 8;
const LINK: u16 = 9;
const UNLINK: u16 = 10;

type AnyParams = Params<any_pointer::Owned>;
type AnyResults = Results<any_pointer::Owned>;

/// A capability of another node.
pub(crate) struct Proxy {
    inner: Client,
    node: Rc<Node>,
    /// The scopes of membranes whose ends at the other node it is behind.
    scopes: Rc<[Weak<Scope>]>,
}

/// What a capability is that goes to the other node.
enum There {
    /// One of that node, as it is there.
    Own(Client),
    /// Another one.
    Other,
    /// Not known until this is.
    Unknown(Client),
}

/// What the library calls: any method of any interface.
#[derive(Clone)]
pub(crate) struct Dispatch(Rc<Proxy>);

impl Proxy {
    /// Stands for a capability that came over a connection.
    pub(crate) fn client(node: &Rc<Node>, inner: Client) -> Client {
        shelf::new_proxy(Self { inner, node: Rc::clone(node), scopes: Rc::default() })
    }

    /// Stands for the same capability behind the end of one more membrane.
    pub(crate) fn within(&self, scope: &Rc<Scope>, inner: Client) -> Client {
        let scopes = self.scopes.iter().cloned().chain([Rc::downgrade(scope)]).collect();
        shelf::new_proxy(Self { inner, node: Rc::clone(&self.node), scopes })
    }

    /// Whether the other node keeps an end of the membrane with this scope before it.
    pub(crate) fn is_within(&self, scope: &Rc<Scope>) -> bool {
        self.scopes.iter().any(|known| Weak::as_ptr(known) == Rc::as_ptr(scope))
    }

    /// What it stands for, at the other node.
    pub(crate) fn there(&self) -> Client {
        self.inner.clone()
    }

    pub(crate) fn node(&self) -> &Rc<Node> {
        &self.node
    }

    /// What it stands for, as a process.
    pub(crate) fn process(&self) -> process::Client {
        process::Client::new(self.inner.hook.add_ref())
    }

    /// What came from the other node, as it is handed on here: behind the membranes that it is behind. What is this node's
    /// own, and comes back, is itself.
    fn wrapped(&self, hook: Box<dyn ClientHook>) -> Box<dyn ClientHook> {
        if hook.get_brand() != self.node.brand {
            return hook;
        }
        let (node, scopes) = (Rc::clone(&self.node), Rc::clone(&self.scopes));
        shelf::new_proxy(Self { inner: Client::new(hook), node, scopes }).hook
    }

    /// What goes to the other node: its own capabilities as they are there, also those that turn out to be that later.
    fn unwrapped(self: &Rc<Self>, hook: Box<dyn ClientHook>) -> Box<dyn ClientHook> {
        let client = Client::new(hook);
        match self.seen_there(&client) {
            There::Own(inner) => inner.hook,
            There::Other => client.hook,
            There::Unknown(mut promised) => {
                let proxy = Rc::clone(self);
                let known = async move {
                    // One promise behind each membrane.
                    for _ in 0..=MAX_DEPTH {
                        get_resolved_cap(promised).await;
                        promised = match proxy.seen_there(&client) {
                            There::Own(inner) => return Ok(inner),
                            There::Other => break,
                            There::Unknown(next) => next,
                        };
                    }
                    Ok(client)
                };
                capnp_rpc::new_future_client::<Client>(known).hook
            }
        }
    }

    /// What a capability is at the other node. A membrane of which that node keeps an end does not come between: its end
    /// does the same to what passes there, so that the node knows its own again.
    fn seen_there(&self, client: &Client) -> There {
        let mut client = client.clone();
        let mut reached_through = Vec::new();
        for _ in 0..=MAX_DEPTH {
            if let Some(proxy) = shelf::proxy_of(&client) {
                let is_there = Rc::ptr_eq(&proxy.node, &self.node);
                let same =
                    is_there && reached_through.iter().all(|wrapped: &Rc<Wrapped>| proxy.is_within(wrapped.scope()));
                return if same { There::Own(proxy.inner.clone()) } else { There::Other };
            }
            let Some(wrapped) = shelf::wrapped(&client) else { break };
            let Ok(behind) = wrapped.behind() else { return There::Other };
            match wrapped.side() {
                Side::Outside if self.is_within(wrapped.scope()) => {}
                Side::Reached => reached_through.push(wrapped),
                // It passes no end of that membrane there, or has less methods here.
                Side::Outside | Side::Narrowed => return There::Other,
            }
            client = behind;
        }
        let promised = client.hook.get_resolved().is_none() && client.hook.when_more_resolved().is_some();
        if promised { There::Unknown(client) } else { There::Other }
    }

    /// Sends a call on. At once: calls keep their order.
    fn send(
        self: &Rc<Self>,
        interface: u64,
        method: u16,
        params: &AnyParams,
    ) -> Result<RemotePromise<any_pointer::Owned>, Error> {
        let params = params.get()?;
        let mut request = self.inner.new_call::<any_pointer::Owned, any_pointer::Owned>(
            interface,
            method,
            Some(params.target_size()?),
        );
        copy(params, request.get(), |hook| self.unwrapped(hook))?;
        Ok(request.send())
    }

    /// Hands a call on, and its answer back.
    fn pass(
        self: Rc<Self>,
        interface: u64,
        method: u16,
        params: AnyParams,
        mut results: AnyResults,
    ) -> Promise<(), Error> {
        let sent = self.send(interface, method, &params);
        drop(params);
        Promise::from_future(async move {
            let answer = sent?.promise.await?;
            copy(answer.get()?, results.get(), |hook| self.wrapped(hook))
        })
    }

    fn wait(self: Rc<Self>, params: AnyParams, mut results: AnyResults) -> Promise<(), Error> {
        let sent = self.send(PROCESS, WAIT, &params);
        Promise::from_future(async move {
            let code = match sent?.promise.await {
                Ok(answer) => answer.get()?.get_as::<process::wait_results::Reader<'_>>()?.get_exit_code(),
                Err(error) if is_lost(&error) => Reason::NoConnection.code().into(),
                Err(error) => return Err(error),
            };
            results.get().init_as::<process::wait_results::Builder<'_>>().set_exit_code(code);
            Ok(())
        })
    }

    fn status(self: Rc<Self>, params: AnyParams, mut results: AnyResults) -> Promise<(), Error> {
        let sent = self.send(PROCESS, STATUS, &params);
        Promise::from_future(async move {
            match sent?.promise.await {
                Ok(answer) => copy(answer.get()?, results.get(), |hook| self.wrapped(hook)),
                Err(error) if is_lost(&error) => {
                    let status = results.get().init_as::<process::status_results::Builder<'_>>().init_status();
                    exit_reason::set(status.init_state().init_ended(), &Reason::NoConnection);
                    Ok(())
                }
                Err(error) => Err(error),
            }
        })
    }

    fn monitor(self: Rc<Self>, params: AnyParams, mut results: AnyResults) -> Promise<(), Error> {
        let observer = params.get().and_then(|params| {
            let params = params.get_as::<process::monitor_params::Reader<'_>>()?;
            params.get_observer()
        });
        // What is wrong with a call, the other node says.
        let Ok(observer) = observer else { return self.pass(PROCESS, MONITOR, params, results) };
        let watching = watched::watch(&self, observer);
        Promise::from_future(async move {
            let monitor = watching.await?;
            results.get().init_as::<process::monitor_results::Builder<'_>>().set_monitor(monitor);
            Ok(())
        })
    }

    /// Links what it stands for, or takes the link back. Two processes of the same node are linked there.
    fn link(self: Rc<Self>, method: u16, params: AnyParams, results: AnyResults) -> Promise<(), Error> {
        Promise::from_future(async move {
            let other = if method == LINK {
                params.get()?.get_as::<process::link_params::Reader<'_>>()?.get_other()
            } else {
                params.get()?.get_as::<process::unlink_params::Reader<'_>>()?.get_other()
            };
            let Ok(other) = other else { return self.pass(PROCESS, method, params, results).await };
            let there = shelf::remote_process_of(other.clone(), method).await;
            if there.is_some_and(|proxy| Rc::ptr_eq(&proxy.node, &self.node)) {
                return self.pass(PROCESS, method, params, results).await;
            }
            let Some(own) = shelf::process_of(other, method).await else { return Err(ties::not_linkable()) };
            let ties = self.node.ties.upgrade().ok_or_else(ties::not_linkable)?;
            if method == LINK {
                ties.tie(&self.node.directory, own.cell(), &self).await
            } else {
                ties.untie(own.cell(), &self).await
            }
        })
    }
}

/// Whether a call failed because a connection was lost, this one or one behind it.
pub(super) fn is_lost(error: &Error) -> bool {
    error.kind == ErrorKind::Disconnected
}

/// Copies a message, with other capabilities in the place of its own.
fn copy(
    from: any_pointer::Reader<'_>,
    mut to: any_pointer::Builder<'_>,
    change: impl Fn(Box<dyn ClientHook>) -> Box<dyn ClientHook>,
) -> Result<(), Error> {
    if from.target_size()?.cap_count == 0 {
        return to.set_as(from);
    }
    // The library does not show the table of a message. A copy has one of our own.
    let (mut message, mut table) = (message::Builder::new_default(), Vec::new());
    {
        let mut copied: any_pointer::Builder<'_> = message.get_root()?;
        copied.imbue_mut(&mut table);
        copied.set_as(from)?;
    }
    let table: Vec<_> = table.into_iter().map(|hook| hook.map(&change)).collect();
    let mut changed: any_pointer::Reader<'_> = message.get_root_as_reader()?;
    changed.imbue(&table);
    to.set_as(changed)
}

impl capability::Server for Dispatch {
    fn dispatch_call(self, interface: u64, method: u16, params: AnyParams, results: AnyResults) -> DispatchCallResult {
        let Self(proxy) = self;
        let done = match (interface, method) {
            (PROCESS, WAIT) => proxy.wait(params, results),
            (PROCESS, STATUS) => proxy.status(params, results),
            (PROCESS, MONITOR) => proxy.monitor(params, results),
            (PROCESS, LINK | UNLINK) => proxy.link(method, params, results),
            _ => proxy.pass(interface, method, params, results),
        };
        // The other node says what an error of a stream means.
        DispatchCallResult::new(done, false)
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

impl Deref for Dispatch {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.0
    }
}

impl FromServer<Proxy> for Client {
    type Dispatch = Dispatch;

    fn from_server(proxy: Rc<Proxy>) -> Dispatch {
        Dispatch(proxy)
    }
}
