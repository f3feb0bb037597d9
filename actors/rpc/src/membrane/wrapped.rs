//! The server that stands for a capability on the other side of a membrane, whatever its interface is.

use std::{cell::Cell, future::poll_fn, ops::Deref, pin::pin, rc::Rc, task::Poll};

use capnp::{
    Error, any_pointer,
    capability::{Client, DispatchCallResult, FromClientHook, FromServer, Params, Promise, Results, Server},
    private::capability::ClientHook,
};
use ww_core::grants::Method;

use super::{
    MAX_DEPTH, Membrane, Side, Way, grants,
    scope::{self, Scope},
};
use crate::shelf;

/// Layers that one call may be in at once, whatever was known of them when they were made: each takes some stack.
const MAX_STACK: usize = 2 * MAX_DEPTH;

/// Stands for a capability. What that is, the membrane knows, until this is dropped.
pub(crate) struct Wrapped {
    membrane: Rc<Membrane>,
    number: u64,
    side: Side,
}

/// A client of any interface.
pub(crate) struct Any(Box<dyn ClientHook>);

/// Takes the calls of all interfaces.
#[derive(Clone)]
pub(crate) struct Dispatch(Rc<Wrapped>);

impl FromClientHook for Any {
    fn new(hook: Box<dyn ClientHook>) -> Self {
        Self(hook)
    }

    fn into_client_hook(self) -> Box<dyn ClientHook> {
        self.0
    }

    fn as_client_hook(&self) -> &dyn ClientHook {
        &*self.0
    }
}

impl FromServer<Wrapped> for Any {
    type Dispatch = Dispatch;

    fn from_server(server: Rc<Wrapped>) -> Dispatch {
        Dispatch(server)
    }
}

impl Deref for Dispatch {
    type Target = Wrapped;

    fn deref(&self) -> &Wrapped {
        &self.0
    }
}

impl Server for Dispatch {
    fn dispatch_call(
        self,
        interface: u64,
        ordinal: u16,
        params: Params<any_pointer::Owned>,
        results: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        let wrapped = self.0;
        let call = async move { wrapped.call(Method { interface, ordinal }, params, results).await };
        // Also where the method is one of a stream: whoever is behind keeps its calls in order.
        DispatchCallResult::new(Promise::from_future(call), false)
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

impl Wrapped {
    pub(super) fn new(membrane: Rc<Membrane>, number: u64, side: Side) -> Self {
        Self { membrane, number, side }
    }

    pub(super) fn is_of(&self, membrane: &Rc<Membrane>) -> bool {
        Rc::ptr_eq(&self.membrane, membrane)
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn scope(&self) -> &Rc<Scope> {
        &self.membrane.scope
    }

    pub(super) fn allows(&self, method: Method) -> bool {
        self.membrane.allows(self.side, method)
    }

    /// What it stands for.
    pub(crate) fn behind(&self) -> Result<Client, Error> {
        self.membrane.behind(self.number)
    }

    /// Something else on the same side of the same membrane.
    pub(super) fn beside(&self, client: Client) -> Result<Client, Error> {
        self.membrane.wrap(client, self.side)
    }

    /// Forwards a call. What is behind gets it before this waits for anything, so that calls stay in order.
    async fn call(
        &self,
        method: Method,
        params: Params<any_pointer::Owned>,
        mut results: Results<any_pointer::Owned>,
    ) -> Result<(), Error> {
        let membrane = &self.membrane;
        membrane.check()?;
        if !self.allows(method) {
            return Err(Error::failed(format!("denied: {} was narrowed away", grants::describe(method))));
        }
        let (there, back) = match self.side {
            Side::Narrowed | Side::Reached => (Way::In, Way::Out),
            Side::Outside => (Way::Out, Way::In),
        };
        let mut answered = pin!(async {
            let behind = self.target(method.interface).await?;
            let mut request =
                behind.new_call::<any_pointer::Owned, any_pointer::Owned>(method.interface, method.ordinal, None);
            request.set(membrane.carry(params.get()?, there)?.root()?)?;
            drop(params);
            request.send().promise.await
        });
        // Also what was promised and is several layers deep by now.
        let answered = poll_fn(|cx| match Layer::enter() {
            Some(_layer) => answered.as_mut().poll(cx),
            None => Poll::Ready(Err(Error::failed(format!("a chain of more than {MAX_STACK} narrowed capabilities")))),
        });
        let response = tokio::select! {
            biased;
            () = membrane.revoked.cancelled() => return Err(membrane.error()),
            response = answered => response?,
        };
        results.set(membrane.carry(response.get()?, back)?.root()?)
    }

    /// What a call of an interface goes to. What starts cells does so in the membrane's scope.
    pub(super) async fn target(&self, interface: u64) -> Result<Client, Error> {
        let behind = self.behind()?;
        if self.side == Side::Outside || !scope::starts_cells(interface) {
            return Ok(behind);
        }
        let scoped = scope::within(&self.membrane.scope, behind, interface).await?;
        // The next call finds it at once.
        let before = self.membrane.held.borrow_mut().insert(self.number, scoped.clone());
        drop(before);
        self.membrane.check()?;
        Ok(scoped)
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        let behind = self.membrane.held.borrow_mut().remove(&self.number);
        behind.into_iter().for_each(shelf::bury);
    }
}

thread_local! {
    static LAYERS: Cell<usize> = const { Cell::new(0) };
}

/// One step of recursion, while this lives.
struct Layer;

impl Layer {
    /// One more, if there is stack for it.
    fn enter() -> Option<Self> {
        let layers = LAYERS.get() + 1;
        (layers <= MAX_STACK).then(|| {
            LAYERS.set(layers);
            Self
        })
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        LAYERS.set(LAYERS.get() - 1);
    }
}

/// Refuses one more layer around a capability that has as many as it may have.
pub(super) fn check_depth(client: &Client) -> Result<(), Error> {
    let mut next = shelf::wrapped(client);
    for _ in 0..MAX_DEPTH {
        let Some(wrapped) = next else { return Ok(()) };
        next = wrapped.behind().ok().and_then(|behind| shelf::wrapped(&behind));
    }
    Err(Error::failed(format!("it was narrowed {MAX_DEPTH} times already, as often as it may be")))
}
