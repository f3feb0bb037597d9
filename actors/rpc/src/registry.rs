//! The server of `Registry`: names of cells, as far as their holder may see them.
//!
//! A cell sees the names of itself and of what is below it, and those that it may send messages to. What is not below it, it
//! can only talk to. A client of the control socket sees all.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use capnp::{Error, traits::HasTypeId};
use ww_core::{
    CellId, Name,
    grants::{Method, Narrowing},
    registry::Owner as Named,
};
use ww_executor::Owner;
use ww_schema::{cell_capnp::registry, peer_capnp::process};

use crate::{context::Context, membrane::Membrane, process as server, shelf};

/// Methods of a process that whoever may send messages to it can call: `wait`, `send`, `open`, `status`, `monitor`.
const TALK: [u16; 5] = [3, 4, 5, 7, 8];

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
    /// Those whose owners lead to this one.
    Owner(Option<CellId>, HashMap<CellId, Owner>),
}

impl Below {
    fn has(&self, cell: CellId) -> bool {
        let (holder, owners) = match self {
            Self::Everybody => return true,
            Self::Owner(None, _) => return false,
            Self::Owner(Some(holder), owners) => (*holder, owners),
        };
        let mut next = Some(cell);
        while let Some(cell) = next {
            if cell == holder {
                return true;
            }
            next = match owners.get(&cell) {
                Some(Owner::Cell(owner)) => Some(*owner),
                Some(Owner::Node) | None => None,
            };
        }
        false
    }
}

impl Server {
    async fn below(&self) -> Result<Below, Error> {
        if self.0.is_local_client() && self.0.place().is_none() {
            return Ok(Below::Everybody);
        }
        let owners = self.0.executor.owners();
        Ok(Below::Owner(self.0.known_owner(), owners.into_iter().map(|owned| (owned.id, owned.owner)).collect()))
    }

    /// Whether the holder may send messages to whoever has a name.
    fn may_send(&self, name: &Name) -> bool {
        self.0.grants_for_children().mail.has(name)
    }

    /// A process that can only be talked to.
    fn talk(&self, process: process::Client) -> Result<process::Client, Error> {
        let interface = process::Client::TYPE_ID;
        let methods = TALK.map(|ordinal| Method { interface, ordinal }).into();
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
        if !self.below().await?.has(cell) {
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
        let below = self.below().await?;
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
        let below = self.below().await?;
        let directory = self.0.executor.directory();
        let Some(cell) = directory.names().whereis(&name).and_then(|cell| directory.cell(cell)) else { return Ok(()) };
        let own = below.has(cell.id());
        if !own && !self.may_send(&name) {
            return Ok(());
        }
        let process = server::of_any(cell, &self.0);
        results.get().set_process(if own { process } else { self.talk(process)? });
        Ok(())
    }

    async fn names(self: Rc<Self>, _: registry::NamesParams, mut results: registry::NamesResults) -> Result<(), Error> {
        let below = self.below().await?;
        let names = self.0.executor.directory().names();
        let seen: BTreeSet<Name> = names
            .all()
            .into_iter()
            .filter(|name| names.whereis(name).is_some_and(|cell| below.has(cell)) || self.may_send(name))
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
