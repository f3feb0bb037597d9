//! The server of `Local`, the bootstrap of clients and peers: a `Host`, an `Admin` and a `Neighbour` in one.

use std::{future::Future, rc::Rc};

use capnp::Error;
use ww_schema::{
    admin_capnp::admin,
    grant_capnp::neighbour,
    peer_capnp::{host, local},
};

use crate::{
    admin::{Admin, StopNode},
    context::Context,
    host::Server as Host,
    membrane::Neighbour,
};

struct Local {
    host: Rc<Host>,
    admin: Rc<Admin>,
    neighbour: Rc<Neighbour>,
}

/// The `Local` of one client.
pub(crate) fn client(context: Context, stop: StopNode) -> local::Client {
    let host = Rc::new(Host::new(context.clone()));
    let neighbour = Rc::new(Neighbour::new(context.clone()));
    capnp_rpc::new_client(Local { host, admin: Rc::new(Admin::new(context, stop)), neighbour })
}

/// Hands methods on to the server of one interface.
macro_rules! hand_on {
    ($interface:ident, $to:ident: $($method:ident($params:ident, $results:ident);)*) => {
        impl $interface::Server for Local {
            $(fn $method(
                self: Rc<Self>,
                params: $interface::$params,
                results: $interface::$results,
            ) -> impl Future<Output = Result<(), Error>> + 'static {
                $interface::Server::$method(Rc::clone(&self.$to), params, results)
            })*
        }
    };
}

hand_on! { host, host:
    id(IdParams, IdResults);
    addrs(AddrsParams, AddrsResults);
    peers(PeersParams, PeersResults);
    connect(ConnectParams, ConnectResults);
    executor(ExecutorParams, ExecutorResults);
    grant(GrantParams, GrantResults);
    registry(RegistryParams, RegistryResults);
    dial(DialParams, DialResults);
    nodes(NodesParams, NodesResults);
    narrow(NarrowParams, NarrowResults);
}

hand_on! { admin, admin:
    list(ListParams, ListResults);
    tree(TreeParams, TreeResults);
    watch(WatchParams, WatchResults);
    logs(LogsParams, LogsResults);
    inspect(InspectParams, InspectResults);
    stop(StopParams, StopResults);
    process(ProcessParams, ProcessResults);
}

hand_on! { neighbour, neighbour:
    membrane(MembraneParams, MembraneResults);
}

impl local::Server for Local {}
