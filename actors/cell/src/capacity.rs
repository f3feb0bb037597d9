//! How many cells fit into this process, and what bounds them.
//!
//! Three things run out: the slots of the pools, the memory mappings that the operating system allows a process, and
//! memory. Whichever allows the least is the bound, known before a cell needs it: a pool that is full fails a start, and
//! a process at its mapping limit may abort. The engines share the mappings: what the standard class may need at most
//! is set aside, the small class gets what is left, and programs with exceptions what that one leaves.

use std::{fmt, fs};

use crate::engine::Kind;

/// Cells that live at once in the standard class, unless the node is set up otherwise: each slot costs two mappings
/// when the engine is made, and up to four more while it is used.
pub const DEFAULT_STANDARD_CELLS: usize = 2_048;

/// Cells that live at once in the small class, unless the node is set up otherwise: each slot costs two mappings when the
/// engine is made, and none after.
pub const DEFAULT_SMALL_CELLS: usize = 4_096;

/// Mappings of one slot of the standard class: two of its stack, and four of its memory in use (measured).
const STANDARD_MAPPINGS: usize = 6;

/// Mappings of one slot of the small class: its stack and the guard below it.
const SMALL_MAPPINGS: usize = 2;

/// Mappings of one slot for a program with exceptions: one of the standard class, and a second memory.
const EXCEPTIONS_MAPPINGS: usize = 10;

/// Of so many cells of the standard class, one may have exceptions.
const STANDARD_CELLS_PER_EXCEPTIONS: usize = 4;

/// Mappings that are left for everything else in the process: libraries, threads, allocators, compiled programs.
const SPARE_MAPPINGS: usize = 4_096;

/// Bytes that an idle cell needs at the least, wherever it keeps them: what a guest with a language's standard library
/// has touched when it has started.
const LEAST_MEMORY: u64 = 64 << 10;

/// How many cells may live at once in each class, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// Of more than [`SMALL_MEMORY`](crate::SMALL_MEMORY).
    pub standard: usize,
    /// Of at most [`SMALL_MEMORY`](crate::SMALL_MEMORY).
    pub small: usize,
}

/// What the operating system gives this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    /// Mappings that a process may have; `None` where there is no such limit.
    mappings: Option<usize>,
    /// Mappings that it has.
    mapped: usize,
    /// Bytes of memory that can be had.
    memory: Option<u64>,
}

/// Places for the cells of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// How many.
    pub(crate) most: usize,
    bound: Bound,
}

/// What bounds the places of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Slots,
    Mappings(usize),
    Memory(u64),
}

impl Default for Cells {
    fn default() -> Self {
        Self { standard: DEFAULT_STANDARD_CELLS, small: DEFAULT_SMALL_CELLS }
    }
}

impl System {
    /// Asks the operating system; where it does not say, there is no limit.
    pub(crate) fn ask() -> Self {
        let number = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
        let mapped = fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
        let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
        });
        Self { mappings: number("/proc/sys/vm/max_map_count"), mapped, memory }
    }

    /// The places of an engine. At least one: what cannot be is found out at the first start.
    pub(crate) fn places(&self, kind: Kind, cells: Cells) -> Places {
        let (slots, taken, each) = match kind {
            Kind::Standard => (cells.standard, 0, STANDARD_MAPPINGS),
            Kind::Small => (cells.small, self.places(Kind::Standard, cells).most * STANDARD_MAPPINGS, SMALL_MAPPINGS),
            Kind::Exceptions => {
                let standard = self.places(Kind::Standard, cells).most * STANDARD_MAPPINGS;
                let small = self.places(Kind::Small, cells).most * SMALL_MAPPINGS;
                (cells.standard / STANDARD_CELLS_PER_EXCEPTIONS, standard + small, EXCEPTIONS_MAPPINGS)
            }
        };
        let mappings = self.free_mappings().map(|free| free.saturating_sub(taken) / each);
        let mut places = Places { most: slots, bound: Bound::Slots };
        if let (Some(most), Some(limit)) = (mappings, self.mappings)
            && most < places.most
        {
            places = Places { most, bound: Bound::Mappings(limit) };
        }
        if let Some(memory) = self.memory {
            let most = usize::try_from(memory / LEAST_MEMORY).unwrap_or(usize::MAX);
            if most < places.most {
                places = Places { most, bound: Bound::Memory(memory) };
            }
        }
        Places { most: places.most.max(1), ..places }
    }

    fn free_mappings(&self) -> Option<usize> {
        Some(self.mappings?.saturating_sub(self.mapped).saturating_sub(SPARE_MAPPINGS))
    }
}

impl fmt::Display for Places {
    /// Why there is no place for another cell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} places for cells of its kind are taken: ", self.most)?;
        match self.bound {
            Bound::Slots => f.write_str("the node is set up for no more"),
            Bound::Mappings(limit) => {
                write!(f, "a process has {limit} memory mappings on this system at most (vm.max_map_count)")
            }
            Bound::Memory(bytes) => write!(f, "there were {} MiB of memory when the node started", bytes >> 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_allows_the_least_is_the_bound() {
        let cells = Cells { standard: 2_048, small: 30_000 };
        let linux = System { mappings: Some(65_530), mapped: 434, memory: Some(8 << 30) };
        let table = [
            (System { mappings: None, memory: None, ..linux }, 2_048, 30_000, "set up for no more"),
            (linux, 2_048, 24_356, "65530 memory mappings"),
            (System { mappings: Some(10_000), ..linux }, 911, 2, "10000 memory mappings"),
            (System { mappings: None, memory: Some(64 << 20), ..linux }, 1_024, 1_024, "64 MiB of memory"),
            (System { mappings: Some(10), ..linux }, 1, 1, "10 memory mappings"),
        ];
        for (system, standard, small, why) in table {
            assert_eq!(system.places(Kind::Standard, cells).most, standard, "{system:?}");
            let places = system.places(Kind::Small, cells);
            assert_eq!(places.most, small, "{system:?}");
            let text = places.to_string();
            assert!(text.contains(why) && text.starts_with(&format!("the {small} places")), "{text}");
            let exceptions = system.places(Kind::Exceptions, cells).most;
            assert!(
                (1..=cells.standard / STANDARD_CELLS_PER_EXCEPTIONS).contains(&exceptions),
                "{exceptions} with {system:?}"
            );
        }
        assert_eq!(linux.places(Kind::Exceptions, Cells::default()).most, 512);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_says_what_it_gives() {
        let system = System::ask();
        assert!(system.mappings.is_some() && system.mapped > 0 && system.memory.is_some(), "{system:?}");
        let cells = Cells::default();
        assert!(system.places(Kind::Small, cells).most <= cells.small);
    }
}
