//! From bytes to machine code: in a process of its own, or within this one.
//!
//! A compiler's time and memory do not grow with the length of a program alone: 46 KB can be made to take minutes and
//! gigabytes. A process of its own is bounded by the system in both, and is ended as soon as nobody waits for the code.
//! Within this process neither can be done. There what is [known to take long](crate::structure::Functions) is refused
//! before, and what has begun goes on to its end and keeps its place.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use wasmtime::Engine;
use ww_core::Text;

use crate::{
    artifact,
    engine::{Class, Customise, Kind},
    programs::LoadError,
    proposals,
    rewrite::{self, Memories},
    worker::{self, Worker},
};

/// Where programs are compiled.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// On threads of this process for blocking work. What a program may take is bounded by what is seen of it beforehand:
    /// nesting, instances, length and shape of its functions. Others may still take longer than they should.
    #[default]
    Within,
    /// By this program, as a process of its own for each compilation.
    Worker(Worker),
}

/// What the compilation of one program may take. It grows with the length of the program, so that taking more costs the
/// sender more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Seconds of computing, of all threads together.
    pub(crate) cpu: u64,
    /// Bytes of memory of the process that compiles.
    pub(crate) memory: u64,
    /// How long it may last: it has a part of a core only beside cells that compute.
    pub(crate) elapsed: Duration,
    /// Bytes of the code.
    pub(crate) code: u64,
}

impl Bounds {
    /// Seconds of computing for any program, and for each MiB of it. Rust programs of a MiB take 1.2 s where the node is
    /// built without optimisation.
    const CPU: u64 = 10;
    const CPU_PER_MIB: u64 = 10;

    /// Most seconds for any program.
    const MAX_CPU: u64 = 300;

    /// Bytes of memory for any program, and for each byte of it. Rust programs of a MiB take 32 MiB.
    const MEMORY: u64 = 256 << 20;
    const MEMORY_PER_BYTE: u64 = 64;

    /// Most bytes of memory for any program.
    const MAX_MEMORY: u64 = 3 << 30;

    /// How many times as long as it computes it may last.
    const PATIENCE: u32 = 6;

    /// Bytes of code for any program, and for each byte of it. Initial memory without gaps is a part of it.
    const CODE: u64 = 32 << 20;
    const CODE_PER_BYTE: u64 = 32;

    /// For a program of this many bytes.
    pub(crate) fn of(len: usize) -> Self {
        let len = len as u64;
        let cpu = (Self::CPU + Self::CPU_PER_MIB.saturating_mul(len) / (1 << 20)).min(Self::MAX_CPU);
        Self {
            cpu,
            memory: (Self::MEMORY.saturating_add(Self::MEMORY_PER_BYTE.saturating_mul(len))).min(Self::MAX_MEMORY),
            elapsed: Duration::from_secs(cpu) * Self::PATIENCE,
            code: Self::CODE.saturating_add(Self::CODE_PER_BYTE.saturating_mul(len)),
        }
    }
}

/// A program that is to be compiled.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) class: Class,
    pub(crate) component: bool,
    pub(crate) wasm: &'a [u8],
    /// What the node changes of its engines.
    pub(crate) customise: Option<&'a Customise>,
}

/// The code of a program as [`worker::Request`] and disk hold it, and the engine that it is for.
///
/// # Errors
///
/// Where it is not valid, where it uses or imports what is not there, or where there is no such engine.
pub(crate) fn compile(
    Job { class, component, wasm, customise }: Job<'_>,
    engine: impl FnOnce(Kind) -> Result<Engine, LoadError>,
) -> Result<(Kind, Vec<u8>), LoadError> {
    let kind = proposals::engine_for(wasm, class, customise.is_some())?;
    let engine = engine(kind)?;
    artifact::check_imports(&engine, component, wasm)?;
    let wasm = match kind {
        // Its memory bounds each of its steps.
        Kind::Small => Cow::Borrowed(wasm),
        Kind::Standard => bounded(wasm, Memories::AsTheyAre)?,
        Kind::Exceptions => bounded(wasm, Memories::BesideAHeap)?,
    };
    let code = if component { engine.precompile_component(&wasm) } else { engine.precompile_module(&wasm) };
    let code = code.map_err(|error| {
        if error.is::<wasmtime::error::OutOfMemory>() {
            return LoadError::TooExpensive(worker::OUT_OF_MEMORY.to_owned());
        }
        LoadError::Invalid(Text::new(error.root_cause()))
    })?;
    Ok((kind, code))
}

fn bounded(wasm: &[u8], memories: Memories) -> Result<Cow<'_, [u8]>, LoadError> {
    rewrite::bounded(wasm, memories).map_err(|error| LoadError::Invalid(Text::new(error)))
}

/// Everything that code depends on besides the program: this version, and the settings of the engine.
pub(crate) fn identity(engine: &Engine) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut identity = hasher.finish().to_le_bytes().to_vec();
    identity.push(rewrite::VERSION);
    identity.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    identity
}
