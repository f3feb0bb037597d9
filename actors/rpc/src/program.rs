//! The server of `Program`: a program that was compiled once, to start many cells from.
//!
//! Its bytes are kept as well, for cells with another amount of memory: once for each connection and size class, however
//! often the program is loaded. They carry the charge for themselves and for the code: the account of the loader pays as long
//! as somebody has them, which may be a supervisor when the `Program` is gone.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
};

use bytes::Bytes;
use capnp::Error;
use ww_cell::{Class, Hash, Program};
use ww_core::{Account, account::Held};
use ww_schema::cell_capnp::program;

use crate::load::overloaded;

/// Bytes that are charged for each `Program`, besides those of the program itself.
const PROGRAM_BYTES: u64 = 1 << 10;

/// The bytes of programs of one connection that are held, each with its charge.
#[derive(Clone, Default)]
pub(crate) struct Sources(Rc<RefCell<Known>>);

type Known = HashMap<(Hash, Class), Weak<Bytes>>;

impl Sources {
    /// The bytes of a program: those that are held already, or these, which are charged with its code.
    ///
    /// # Errors
    ///
    /// `overloaded` where the account has no room for them.
    fn share(&self, key: (Hash, Class), wasm: Bytes, code: usize, account: &Account) -> Result<Rc<Bytes>, Error> {
        let mut sources = self.0.borrow_mut();
        if let Some(known) = sources.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let charge = account.charge(wasm.len() as u64 + code as u64).map_err(overloaded)?;
        let source = Rc::new(Bytes::from_owner(Held::new(wasm, charge)));
        sources.retain(|_, source| source.strong_count() > 0);
        sources.insert(key, Rc::downgrade(&source));
        Ok(source)
    }
}

pub(crate) struct Server {
    wasm: Rc<Bytes>,
    program: Held<Program>,
}

impl Server {
    /// A program, and what it was compiled from.
    ///
    /// # Errors
    ///
    /// `overloaded` where the account has no room for it.
    pub(crate) fn new(program: Program, wasm: Bytes, sources: &Sources, account: &Account) -> Result<Self, Error> {
        let wasm = sources.share((program.hash(), program.class()), wasm, program.bytes(), account)?;
        let charge = account.charge(PROGRAM_BYTES).map_err(overloaded)?;
        Ok(Self { wasm, program: Held::new(program, charge) })
    }

    /// What it was compiled from. Every copy pays for that and for the code.
    pub(crate) fn wasm(&self) -> &Bytes {
        &self.wasm
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program.value
    }
}

impl program::Server for Server {
    async fn info(self: Rc<Self>, _: program::InfoParams, mut results: program::InfoResults) -> Result<(), Error> {
        let exports = self.program().exports();
        let exports: Vec<program::Export> = [
            (exports.run, program::Export::Run),
            (exports.poll, program::Export::Poll),
            (exports.handle, program::Export::Handle),
        ]
        .into_iter()
        .filter_map(|(has, export)| has.then_some(export))
        .collect();
        let mut info = results.get().init_info();
        info.set_hash(&self.program().hash().0);
        let mut list = info.init_exports(u32::try_from(exports.len()).unwrap_or(u32::MAX));
        for (index, export) in (0..).zip(exports) {
            list.set(index, export);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ww_core::{Limits, account::Holder};
    use ww_executor::Owner;

    use super::*;
    use crate::fixture::{SPIN, local, shared_executor, wasm};

    #[test]
    fn the_bytes_of_a_program_are_held_and_paid_for_once() {
        let account = Account::root(Holder::Node, 10 << 20);
        let (sources, wasm) = (Sources::default(), Bytes::from(vec![0; 3 << 20]));
        let load = |hash| sources.share((Hash([hash; 32]), Class::Small), wasm.clone(), 1 << 20, &account);
        let held: Vec<_> = (0..100).map(|_| load(1).expect("room")).collect();
        assert_eq!(account.held(), 4 << 20);
        let other = load(2).expect("room");
        let error = load(3).map(drop).expect_err("no room");
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded, "{error}");
        drop((held, other));
        assert_eq!(account.held(), 0);
        load(3).map(drop).expect("room again");
        assert_eq!(sources.0.borrow().len(), 1, "those that are gone are forgotten");
    }

    #[test]
    fn the_code_of_each_size_class_is_paid_for() {
        let (account, sources, wasm) = (Account::root(Holder::Node, 10 << 20), Sources::default(), Bytes::new());
        let load = |class| sources.share((Hash([1; 32]), class), wasm.clone(), 1 << 20, &account);
        let _held = [Class::Small, Class::Standard, Class::Small].map(|class| load(class).expect("room"));
        assert_eq!(account.held(), 2 << 20);
    }

    #[test]
    fn a_program_is_paid_for_as_long_as_somebody_can_start_cells_from_it() {
        local(async {
            let (account, bytes) = (Account::root(Holder::Node, 10 << 20), Bytes::from(wasm(SPIN)));
            let loaded = shared_executor().load(Owner::Node, bytes.clone(), &Limits::default()).await.expect("valid");
            let whole = (bytes.len() + loaded.bytes()) as u64;
            let server = Server::new(loaded, bytes, &Sources::default(), &account).expect("room");
            assert_eq!(account.held(), whole + PROGRAM_BYTES);
            // As the spec of a supervisor does.
            let spec = (server.wasm().clone(), server.program().clone());
            drop(server);
            assert_eq!(account.held(), whole);
            drop(spec);
            assert_eq!(account.held(), 0);
        });
    }
}
