//! What a cell may do, as plain data.
//!
//! There is no authority besides: a cell whose grants are empty can compute and use its stdio.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Name, limits};

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
    /// Names of cells.
    Registry,
    /// Narrowing capabilities before they are handed on.
    Narrow,
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

/// Which cells of its node a cell may send messages to, or may link with, monitor and signal.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Reach {
    /// None.
    #[default]
    Nobody,
    /// Those that have one of these names, and the sender of the message in progress.
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
    /// Whether it may link with cells, monitor and signal them: `wetware:cell/process`. With the grant it reaches
    /// itself, all cells below it, and the sender of the message in progress; besides, those that this names.
    pub process: Option<Reach>,
    /// Whether it may write to the node's log: `wetware:cell/log`.
    pub log: bool,
    /// Whether it may let peers send messages to cells that it spawns.
    pub publish: bool,
}

/// One method of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Method {
    /// Id of the interface.
    pub interface: u64,
    /// The method's ordinal.
    pub ordinal: u16,
}

/// What a capability can still do that is handed on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Narrowing {
    /// The methods that remain; empty for all.
    pub methods: BTreeSet<Method>,
    /// What cells may be given that are started through it, by the reserved names of grants. Empty for all, if `methods`
    /// is empty as well.
    pub reserved: BTreeSet<String>,
    /// The most that such cells get.
    pub limits: limits::Narrowing,
    /// How long it lasts; `None` for ever.
    pub expires: Option<Duration>,
}

/// The reserved name of a grant that stands for methods of `Host` and `Executor`.
pub const HOST: &str = "wetware:peer/host";

impl Narrowing {
    /// Whether a method of the narrowed capability itself remains.
    pub fn allows(&self, method: Method) -> bool {
        self.methods.is_empty() || self.methods.contains(&method)
    }

    /// Whether a method remains of a capability that was reached through the narrowed one: of an interface that
    /// `methods` names, only those that it names.
    pub fn allows_reached(&self, method: Method) -> bool {
        let first = Method { interface: method.interface, ordinal: 0 };
        let named = self.methods.range(first..).next().is_some_and(|named| named.interface == method.interface);
        !named || self.methods.contains(&method)
    }

    /// Whether it says more of the cells that are started through it than that they end with it.
    pub fn is_about_cells(&self) -> bool {
        !self.reserved.is_empty() || self.limits != limits::Narrowing::default()
    }

    /// Whether cells that are started through it may be given what a reserved name stands for. Which methods [`HOST`]
    /// means is another question, which `methods` answers.
    pub fn allows_reserved(&self, name: &str) -> bool {
        self.reserved.contains(name) || (self.reserved.is_empty() && (self.methods.is_empty() || name == HOST))
    }
}

impl HostMethod {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Id,
        Self::Addrs,
        Self::Peers,
        Self::Connect,
        Self::Executor,
        Self::Dial,
        Self::Grant,
        Self::Registry,
        Self::Nodes,
        Self::Narrow,
    ];
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

    /// Everything that can be had without naming cells: what the image's own cell gets unless its image says otherwise.
    pub fn all() -> Self {
        Self {
            host: HostMethod::ALL.into(),
            executor: ExecutorMethod::ALL.into(),
            loader: true,
            mail: Reach::Everybody,
            identity: true,
            registry: true,
            process: Some(Reach::Nobody),
            log: true,
            publish: true,
        }
    }

    /// The same for an operator of the node, who may signal every cell, and may hand that on for cells by their names.
    pub fn operator() -> Self {
        Self { process: Some(Reach::Everybody), ..Self::all() }
    }

    /// What a child gets that its parent hands its own `Host`: the same, but not the parent's image, and no cells that
    /// nobody has named.
    pub fn for_child(&self) -> Self {
        let process = match &self.process {
            Some(Reach::Everybody) => Some(Reach::Nobody),
            named => named.clone(),
        };
        Self { loader: false, process, ..self.clone() }
    }
}

impl Reach {
    /// Whether it reaches a cell under this name.
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
            Self::Registry => "Host.registry",
            Self::Nodes => "Host.nodes",
            Self::Narrow => "Host.narrow",
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
        assert_eq!(Grants::operator().for_child(), child_of_all());
    }

    fn child_of_all() -> Grants {
        Grants { loader: false, ..Grants::all() }
    }

    #[test]
    fn a_list_of_methods_binds_the_capability_and_every_interface_that_it_names() {
        let [a0, a1, b0] = [(1, 0), (1, 1), (2, 0)].map(|(interface, ordinal)| Method { interface, ordinal });
        let allowed = |methods: &[Method]| {
            let narrowing = Narrowing { methods: methods.iter().copied().collect(), ..Narrowing::default() };
            [a0, a1, b0].map(|method| (narrowing.allows(method), narrowing.allows_reached(method)))
        };
        assert_eq!(allowed(&[]), [(true, true); 3]);
        assert_eq!(allowed(&[a1]), [(false, false), (true, true), (false, true)]);
        assert_eq!(allowed(&[b0]), [(false, true), (false, true), (true, true)]);
        assert_eq!(allowed(&[a1, b0]), [(false, false), (true, true), (true, true)]);
    }

    #[test]
    fn reserved_names_remain_as_listed_and_all_of_them_where_nothing_is() {
        let method = Method { interface: 1, ordinal: 0 };
        let allowed = |methods: &[Method], reserved: &[&str]| {
            let narrowing = Narrowing {
                methods: methods.iter().copied().collect(),
                reserved: reserved.iter().copied().map(str::to_owned).collect(),
                ..Narrowing::default()
            };
            ["wetware:cell/log", "wetware:cell/mail", HOST].map(|name| narrowing.allows_reserved(name))
        };
        assert_eq!(allowed(&[], &[]), [true; 3]);
        assert_eq!(allowed(&[method], &[]), [false, false, true]);
        assert_eq!(allowed(&[], &["wetware:cell/log"]), [true, false, false]);
        assert_eq!(allowed(&[method], &["wetware:cell/log"]), [true, false, false]);
    }

    #[test]
    fn a_reach_is_nobody_some_or_everybody() {
        let [store, other] = ["store", "other"].map(|name| Name::new(name).expect("a name"));
        let some = Reach::Names([store.clone()].into());
        let has = |reach: &Reach| [reach.has(&store), reach.has(&other)];
        assert_eq!([has(&Reach::Nobody), has(&some), has(&Reach::Everybody)], [[false; 2], [true, false], [true; 2]]);
    }
}
