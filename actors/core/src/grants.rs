//! What a cell may do, as plain data.
//!
//! There is no authority besides: a cell whose grants are empty can compute and use its stdio.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

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
}

impl HostMethod {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Id, Self::Addrs, Self::Peers, Self::Connect, Self::Executor, Self::Dial];
}

impl ExecutorMethod {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::RunBytes, Self::Echo];
}

impl Grants {
    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything: what the image's own cell gets unless its image says less.
    pub fn all() -> Self {
        Self { host: HostMethod::ALL.into(), executor: ExecutorMethod::ALL.into(), loader: true }
    }

    /// What a child gets that its parent hands its own `Host`: the same, but not the parent's image.
    pub fn for_child(&self) -> Self {
        Self { loader: false, ..self.clone() }
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
        })
    }
}

impl fmt::Display for ExecutorMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RunBytes => "Executor.runBytes",
            Self::Echo => "Executor.echo",
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
    }
}
