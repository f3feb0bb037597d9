//! Settings of the sandbox: one engine per size class of linear memory, and one for programs with exceptions.
//!
//! Exceptions are objects in a heap of their own, beside the linear memory of an instance. A pool has to set a second
//! memory aside for each instance that may have one, and its engine holds a garbage collector. Cells without exceptions
//! do not pay for that: programs with them have an engine apart, which is made when the first of them is compiled.
//!
//! The address space of a pool is reserved when its engine is made; how large it is, see `capacity`.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Collector, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};
use ww_core::limits::MIB;

use crate::{
    capacity::{Cells, Places, System},
    preemption::Ticker,
    program::Program,
};

/// Changes the settings of an engine before it is made.
#[derive(Clone)]
pub struct Customise(Arc<dyn Fn(&mut wasmtime::Config) + Send + Sync>);

impl Customise {
    /// By this function, which is called for each engine. What it changes must leave epochs and the pool alone.
    pub fn new(change: impl Fn(&mut wasmtime::Config) + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }
}

impl fmt::Debug for Customise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Customise(..)")
    }
}

/// Most linear memory of a cell in the small class, in bytes.
pub const SMALL_MEMORY: u64 = MIB;

/// Most linear memory of any cell, in bytes: what the pool's slots can hold.
pub const MAX_MEMORY: u64 = 1024 * MIB;

/// Core instances that one component may consist of: a language's standard library brings three or four.
const CORE_INSTANCES_PER_CELL: u32 = 16;

/// Tables that one component may have.
const TABLES_PER_CELL: u32 = 8;

/// Memories that one program may have: more than one only where programs were linked into one. Each takes a
/// [place](Sandbox::place).
pub(crate) const MEMORIES_PER_CELL: u32 = 4;

/// Tables for which there is room beside each memory.
pub(crate) const TABLES_PER_PLACE: u32 = 2;

/// Bytes of the heap of a program with exceptions, which do not change: some thousand exceptions that are still referred
/// to. When it is full, one step of the engine looks at all that is in it, in less than a millisecond.
pub(crate) const HEAP: u64 = 256 << 10;

/// Entries of a table, 8 bytes each: large programs of today need some ten thousand.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;

/// Memory of a finished instance that is zeroed rather than given back to the system, in bytes: page faults and
/// `madvise` are most of what starting an instance costs. The pagemap scan zeroes only the pages that were written.
const STANDARD_KEEP_RESIDENT: usize = 2 << 20;

/// The same for the small class, whose instances touch a few pages only.
const SMALL_KEEP_RESIDENT: usize = 64 << 10;

/// The same for the tables of a finished instance, in bytes: those of a program in Rust fit. Giving them back costs a system
/// call each, and makes the other cores flush their address translations.
const TABLE_KEEP_RESIDENT: usize = 16 << 10;

/// Bytes of initial memory that are laid out as an image however few of them a program gives, which makes starts cheap:
/// its bytes are otherwise copied at each start. A program of 100 bytes can have an image of this size.
const MAX_SPARSE_IMAGE: u64 = 1 << 20;

/// A size class of linear memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Up to [`SMALL_MEMORY`]: dense, with explicit bounds checks and no mapping of its own per cell.
    Small,
    /// Up to [`MAX_MEMORY`]: bounds checks by guard pages.
    Standard,
}

/// An engine of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// For the class of that name.
    Small,
    /// For the class of that name.
    Standard,
    /// For programs with exceptions, of either class: with the memory of the standard one, and a heap besides.
    Exceptions,
}

/// The engines of a node. Each is made when it is first needed.
pub(crate) struct Engines {
    debug: bool,
    customise: Option<Customise>,
    cells: Cells,
    system: System,
    made: [OnceLock<Sandbox>; 3],
    ticker: Ticker,
}

/// An engine and the slots of its pool.
#[derive(Clone)]
pub(crate) struct Sandbox {
    pub(crate) engine: Engine,
    free: Arc<Semaphore>,
    places: Places,
}

impl Class {
    /// The class for a limit of linear memory, in bytes.
    pub fn for_memory(bytes: u64) -> Self {
        if bytes <= SMALL_MEMORY { Self::Small } else { Self::Standard }
    }
}

impl Engines {
    /// With `debug`, backtraces name file and line, for programs that carry debug information.
    pub(crate) fn new(debug: bool, customise: Option<Customise>, cells: Cells, ticker: Ticker) -> Self {
        let system = System::ask();
        Self { debug, customise, cells, system, made: Default::default(), ticker }
    }

    /// Whether code carries where it comes from.
    pub(crate) fn debug(&self) -> bool {
        self.debug
    }

    /// What the node changes of its engines.
    pub(crate) fn customise(&self) -> Option<&Customise> {
        self.customise.as_ref()
    }

