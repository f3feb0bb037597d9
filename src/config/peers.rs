//! Which peers hold capabilities of this node, and which: nobody, unless the configuration says so.
//!
//! ```toml
//! [[rpc.peers]]
//! id = "12D3KooW…"
//! admin = ["list", "tree"]            # methods of `Admin`; or true, for all of them
//! max-message = "32MiB"               # the largest message that is read; a program has to fit into one
//!
//! [rpc.peers.grants]                  # the keys of `[grants]` in etc/ww.toml; what is left out is not granted
//! host = ["id", "executor"]
//! executor = ["runBytes", "spawn"]
//!
//! [rpc.peers.limits]                  # the keys of `[limits]` there
//! memory = "64MiB"
//! children = 8
//! ```

use std::collections::BTreeSet;

use serde::Deserialize;
use thiserror::Error;
use ww_core::{
    Grants, Limits, account,
    grants::AdminMethod,
    limits::{DEFAULT_INSTANCES, DEFAULT_MEMORY, Exceeds, MIB, Narrowing},
};
use ww_image::{
    manifest::{self, GrantTable},
    units::Bytes,
};
use ww_net::PeerId;
use ww_rpc::{DEFAULT_PEER_MESSAGE, MAX_PEER_MESSAGE, MIN_PEER_MESSAGE};

/// Peers that a configuration may name: each has places for its connections.
pub const MAX_PEERS: usize = 1_024;

/// Cells that a peer may own at once, unless the configuration says otherwise: those of a program, not of a machine.
const CHILDREN: u32 = 64;

/// The same with all cells below them.
const SUBTREE_CELLS: u32 = 256;

/// Bytes of linear memory that all of them may be allowed at once.
const SUBTREE_MEMORY: u64 = 1_024 * MIB;

/// What one peer gets that connects on `/ww/0.1.0/rpc`.
#[derive(Clone, Debug)]
pub struct PeerGrants {
    /// Who it is.
    pub id: PeerId,
    /// Its part of `Host` and `Executor`, of which what it starts gets no more.
    pub grants: Grants,
    /// Its part of `Admin`.
    pub admin: BTreeSet<AdminMethod>,
    /// What each cell that it starts gets at most, and all of them together, for each of its connections; `held` is for all of
    /// them.
    pub limits: Limits,
    /// Bytes of one message of it.
    pub max_message: usize,
}

/// A peer in the configuration that cannot be granted what it says.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// It is named twice.
    #[error("rpc.peers: {0} is named twice, expected all that it is granted in one place")]
    Twice(PeerId),
    /// There are too many.
    #[error("rpc.peers: {0} peers are named, at most {MAX_PEERS} can be")]
    TooMany(usize),
    /// It is granted files of an image.
    #[error("rpc.peers: {0} is granted `loader`, but a peer has no image: remove it")]
    Loader(PeerId),
    /// It is granted more than there is.
    #[error("rpc.peers: the limits of {0}: {1}")]
    Limits(PeerId, Exceeds),
    /// Its messages may be larger or smaller than they can be.
    #[error(
        "rpc.peers: the max-message of {0} is {1} bytes, expected between {min} and {max}",
        min = MIN_PEER_MESSAGE,
        max = MAX_PEER_MESSAGE
    )]
    Message(PeerId, u64),
}

/// The table `rpc`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rpc {
    #[serde(default)]
    peers: Vec<Peer>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Peer {
    #[serde(deserialize_with = "id")]
    id: PeerId,
    #[serde(default)]
    admin: Admin,
    #[serde(default)]
    grants: GrantTable,
    #[serde(default, deserialize_with = "manifest::limits")]
    limits: Narrowing,
    max_message: Option<Bytes>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected true, false or a list of methods: list, tree, watch, logs, inspect, stop, process"
)]
enum Admin {
    All(bool),
    Methods(BTreeSet<AdminMethod>),
}

impl Default for Admin {
    fn default() -> Self {
        Self::All(false)
    }
}

fn id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| {
        serde::de::Error::custom(format!("{text:?} is no peer id ({error}): expected one like 12D3KooW…"))
    })
}

impl Rpc {
    /// What each peer gets, on a node that gives nobody more than `most`.
    pub(super) fn granted(self, most: &Limits) -> Result<Vec<PeerGrants>, Invalid> {
        if self.peers.len() > MAX_PEERS {
            return Err(Invalid::TooMany(self.peers.len()));
        }
        let mut seen = BTreeSet::new();
        let granted = self
            .peers
            .into_iter()
            .map(|peer| if seen.insert(peer.id) { peer.granted(most) } else { Err(Invalid::Twice(peer.id)) });
        granted.collect()
    }
}

