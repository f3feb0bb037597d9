//! What belongs to one instance: the data of its store.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p1::WasiP1Ctx};

use crate::{
    handling::Handling,
    limiter::Limiter,
    message::Current,
    meters::Computed,
    own::Own,
    preemption::Requeue,
    streams::{Connect, Handles},
};

/// The data of one store. Everything in it is `Send`: capabilities live on their own thread, behind the connection.
pub(crate) struct Guest {
    pub(crate) own: Arc<Own>,
    /// What it is handling, if it handles messages.
    pub(crate) current: Option<Current>,
    /// The same, for its vat, if it has connected.
    pub(crate) handling: Option<Handling>,
    pub(crate) wasi: Wasi,
    pub(crate) limiter: Limiter,
    /// Starts the vat at the other end; taken by the first connection.
    pub(crate) connect: Option<Connect>,
    pub(crate) handles: Handles,
    /// What it has computed for the message in progress.
    pub(crate) computed: Computed,
    /// Where it waits while others have their turn, between two pieces of a long call.
    pub(crate) requeue: Requeue,
}

/// WASI, in the version that the program was built for.
pub(crate) enum Wasi {
    P1(Box<WasiP1Ctx>),
    P2(Box<(WasiCtx, ResourceTable)>),
}

impl Guest {
    pub(crate) fn p1(&mut self) -> &mut WasiP1Ctx {
        match &mut self.wasi {
            Wasi::P1(ctx) => ctx,
            Wasi::P2(..) => unreachable!("only core modules are linked against preview 1"),
        }
    }

    /// Each message has its own share of computing time.
    pub(crate) fn begin_message(&mut self, current: Current) {
        if let Some(handling) = &self.handling {
            handling.begin(self.own.cell.slot().id(), &current.envelope);
        }
        self.current = Some(current);
        self.computed.reset();
    }

    /// What it does from now on belongs to no message.
    pub(crate) fn end_message(&mut self) {
        if let Some(handling) = &self.handling {
            handling.end();
        }
    }

    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        self.ctx().table
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        match &mut self.wasi {
            Wasi::P2(wasi) => WasiCtxView { ctx: &mut wasi.0, table: &mut wasi.1 },
            Wasi::P1(_) => unreachable!("only components are linked against WASI 0.2"),
        }
    }
}