    /// The engine of a kind.
    ///
    /// # Errors
    ///
    /// Where the system refuses what the engine needs: address space, as a rule.
    pub(crate) fn sandbox(&self, kind: Kind) -> wasmtime::Result<Sandbox> {
        let cell = &self.made[kind as usize];
        if let Some(sandbox) = cell.get() {
            return Ok(sandbox.clone());
        }
        let places = self.system.places(kind, self.cells);
        let mut config = settings(kind, self.debug);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(kind, places.most)));
        if let Some(customise) = &self.customise {
            customise.0(&mut config);
        }
        let engine = Engine::new(&config)?;
        let made = Sandbox { engine, free: Arc::new(Semaphore::new(places.most)), places };
        let sandbox = cell.get_or_init(|| {
            self.ticker.drive(&made.engine);
            made
        });
        Ok(sandbox.clone())
    }
}

impl Sandbox {
    /// Places in the pool, until they are dropped: one for each memory of the program, and for two of its tables.
    ///
    /// # Errors
    ///
    /// Where all are taken, with their number and what bounds it: the pool itself would fail without a word.
    pub(crate) fn place(&self, program: &Program) -> Result<OwnedSemaphorePermit, Places> {
        Arc::clone(&self.free).try_acquire_many_owned(program.places()).map_err(|_| self.places)
    }
}

impl Kind {
    /// The engine of a class, for programs that need no other.
    pub(crate) fn of(class: Class) -> Self {
        match class {
            Class::Small => Self::Small,
            Class::Standard => Self::Standard,
        }
    }
}

/// An engine that makes the same code as that of a node, and runs none: it has no pool.
///
/// # Errors
///
/// Where the settings contradict one another.
pub(crate) fn for_compiling(kind: Kind, debug: bool, customise: Option<&Customise>) -> wasmtime::Result<Engine> {
    let mut config = settings(kind, debug);
    if let Some(customise) = customise {
        customise.0(&mut config);
    }
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// All that code depends on, and all else that is not the pool.
fn settings(kind: Kind, debug: bool) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        // Plain calls are several times cheaper without the machinery for concurrent ones, which no guest uses yet.
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_backtrace_details(if debug { WasmBacktraceDetails::Enable } else { WasmBacktraceDetails::Disable })
        // Maps code to places in the source: without names of files to find there, each trap would search it for nothing.
        .generate_address_map(debug)
        // Initial memory with gaps is laid out as an image, zeroes and all, up to this size.
        .memory_guaranteed_dense_image_size(MAX_SPARSE_IMAGE);
    let exceptions = kind == Kind::Exceptions;
    config.gc_support(exceptions).wasm_exceptions(exceptions);
    if exceptions {
        config.collector(Collector::DeferredReferenceCounting).gc_heap_initial_size(HEAP);
    }
    if kind == Kind::Small {
        config.memory_reservation(SMALL_MEMORY).memory_guard_size(0).memory_init_cow(false);
    }
    config
}

fn pool(kind: Kind, cells: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let cells = u32::try_from(cells).unwrap_or(u32::MAX);
    let heaps = if kind == Kind::Exceptions { cells } else { 0 };
    pool.total_component_instances(cells)
        .total_core_instances(cells.saturating_mul(4))
        // A heap is a memory of the pool as well.
        .total_memories(cells.saturating_add(heaps))
        .total_gc_heaps(heaps)
        .total_tables(cells.saturating_mul(TABLES_PER_PLACE))
        .total_stacks(cells)
        .max_core_instances_per_component(CORE_INSTANCES_PER_CELL)
        .max_tables_per_component(TABLES_PER_CELL)
        .max_tables_per_module(TABLES_PER_CELL)
        .max_memories_per_component(MEMORIES_PER_CELL)
        .max_memories_per_module(MEMORIES_PER_CELL)
        .table_elements(TABLE_ELEMENTS)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    match kind {
        Kind::Small => pool.max_memory_size(to_usize(SMALL_MEMORY)).linear_memory_keep_resident(SMALL_KEEP_RESIDENT),
        Kind::Standard | Kind::Exceptions => {
            pool.max_memory_size(to_usize(MAX_MEMORY)).linear_memory_keep_resident(STANDARD_KEEP_RESIDENT)
        }
    };
    pool
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedder_can_change_the_settings() {
        let ticker = Ticker::start().expect("a thread starts");
        let customise = Customise::new(|config| {
            config.wasm_simd(false).wasm_relaxed_simd(false);
        });
        let cells = Cells { standard: 1, small: 1 };
        let engines = Engines::new(false, Some(customise), cells, ticker);
        let sandbox = engines.sandbox(Kind::Small).expect("an engine");
        let simd = wat::parse_str("(module (func (result v128) (v128.const i64x2 0 0)))").expect("valid text");
        assert!(wasmtime::Module::validate(&sandbox.engine, &simd).is_err(), "it was switched off");
    }

    #[test]
    fn the_limit_of_memory_chooses_the_class() {
        assert_eq!(Class::for_memory(0), Class::Small);
        assert_eq!(Class::for_memory(SMALL_MEMORY), Class::Small);
        assert_eq!(Class::for_memory(SMALL_MEMORY + 1), Class::Standard);
    }
}