impl Peer {
    fn granted(self, most: &Limits) -> Result<PeerGrants, Invalid> {
        let Self { id, admin, grants, limits: mut wishes, max_message } = self;
        let grants = grants.instead_of(Grants::none());
        if grants.loader {
            return Err(Invalid::Loader(id));
        }
        wishes.memory.get_or_insert(DEFAULT_MEMORY.min(most.memory));
        wishes.children.get_or_insert(CHILDREN);
        wishes.subtree_cells.get_or_insert(SUBTREE_CELLS);
        wishes.subtree_memory.get_or_insert(SUBTREE_MEMORY);
        wishes.instances.get_or_insert(DEFAULT_INSTANCES);
        wishes.held.get_or_insert(account::DEFAULT_PEER.min(most.held));
        let limits = most.narrowed(&wishes).map_err(|exceeds| Invalid::Limits(id, exceeds))?;
        let admin = match admin {
            Admin::All(true) => AdminMethod::ALL.into(),
            Admin::All(false) => BTreeSet::new(),
            Admin::Methods(methods) => methods,
        };
        let max_message = match max_message.map(Bytes::get) {
            None => DEFAULT_PEER_MESSAGE,
            Some(wanted) => usize::try_from(wanted)
                .ok()
                .filter(|bytes| (MIN_PEER_MESSAGE..=MAX_PEER_MESSAGE).contains(bytes))
                .ok_or(Invalid::Message(id, wanted))?,
        };
        Ok(PeerGrants { id, grants, admin, limits, max_message })
    }
}

#[cfg(test)]
mod tests {
    use ww_core::grants::{ExecutorMethod, HostMethod};

    use super::*;

    const MAX_MEMORY: u64 = 512 * MIB;

    fn granted(text: &str) -> Result<Vec<PeerGrants>, String> {
        #[derive(Deserialize)]
        struct File {
            rpc: Rpc,
        }
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        file.rpc.granted(&Limits::of_node(MAX_MEMORY)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_peer_gets_what_is_named_and_nothing_else() {
        let (one, other) = (PeerId::random(), PeerId::random());
        let text = format!(
            "[[rpc.peers]]\nid = '{one}'\n[[rpc.peers]]\nid = '{other}'\nadmin = ['list']\n\
             grants = {{ host = ['id', 'executor'], executor = ['spawn'], mail = true }}\n\
             limits = {{ memory = '128MiB', children = 2 }}\nmax-message = '32MiB'"
        );
        let peers = granted(&text).expect("valid");
        assert_eq!((peers[0].id, &peers[0].grants, peers[0].admin.len()), (one, &Grants::none(), 0));
        assert_eq!((peers[0].limits.memory, peers[0].limits.children), (64 * MIB, CHILDREN));
        assert_eq!(peers[1].id, other);
        assert_eq!(peers[1].grants.host, [HostMethod::Id, HostMethod::Executor].into());
        assert_eq!(peers[1].grants.executor, [ExecutorMethod::Spawn].into());
        assert!(!peers[1].grants.publish && !peers[1].grants.log);
        assert_eq!(peers[1].admin, [AdminMethod::List].into());
        assert_eq!((peers[1].limits.memory, peers[1].limits.children), (128 * MIB, 2));
        assert_eq!([&peers[0], &peers[1]].map(|peer| peer.max_message), [16 << 20, 32 << 20]);
        let all = granted(&format!("[[rpc.peers]]\nid = '{one}'\nadmin = true")).expect("valid");
        assert_eq!(all[0].admin, AdminMethod::ALL.into());
    }

    #[test]
    fn what_cannot_be_granted_is_named() {
        let id = PeerId::random();
        let peer = format!("[[rpc.peers]]\nid = '{id}'\n");
        for (text, part) in [
            ("[[rpc.peers]]\nid = 'me'".to_owned(), "\"me\" is no peer id"),
            ("[[rpc.peers]]\nadmin = true".to_owned(), "id"),
            (format!("{peer}{peer}"), "is named twice"),
            (format!("{peer}grants = {{ loader = true }}"), "a peer has no image"),
            (format!("{peer}limits = {{ memory = '1GiB' }}"), "the limit `memory`"),
            (format!("{peer}max-message = '65MiB'"), "expected between 2097152 and 67108864"),
            (format!("{peer}max-message = '1MiB'"), "expected between 2097152 and 67108864"),
            (format!("{peer}admin = 'all'"), "true, false or a list of methods"),
            (format!("{peer}grant = 1"), "unknown field `grant`"),
        ] {
            let error = granted(&text).expect_err(&text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
