//! What a narrowing leaves of the grants of cells, and its methods as a person reads them.

use std::collections::BTreeSet;

use capnp::traits::HasTypeId;
use ww_core::{
    Grants, Name,
    grants::{ExecutorMethod, HOST, HostMethod, Method, Narrowing, Reach},
};
use ww_schema::peer_capnp::{executor, host};

use crate::spec::{MAIL_TO, PROCESS};

/// What is left of grants.
pub(super) fn narrowed(grants: &Grants, by: &Narrowing) -> Grants {
    let may = |name: &str| by.allows_reserved(name);
    let host =
        |method: &HostMethod| by.allows(Method { interface: host::Client::TYPE_ID, ordinal: host_ordinal(*method) });
    let executor = |method: &ExecutorMethod| {
        by.allows(Method { interface: executor::Client::TYPE_ID, ordinal: executor_ordinal(*method) })
    };
    Grants {
        host: grants.host.iter().copied().filter(|method| may(HOST) && host(method)).collect(),
        executor: grants.executor.iter().copied().filter(|method| may(HOST) && executor(method)).collect(),
        loader: grants.loader && may("wetware:loader/loader"),
        mail: mail(&grants.mail, by),
        identity: grants.identity && may("wetware:cell/self"),
        registry: grants.registry && may("wetware:cell/registry"),
        process: grants.process.as_ref().and_then(|reach| process(reach, by)),
        log: grants.log && may("wetware:cell/log"),
        publish: grants.publish && may("wetware:peer/publish"),
    }
}

/// To whom messages can still be sent: to all as before, or to cells that are named.
fn mail(reach: &Reach, by: &Narrowing) -> Reach {
    if by.allows_reserved("wetware:cell/mail") {
        return reach.clone();
    }
    named(reach, by, MAIL_TO)
}

/// Which cells can still be signalled: those below as before, and those that are named.
fn process(reach: &Reach, by: &Narrowing) -> Option<Reach> {
    if by.reserved.is_empty() {
        return by.methods.is_empty().then(|| reach.clone());
    }
    match named(reach, by, PROCESS) {
        Reach::Nobody => by.reserved.contains("wetware:cell/process").then_some(Reach::Nobody),
        names => Some(names),
    }
}

/// What is left of a reach by the reserved names that begin like this.
fn named(reach: &Reach, by: &Narrowing, prefix: &str) -> Reach {
    let named = by.reserved.iter().filter_map(|name| Name::new(name.strip_prefix(prefix)?).ok());
    let names: BTreeSet<Name> = named.filter(|name| reach.has(name)).collect();
    if names.is_empty() { Reach::Nobody } else { Reach::Names(names) }
}

/// The ordinal of a method in the schema.
fn host_ordinal(method: HostMethod) -> u16 {
    match method {
        HostMethod::Id => 0,
        HostMethod::Addrs => 1,
        HostMethod::Peers => 2,
        HostMethod::Connect => 3,
        HostMethod::Executor => 4,
        HostMethod::Grant => 5,
        HostMethod::Registry => 6,
        HostMethod::Dial => 7,
        HostMethod::Nodes => 8,
        HostMethod::Narrow => 9,
        // One that is not known here is not in any list.
        _ => u16::MAX,
    }
}

/// The ordinal of a method in the schema.
fn executor_ordinal(method: ExecutorMethod) -> u16 {
    match method {
        ExecutorMethod::RunBytes => 0,
        ExecutorMethod::Echo => 1,
        ExecutorMethod::Load => 2,
        ExecutorMethod::Spawn => 3,
        ExecutorMethod::Supervisor => 4,
        _ => u16::MAX,
    }
}

/// A method as a person reads it.
pub(super) fn describe(Method { interface, ordinal }: Method) -> String {
    let known = match interface {
        host::Client::TYPE_ID => {
            HostMethod::ALL.into_iter().find(|method| host_ordinal(*method) == ordinal).map(|method| method.to_string())
        }
        executor::Client::TYPE_ID => ExecutorMethod::ALL
            .into_iter()
            .find(|method| executor_ordinal(*method) == ordinal)
            .map(|method| method.to_string()),
        _ => None,
    };
    known.unwrap_or_else(|| format!("method {ordinal} of the interface {interface:#018x}"))
}
