//! What one instance may use of the sandbox, and what is said when it wants more.

use thiserror::Error;
use wasmtime::ResourceLimiter;
use ww_core::exit::Limit;

use crate::{
    engine::{Kind, TABLE_ELEMENTS},
    fault,
    meters::Meters,
    rewrite::HEAP_MAXIMUM,
};

/// Instances, tables and memories of one store: what a component of a few linked parts needs.
const INSTANCES: usize = 32;
const TABLES: usize = 32;
const MEMORIES: usize = 8;

/// A guest wanted more than its limit. It traps where it asked.
#[derive(Debug, Error)]
#[error("the limit `{0}` is reached")]
pub(crate) struct Reached(pub(crate) Limit);

/// Counts and bounds the linear memory and the tables of one store.
///
/// A heap for exceptions counts as memory, from when it is made, and does not grow: what is in it is what one step of the
/// engine may look at.
#[derive(Debug)]
pub(crate) struct Limiter {
    has_heap: bool,
    memory_limit: usize,
    memory_used: usize,
    meters: Meters,
}

impl Limiter {
    /// With at most `memory` bytes of linear memory, for a program of that kind.
    pub(crate) fn new(memory: u64, kind: Kind, meters: Meters) -> Self {
        let memory_limit = usize::try_from(memory).unwrap_or(usize::MAX);
        Self { has_heap: kind == Kind::Exceptions, memory_limit, memory_used: 0, meters }
    }
}

impl Limiter {
    /// Bytes of linear memory in use.
    pub(crate) fn used(&self) -> usize {
        self.memory_used
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.meters.shrank(self.memory_used as u64);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if self.has_heap && current > 0 && maximum.is_some_and(|maximum| maximum as u64 == HEAP_MAXIMUM) {
            return Ok(false);
        }
        let grown = desired.saturating_sub(current);
        let total = self.memory_used.saturating_add(grown);
        if total > self.memory_limit {
            return Err(Reached(Limit::Memory).into());
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The program's own maximum: for its allocator to handle.
            return Ok(false);
        }
        self.memory_used = total;
        self.meters.grew(grown as u64);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "linear memory could not grow");
        // The program would take it for its own limit.
        if fault::is_shortage(&error) { Err(error) } else { Ok(()) }
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            return Err(Reached(Limit::Resources).into());
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_a_store_share_one_limit() {
        let mut limiter = Limiter::new(100, Kind::Small, Meters::default());
        assert!(limiter.memory_growing(0, 60, None).expect("within the limit"));
        assert!(limiter.memory_growing(0, 40, None).expect("within the limit"));
        let error = limiter.memory_growing(40, 41, None).expect_err("beyond the limit");
        assert_eq!(error.downcast_ref::<Reached>().map(|reached| reached.0), Some(Limit::Memory));
        let meters = limiter.meters.clone();
        assert_eq!(meters.memory(), 100);
        drop(limiter);
        assert_eq!(meters.memory(), 0);
    }

    #[test]
    fn a_heap_counts_once_and_does_not_grow() {
        let heap = Some(1 << 32);
        let mut limiter = Limiter::new(100, Kind::Exceptions, Meters::default());
        assert!(limiter.memory_growing(0, 60, heap).expect("within the limit"));
        assert!(!limiter.memory_growing(60, 70, heap).expect("no trap"));
        assert!(limiter.memory_growing(0, 40, Some(1 << 31)).expect("within the limit"));
        assert_eq!(limiter.used(), 100);
        let mut without = Limiter::new(100, Kind::Standard, Meters::default());
        assert!(without.memory_growing(60, 70, heap).expect("a memory without a maximum"));
    }

    #[test]
    fn the_programs_own_maximum_is_an_ordinary_failure() {
        let mut limiter = Limiter::new(100, Kind::Small, Meters::default());
        assert!(!limiter.memory_growing(0, 60, Some(50)).expect("no trap"));
        assert!(limiter.memory_growing(0, 100, None).expect("the failed growth used nothing"));
    }

    #[test]
    fn memory_that_the_system_refuses_is_no_answer_to_the_program() {
        let mut limiter = Limiter::new(100, Kind::Standard, Meters::default());
        let shortage = wasmtime::Error::from(rustix::io::Errno::NOMEM).context("mprotect");
        assert!(limiter.memory_grow_failed(shortage).is_err(), "the cell ends by a fault of the host");
        limiter.memory_grow_failed(wasmtime::Error::msg("larger than a slot")).expect("for its allocator to handle");
    }
}
