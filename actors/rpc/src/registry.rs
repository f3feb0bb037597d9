//! The server of `Registry`: names of cells, as far as their holder may see them.
//!
//! A cell sees the names of itself and of what is below it, those that it may send messages to, and those that its grant
//! `process` lists. Of a cell that is not below it, it gets what these two grants say and no more: to send to it, or to watch,
//! link and signal it. A client of the control socket sees all.

use std::{collections::BTreeSet, rc::Rc};

use capnp::{Error, traits::HasTypeId};
use ww_core::{
    CellId, Grants, Name,
    grants::{Method, Narrowing},
    registry::Owner as Named,
};
use ww_executor::Executor;
use ww_schema::{cell_capnp::registry, peer_capnp::process};

use crate::{context::Context, membrane::Membrane, process as server, shelf};

/// Methods of a process that belong to the grant `mail`: `send`, `open`.
const TALK: [u16; 2] = [4, 5];

/// Those that belong to the grant `process`: `wait`, `kill`, `status`, `monitor`, `link`, `unlink`, `exit`.
const TOUCH: [u16; 7] = [3, 6, 7, 8, 9, 10, 12];

/// The method that whoever gives a name must have: whoever has the name will send.
const SEND: u16 = 4;

pub(crate) struct Server(pub(crate) Context);

/// The `Registry` of one cell.
pub(crate) fn client(context: Context) -> registry::Client {
    shelf::new_registry(Server(context))
}

/// Which cells are below the holder.
enum Below {
    /// All count as its own.
    Everybody,
    /// This one, and those whose owners lead to it.
    Owner(Option<CellId>, Executor),
}

impl Below {
    fn has(&self, cell: CellId) -> bool {
        match self {
            Self::Everybody => true,
            Self::Owner(None, _) => false,
            Self::Owner(Some(holder), executor) => cell == *holder || executor.is_below(cell, *holder),
        }
    }
}

impl Server {
    fn below(&self) -> Below {
        if self.0.is_local_client() && self.0.place().is_none() {
            return Below::Everybody;
        }
        Below::Owner(self.0.known_owner(), self.0.executor.clone())
    }

    /// Whether the holder has anything to do with a cell under a name that is not below it.
    fn knows(grants: &Grants, name: &Name) -> bool {
        grants.mail.has(name) || grants.process.as_ref().is_some_and(|named| named.has(name))
    }

    /// A process that can do what the grants say of its name.
    fn named(&self, process: process::Client, grants: &Grants, name: &Name) -> Result<process::Client, Error> {
        let interface = process::Client::TYPE_ID;
        let talk = grants.mail.has(name).then_some(TALK);
        let touch = grants.process.as_ref().is_some_and(|named| named.has(name)).then_some(TOUCH);
        let ordinals = talk.into_iter().flatten().chain(touch.into_iter().flatten());
        let methods = ordinals.map(|ordinal| Method { interface, ordinal }).collect();
        let place = std::sync::Arc::clone(&self.0.narrowed).try_acquire_owned();
        let place =
            place.map_err(|_| Error::overloaded("too many processes were looked up and are held: drop some".into()))?;
        use capnp::capability::FromClientHook as _;
        Ok(Membrane::new(Narrowing { methods, ..Narrowing::default() }, place).narrowed(process.cast_to())?.cast_to())
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed(error.to_string())
}

fn name(name: capnp::Result<capnp::text::Reader<'_>>) -> Result<Name, Error> {
    Name::new(name?.to_str()?).map_err(failed)
}

impl registry::Server for Server {
    async fn register(
        self: Rc<Self>,
        params: registry::RegisterParams,
        _: registry::RegisterResults,
    ) -> Result<(), Error> {
        let (name, process) = {
            let params = params.get()?;
            (name(params.get_name())?, params.get_process()?)
        };
        let process = shelf::process_of(process, SEND).await;
        let cell = process.ok_or_else(|| failed("the process is none of this node, or cannot be sent to"))?.id();
        if !self.below().has(cell) {
            return Err(self.0.denied(format_args!("giving a name to cell {cell}, which is not below it,")));
        }
        self.0.executor.directory().register(name, cell).map_err(failed)
    }

    async fn unregister(
        self: Rc<Self>,
        params: registry::UnregisterParams,
        _: registry::UnregisterResults,
    ) -> Result<(), Error> {
        let name = name(params.get()?.get_name())?;
        let below = self.below();
        let directory = self.0.executor.directory();
        match directory.names().owner(&name) {
            Some(Named::Cell(cell)) if below.has(cell) => directory.unregister(&name, cell).map_err(failed),
            // Who may not see it learns no more than that.
            _ => Err(failed(ww_core::registry::Error::NotRegistered(name))),
        }
    }

    async fn whereis(
        self: Rc<Self>,
        params: registry::WhereisParams,
        mut results: registry::WhereisResults,
    ) -> Result<(), Error> {
        let name = name(params.get()?.get_name())?;
        let (below, grants) = (self.below(), self.0.grants_for_children());
        let directory = self.0.executor.directory();
        let Some(cell) = directory.names().whereis(&name).and_then(|cell| directory.cell(cell)) else { return Ok(()) };
        let own = below.has(cell.id());
        if !own && !Self::knows(&grants, &name) {
            return Ok(());
        }
        let process = server::of_any(cell, &self.0);
        results.get().set_process(if own { process } else { self.named(process, &grants, &name)? });
        Ok(())
    }

    async fn names(self: Rc<Self>, _: registry::NamesParams, mut results: registry::NamesResults) -> Result<(), Error> {
        let (below, grants) = (self.below(), self.0.grants_for_children());
        let names = self.0.executor.directory().names();
        let seen: BTreeSet<Name> = names
            .all()
            .into_iter()
            .filter(|name| Self::knows(&grants, name) || names.whereis(name).is_some_and(|cell| below.has(cell)))
            .collect();
        let mut list = results.get().init_names(u32::try_from(seen.len()).unwrap_or(u32::MAX));
        for (index, name) in (0..list.len()).zip(&seen) {
            list.set(index, name.as_str());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
