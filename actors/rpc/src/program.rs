//! The server of `Program`: a program that was compiled once, to start many cells from.

use std::rc::Rc;

use bytes::Bytes;
use capnp::Error;
use ww_cell::Program;
use ww_schema::cell_capnp::program;

/// Its bytes are kept as well, for cells with another amount of memory.
pub(crate) struct Server {
    pub(crate) wasm: Bytes,
    pub(crate) program: Program,
}

impl program::Server for Server {
    async fn info(self: Rc<Self>, _: program::InfoParams, mut results: program::InfoResults) -> Result<(), Error> {
        let exports = self.program.exports();
        let exports: Vec<program::Export> = [
            (exports.run, program::Export::Run),
            (exports.poll, program::Export::Poll),
            (exports.handle, program::Export::Handle),
        ]
        .into_iter()
        .filter_map(|(has, export)| has.then_some(export))
        .collect();
        let mut info = results.get().init_info();
        info.set_hash(&self.program.hash().0);
        let mut list = info.init_exports(u32::try_from(exports.len()).unwrap_or(u32::MAX));
        for (index, export) in (0..).zip(exports) {
            list.set(index, export);
        }
        Ok(())
    }
}
