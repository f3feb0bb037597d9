//! What belongs to one instance: the data of its store.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p1::WasiP1Ctx};

use crate::{
    limiter::Limiter,
    loader::Files,
    streams::{Connect, Handles},
};

/// The data of one store. Everything in it is `Send`: capabilities live on their own thread, behind the connection.
pub(crate) struct Guest {
    pub(crate) wasi: Wasi,
    pub(crate) limiter: Limiter,
    /// Starts the vat at the other end; taken by the first connection.
    pub(crate) connect: Option<Connect>,
    pub(crate) handles: Handles,
    pub(crate) files: Option<Arc<dyn Files>>,
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
