//! Limits of a cell, with the defaults of the runtime and the rule by which children inherit them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::account;

/// One mebibyte, in bytes.
pub const MIB: u64 = 1 << 20;

/// Linear memory of a cell, in bytes, unless its spec says otherwise: enough for a language runtime with a garbage
/// collector, small enough that hundreds of cells fit into a small machine.
pub const DEFAULT_MEMORY: u64 = 64 * MIB;

/// Most linear memory that any cell of a node may be given, in bytes.
pub const DEFAULT_MAX_MEMORY: u64 = 1024 * MIB;

/// Time for one message from the moment a cell begins it: longer than a person waits, short enough to free what a
/// stuck guest holds.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Cells that one cell may own at once.
pub const DEFAULT_CHILDREN: u32 = 1_024;

/// Cells that one cell and all below it may own at once.
pub const DEFAULT_SUBTREE_CELLS: u32 = 4_096;

/// Bytes of a message that travels as a whole, through `handle`, `send` and mail: larger ones travel as streams, which
/// hold a cell's neighbours up less.
pub const DEFAULT_MESSAGE_SIZE: u32 = 4 << 20;

/// Instances of a cell in sync mode that run at once.
pub const DEFAULT_INSTANCES: u32 = 64;

/// Most instances of a cell in sync mode: half of the places that a size class has by default.
pub const MAX_INSTANCES: u32 = 1_024;

/// What one cell may use. Inherited: a child never has more than its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory: u64,
    /// Wall-clock time for one message, or for `main`; `None` for no limit.
    pub deadline: Option<Duration>,
    /// Computing time for one message, or for `main`; `None` for no limit.
    pub cpu: Option<Duration>,
    /// Cells that it may own at once.
    pub children: u32,
    /// Cells that it and all below it may own at once.
    pub subtree_cells: u32,
    /// Bytes of linear memory that all cells below it may be allowed at once; `None` for no limit of its own.
    pub subtree_memory: Option<u64>,
    /// Bytes of a message that travels as a whole.
    pub message_size: u32,
    /// Instances at once in sync mode, at least one.
    pub instances: u32,
    /// Bytes that the node holds for it and all below it, besides linear memory: see [`account`].
    pub held: u64,
}

/// A wish for other limits, as an image or a spec states it; what is left out stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Narrowing {
    /// Bytes of linear memory.
    pub memory: Option<u64>,
    /// Milliseconds of wall-clock time for one message, or for `main`.
    pub deadline: Option<u64>,
    /// Milliseconds of computing time for one message, or for `main`.
    pub cpu: Option<u64>,
    /// Cells that it may own at once.
    pub children: Option<u32>,
    /// Cells that it and all below it may own at once.
    pub subtree_cells: Option<u32>,
    /// Bytes of linear memory that all cells below it may be allowed at once.
    pub subtree_memory: Option<u64>,
    /// Bytes of a message that travels as a whole.
    pub message_size: Option<u32>,
    /// Instances at once in sync mode.
    pub instances: Option<u32>,
    /// Bytes that the node holds for it and all below it, besides linear memory.
    pub held: Option<u64>,
}

/// A wish for more than there is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the limit `{limit}` is {wanted}, but at most {most} can be given here")]
pub struct Exceeds {
    /// Which limit.
    pub limit: &'static str,
    /// What was asked for.
    pub wanted: u64,
    /// What can be given.
    pub most: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: DEFAULT_MEMORY,
            deadline: Some(DEFAULT_DEADLINE),
            cpu: None,
            children: DEFAULT_CHILDREN,
            subtree_cells: DEFAULT_SUBTREE_CELLS,
            subtree_memory: None,
            message_size: DEFAULT_MESSAGE_SIZE,
            instances: DEFAULT_INSTANCES,
            held: account::DEFAULT_CELL,
        }
    }
}

impl Limits {
    /// The most that an image's own cell or a client of this user can be given on a node with these defaults: `max_memory`
    /// bytes, no limits of time, and what a node holds for one client.
    pub fn of_node(max_memory: u64) -> Self {
        Self {
            memory: max_memory,
            deadline: None,
            cpu: None,
            instances: MAX_INSTANCES,
            held: account::DEFAULT_CLIENT,
            ..Self::default()
        }
    }

