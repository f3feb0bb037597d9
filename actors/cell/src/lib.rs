//! Cells: WebAssembly instances with limits, stdio and typed exit reasons.
//!
//! A [`Runtime`] compiles bytes into a [`Program`] and runs it as an [`Incarnation`]: one instance that
//! lives until its [exit reason](ww_core::exit::Reason) is known. Read the files in this order:
//!
//! | file | concept |
//! |---|---|
//! | `runtime` | what a node needs once: engines, programs, ticker |
//! | `engine` | settings of the sandbox, one engine per size class |
//! | `programs`, `disk` | compile once, keep in memory and on disk |
//! | `program` | what a compiled program can do |
//! | `cell`, `message` | a mailbox and a program that serves it; what is in the mailbox |
//! | `live`, `fresh` | async mode: one live instance; sync mode: a fresh instance per message |
//! | `incarnation` | one instance from start to exit reason |
//! | `core_module` | what a core module needs before its first call |
//! | `guest`, `limiter`, `preemption`, `patience` | what belongs to one instance, what it may use, how it yields |
//! | `stdio`, `pipe`, `tail`, `wakers` | its standard streams |
//! | `streams`, `loader` | the `wetware:*` interfaces it can import |
//! | `fault` | from an error of the engine to an exit reason |

pub mod cell;
mod core_module;
mod disk;
mod engine;
mod fault;
#[cfg(test)]
mod fixture;
mod fresh;
mod guest;
mod incarnation;
mod limiter;
mod live;
mod loader;
pub mod message;
mod patience;
pub mod pipe;
mod preemption;
mod program;
mod programs;
mod runtime;
mod stdio;
mod streams;
pub mod tail;
mod wakers;

pub use cell::{Cell, Mode};
pub use engine::{Class, MAX_CELLS, MAX_MEMORY, SMALL_MEMORY};
pub use incarnation::{Incarnation, Start, Stop};
pub use loader::Files;
pub use message::{Envelope, Failure};
pub use program::{Exports, Hash, Program};
pub use programs::LoadError;
pub use runtime::{Config, Runtime, StartError};
pub use stdio::{Stderr, Stdio};
pub use streams::{Connect, Duplex};
