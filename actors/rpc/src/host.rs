//! The server of `Host`: a node, as far as one cell may use it.

use std::{rc::Rc, sync::Arc, time::Duration};

use capnp::Error;
use ww_core::{Name, grants::HostMethod, text};
use ww_schema::peer_capnp::host;

use crate::{
    context::{Context, MAX_DIALS},
    exchange, executor, membrane,
    network::Dial,
    registry,
    remote::nodes,
    shelf::Key,
};

/// Addresses that one call may bring: more than any peer has.
const MAX_ADDRS: u32 = 64;

pub(crate) struct Server(Context);

/// The `Host` of one cell.
pub(crate) fn client(context: Context) -> host::Client {
    capnp_rpc::new_client(Server(context))
}

impl Server {
    pub(crate) fn new(context: Context) -> Self {
        Self(context)
    }

    fn require(&self, method: HostMethod) -> Result<(), Error> {
        if self.0.guest.grants.host.contains(&method) { Ok(()) } else { Err(self.0.denied(method)) }
    }
}

/// Fills a list of addresses.
fn set_addrs(mut list: capnp::data_list::Builder<'_>, addrs: &[Vec<u8>]) {
    for (index, addr) in (0..).zip(addrs) {
        list.set(index, addr);
    }
}

/// Reads a list of addresses.
pub(crate) fn get_addrs(list: capnp::data_list::Reader<'_>) -> Result<Vec<Vec<u8>>, Error> {
    if list.len() > MAX_ADDRS {
        return Err(Error::failed(format!("{} addresses: at most {MAX_ADDRS} are tried", list.len())));
    }
    list.iter().map(|addr| addr.map(<[u8]>::to_vec)).collect()
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

impl host::Server for Server {
    async fn id(self: Rc<Self>, _: host::IdParams, mut results: host::IdResults) -> Result<(), Error> {
        self.require(HostMethod::Id)?;
        results.get().set_peer_id(&self.0.network.peer_id());
        Ok(())
    }

    async fn addrs(self: Rc<Self>, _: host::AddrsParams, mut results: host::AddrsResults) -> Result<(), Error> {
        self.require(HostMethod::Addrs)?;
        let addrs = self.0.network.addrs().await;
        set_addrs(results.get().init_addrs(count(&addrs)), &addrs);
        Ok(())
    }

    async fn peers(self: Rc<Self>, _: host::PeersParams, mut results: host::PeersResults) -> Result<(), Error> {
        self.require(HostMethod::Peers)?;
        let peers = self.0.network.peers().await;
        let mut list = results.get().init_peers(count(&peers));
        for (index, peer) in (0..).zip(&peers) {
            let mut info = list.reborrow().get(index);
            info.set_peer_id(&peer.peer_id);
            set_addrs(info.init_addrs(count(&peer.addrs)), &peer.addrs);
        }
        Ok(())
    }

    async fn connect(self: Rc<Self>, params: host::ConnectParams, _: host::ConnectResults) -> Result<(), Error> {
        self.require(HostMethod::Connect)?;
        let (peer_id, addrs) = {
            let params = params.get()?;
            (params.get_peer_id()?.to_vec(), get_addrs(params.get_addrs()?)?)
        };
        self.0.network.connect(peer_id, addrs).await.map_err(Error::failed)
    }

    async fn executor(
        self: Rc<Self>,
        _: host::ExecutorParams,
        mut results: host::ExecutorResults,
    ) -> Result<(), Error> {
        self.require(HostMethod::Executor)?;
        results.get().set_executor(executor::client(self.0.clone()));
        Ok(())
    }

    async fn dial(self: Rc<Self>, params: host::DialParams, mut results: host::DialResults) -> Result<(), Error> {
        self.require(HostMethod::Dial)?;
        let dial = {
            let params = params.get()?;
            let name = Name::new(params.get_name()?.to_string()?).map_err(|error| Error::failed(error.to_string()))?;
            let deadline = Some(params.get_deadline()).filter(|millis| *millis > 0);
            Dial {
                from: self.0.guest.id,
                peer_id: params.get_peer_id()?.to_vec(),
                addrs: get_addrs(params.get_addrs()?)?,
                name,
                deadline: deadline.map(|millis| Duration::from_millis(millis.into())),
                cause: self.0.cause(),
            }
        };
        drop(params);
        let Ok(place) = Arc::clone(&self.0.dials).try_acquire_owned() else {
            let why = format!("{MAX_DIALS} messages of this cell are under way: wait for one of them, and drop it");
            return Err(Error::failed(why));
        };
        let dialled = self.0.network.dial(dial, self.0.guest.account.clone()).await.map_err(Error::failed)?;
        results.get().set_exchange(exchange::client(dialled, place));
        Ok(())
    }

    async fn nodes(self: Rc<Self>, _: host::NodesParams, mut results: host::NodesResults) -> Result<(), Error> {
        self.require(HostMethod::Nodes)?;
        results.get().set_nodes(nodes::client(self.0.clone()));
        Ok(())
    }

    async fn registry(
        self: Rc<Self>,
        _: host::RegistryParams,
        mut results: host::RegistryResults,
    ) -> Result<(), Error> {
        self.require(HostMethod::Registry)?;
        results.get().set_registry(registry::client(self.0.clone()));
        Ok(())
    }

    async fn narrow(self: Rc<Self>, params: host::NarrowParams, mut results: host::NarrowResults) -> Result<(), Error> {
        self.require(HostMethod::Narrow)?;
        let params = params.get()?;
        if !params.has_cap() {
            return Err(Error::failed("cap: there is no capability to narrow".into()));
        }
        let (narrowed, revoker) = membrane::narrow(&self.0, params.get_cap().get_as_capability()?, params.get_to()?)?;
        let mut results = results.get();
        results.reborrow().init_cap().set_as_capability(narrowed.hook);
        results.set_revoker(revoker);
        Ok(())
    }

    async fn grant(self: Rc<Self>, params: host::GrantParams, mut results: host::GrantResults) -> Result<(), Error> {
        self.require(HostMethod::Grant)?;
        let params = params.get()?;
        let name = params.get_name()?.to_str()?;
        let key = self.0.guest.handed.as_ref().and_then(|handed| handed.downcast_ref::<Key>());
        let client = key.and_then(|key| key.get(name)).ok_or_else(|| self.0.denied(text::quoted(name)))?;
        results.get().init_cap().set_as_capability(client.hook);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
