//! What a cell may do, as plain data.
//!
//! There is no authority besides: a cell whose grants are empty can compute and use its stdio.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::Name;

/// Methods of the `Host` interface that can be granted one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum HostMethod {
    /// The node's peer id.
    Id,
    /// The addresses it listens on.
    Addrs,
    /// The peers it is connected to.
    Peers,
    /// Connecting to peers.
    Connect,
    /// Starting cells.
    Executor,
    /// Sending messages to cells, of peers and of the node itself.
    Dial,
    /// The capabilities that the cell was handed.
    Grant,
    /// What other nodes grant to this one.
    Nodes,
}

/// Methods of the `Executor` interface that can be granted one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ExecutorMethod {
    /// Running a program once.
    RunBytes,
    /// Echoing a text.
    Echo,
    /// Compiling a program, to start cells from it.
    Load,
    /// Starting a cell that serves messages.
    Spawn,
    /// Starting a supervisor.
    Supervisor,
}

/// Methods of the `Admin` interface that can be granted one by one. No cell has any of them: they are for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AdminMethod {
    /// Listing all cells.
    List,
    /// Who owns whom.
    Tree,
    /// What happens to cells.
    Watch,
    /// What cells report.
    Logs,
    /// Everything that is known of a cell.
    Inspect,
    /// Stopping the node.
    Stop,
    /// Any cell, to send to, to wait for and to end.
    Process,
}

/// Which cells of its node a cell may send messages to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Reach {
    /// None.
    #[default]
    Nobody,
    /// Those that have one of these names, and whoever sent the message in progress.
    Names(BTreeSet<Name>),
    /// All, by name or by id.
    Everybody,
}

/// The authority of one cell.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Grants {
    /// What it may ask its node.
    pub host: BTreeSet<HostMethod>,
    /// What it may ask its executor.
    pub executor: BTreeSet<ExecutorMethod>,
    /// Whether it may read the files of its image.
    pub loader: bool,
    /// To whom it may send messages: `wetware:cell/mail`.
    pub mail: Reach,
    /// Whether it may know its own id and name, and the envelope of its messages: `wetware:cell/self`.
    pub identity: bool,
    /// Whether it may register and look up names: `wetware:cell/registry`.
    pub registry: bool,
    /// Whether it may link, monitor and signal other cells: `wetware:cell/process`.
    pub process: bool,
    /// Whether it may write to the node's log: `wetware:cell/log`.
    pub log: bool,
    /// Whether it may let peers send messages to cells that it spawns.
    pub publish: bool,
}

impl HostMethod {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Id, Self::Addrs, Self::Peers, Self::Connect, Self::Executor, Self::Dial, Self::Grant, Self::Nodes];
}

impl ExecutorMethod {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::RunBytes, Self::Echo, Self::Load, Self::Spawn, Self::Supervisor];
}

impl AdminMethod {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::List, Self::Tree, Self::Watch, Self::Logs, Self::Inspect, Self::Stop, Self::Process];
}

impl Grants {
    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything: what the image's own cell gets unless its image says less.
    pub fn all() -> Self {
        Self {
            host: HostMethod::ALL.into(),
            executor: ExecutorMethod::ALL.into(),
            loader: true,
            mail: Reach::Everybody,
            identity: true,
            registry: true,
            process: true,
            log: true,
            publish: true,
        }
    }

    /// What a child gets that its parent hands its own `Host`: the same, but not the parent's image.
    pub fn for_child(&self) -> Self {
        Self { loader: false, ..self.clone() }
    }
}

impl Reach {
    /// Whether a cell may be sent to under this name.
    pub fn has(&self, name: &Name) -> bool {
        match self {
            Self::Nobody => false,
            Self::Names(names) => names.contains(name),
            Self::Everybody => true,
        }
    }
}

impl fmt::Display for HostMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Id => "Host.id",
            Self::Addrs => "Host.addrs",
            Self::Peers => "Host.peers",
            Self::Connect => "Host.connect",
            Self::Executor => "Host.executor",
            Self::Dial => "Host.dial",
            Self::Grant => "Host.grant",
            Self::Nodes => "Host.nodes",
        })
    }
}

impl fmt::Display for AdminMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "Admin.list",
            Self::Tree => "Admin.tree",
            Self::Watch => "Admin.watch",
            Self::Logs => "Admin.logs",
            Self::Inspect => "Admin.inspect",
            Self::Stop => "Admin.stop",
            Self::Process => "Admin.process",
        })
    }
}

impl fmt::Display for ExecutorMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RunBytes => "Executor.runBytes",
            Self::Echo => "Executor.echo",
            Self::Load => "Executor.load",
            Self::Spawn => "Executor.spawn",
            Self::Supervisor => "Executor.supervisor",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_inherits_its_parents_host_but_not_its_image() {
        let mut parent = Grants::all();
        parent.host.remove(&HostMethod::Connect);
        let child = parent.for_child();
        assert_eq!(child.host, parent.host);
        assert_eq!(child.executor, parent.executor);
        assert!(!child.loader);
        assert_eq!(child.mail, parent.mail);
    }

    #[test]
    fn a_reach_is_nobody_some_or_everybody() {
        let [store, other] = ["store", "other"].map(|name| Name::new(name).expect("a name"));
        let some = Reach::Names([store.clone()].into());
        let has = |reach: &Reach| [reach.has(&store), reach.has(&other)];
        assert_eq!([has(&Reach::Nobody), has(&some), has(&Reach::Everybody)], [[false; 2], [true, false], [true; 2]]);
    }
}