    /// These limits with the wishes in place of what they name.
    ///
    /// # Errors
    ///
    /// Where a wish is for more than these limits: nothing is handed out that the giver does not have.
    pub fn narrowed(&self, by: &Narrowing) -> Result<Self, Exceeds> {
        Ok(Self {
            memory: at_most("memory", by.memory, self.memory)?,
            deadline: sooner("deadline", by.deadline, self.deadline)?,
            cpu: sooner("cpu", by.cpu, self.cpu)?,
            children: at_most("children", by.children, self.children)?,
            subtree_cells: at_most("subtree-cells", by.subtree_cells, self.subtree_cells)?,
            subtree_memory: match (by.subtree_memory, self.subtree_memory) {
                (Some(wanted), None) => Some(wanted),
                (wanted, Some(most)) => Some(at_most("subtree-memory", wanted, most)?),
                (None, None) => None,
            },
            message_size: at_most("message-size", by.message_size, self.message_size)?,
            instances: at_most("instances", by.instances, self.instances)?.max(1),
            held: at_most("held", by.held, self.held)?,
        })
    }

    /// These limits, or less where the other ones are less.
    #[must_use]
    pub fn capped(&self, by: &Narrowing) -> Self {
        let sooner =
            |own: Option<Duration>, millis: Option<u64>| own.into_iter().chain(millis.map(Duration::from_millis)).min();
        Self {
            memory: least(self.memory, by.memory),
            deadline: sooner(self.deadline, by.deadline),
            cpu: sooner(self.cpu, by.cpu),
            children: least(self.children, by.children),
            subtree_cells: least(self.subtree_cells, by.subtree_cells),
            subtree_memory: self.subtree_memory.into_iter().chain(by.subtree_memory).min(),
            message_size: least(self.message_size, by.message_size),
            instances: least(self.instances, by.instances).max(1),
            held: least(self.held, by.held),
        }
    }
}

fn least<T: Ord>(own: T, most: Option<T>) -> T {
    match most {
        Some(most) => own.min(most),
        None => own,
    }
}

fn at_most<T: Copy + Into<u64> + PartialOrd>(limit: &'static str, wanted: Option<T>, most: T) -> Result<T, Exceeds> {
    match wanted {
        Some(wanted) if wanted > most => Err(Exceeds { limit, wanted: wanted.into(), most: most.into() }),
        wanted => Ok(wanted.unwrap_or(most)),
    }
}

fn sooner(limit: &'static str, wanted: Option<u64>, most: Option<Duration>) -> Result<Option<Duration>, Exceeds> {
    let Some(wanted) = wanted else { return Ok(most) };
    if let Some(most) = most {
        at_most(limit, Some(wanted), u64::try_from(most.as_millis()).unwrap_or(u64::MAX))?;
    }
    Ok(Some(Duration::from_millis(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_caps_limits_never_widens_them() {
        let limits = Limits { memory: 100, children: 3, deadline: None, ..Limits::default() };
        assert_eq!(limits.capped(&Narrowing::default()), limits);
        let more = Narrowing { memory: Some(200), children: Some(9), ..Narrowing::default() };
        assert_eq!(limits.capped(&more), limits);
        let less = Narrowing {
            memory: Some(50),
            deadline: Some(10),
            subtree_memory: Some(7),
            instances: Some(0),
            ..Narrowing::default()
        };
        let capped = limits.capped(&less);
        assert_eq!((capped.memory, capped.children, capped.instances), (50, 3, 1));
        assert_eq!((capped.deadline, capped.subtree_memory), (Some(Duration::from_millis(10)), Some(7)));
    }

    #[test]
    fn wishes_narrow_and_never_widen() {
        let parent = Limits { memory: 100, children: 3, ..Limits::default() };
        assert_eq!(parent.narrowed(&Narrowing::default()), Ok(parent.clone()));

        let narrower = Narrowing { memory: Some(50), deadline: Some(10), cpu: Some(5), ..Narrowing::default() };
        let child = parent.narrowed(&narrower).expect("less than the parent has");
        assert_eq!((child.memory, child.children), (50, 3));
        assert_eq!((child.deadline, child.cpu), (Some(Duration::from_millis(10)), Some(Duration::from_millis(5))));

        for (wider, exceeds) in [
            (
                Narrowing { memory: Some(101), ..Narrowing::default() },
                Exceeds { limit: "memory", wanted: 101, most: 100 },
            ),
            (
                Narrowing { deadline: Some(30_001), ..Narrowing::default() },
                Exceeds { limit: "deadline", wanted: 30_001, most: 30_000 },
            ),
            (
                Narrowing { children: Some(4), ..Narrowing::default() },
                Exceeds { limit: "children", wanted: 4, most: 3 },
            ),
            (
                Narrowing { message_size: Some(DEFAULT_MESSAGE_SIZE + 1), ..Narrowing::default() },
                Exceeds { limit: "message-size", wanted: 4_194_305, most: 4_194_304 },
            ),
            (
                Narrowing { instances: Some(65), ..Narrowing::default() },
                Exceeds { limit: "instances", wanted: 65, most: 64 },
            ),
        ] {
            assert_eq!(parent.narrowed(&wider), Err(exceeds));
        }
    }
}
