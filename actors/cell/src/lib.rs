//! Cells: WebAssembly instances with limits, stdio and typed exit reasons.
//!
//! A [`Runtime`] compiles bytes into a [`Program`] and runs it as a [`Cell`], which lives in a [`Slot`] until its
//! [exit reason](ww_core::exit::Reason) is known. Read the files in this order:
//!
//! | file | concept |
//! |---|---|
//! | `runtime` | what a node needs once: engines, programs, ticker |
//! | `engine`, `capacity` | settings of the sandbox, one engine per size class and one for exceptions; how many cells fit |
//! | `programs`, `kept`, `disk` | compile once, keep in memory and on disk |
//! | `turns` | who compiles next |
//! | `structure`, `compiler`, `worker` | what a binary may be built like, and from there to machine code |
//! | `proposals`, `exceptions` | what of the instruction set a program may use, and which engine takes it |
//! | `artifact` | from code to a program: its imports are found among what is offered |
//! | `rewrite` | what a guest could make one long step becomes many short ones, before it is compiled |
//! | `program` | what a compiled program can do |
//! | `slot`, `cell`, `message` | where a cell lives, the cell itself, and what is in its mailbox |
//! | `directory`, `native`, `own`, `reach` | who lives on the node, Rust actors among them; what one instance knows of that, and what it reaches |
//! | `announced` | a cell whose program is not there yet |
//! | `spawn`, `lanes` | from there to a running cell and its end; what it does next |
//! | `live`, `fresh` | async mode: one live instance; sync mode: a fresh instance per message |
//! | `incarnation`, `stop` | one instance from start to exit reason, and the end that is asked for |
//! | `core_module` | what a core module needs before its first call |
//! | `handling` | what an instance handles, for its vat |
//! | `guest`, `limiter`, `preemption`, `patience`, `meters` | what belongs to one instance, what it may use and has used, how it yields |
//! | `stdio`, `pipe`, `tail`, `history`, `wakers` | its standard streams |
//! | `streams`, `loader`, `actor` | the `wetware:*` interfaces it can import |
//! | `random` | WASI's random bytes, in pieces |
//! | `vectors` | functions of WASI that name a list, with short lists |
//! | `fault` | from an error of the engine to an exit reason |

mod actor;
mod announced;
mod artifact;
mod capacity;
pub mod cell;
mod compiler;
mod core_module;
pub mod directory;
mod disk;
mod engine;
mod exceptions;
mod fault;
#[cfg(test)]
mod fixture;
mod fresh;
#[doc(hidden)]
pub mod fuzz;
mod guest;
pub mod handling;
pub mod history;
mod incarnation;
mod kept;
mod lanes;
mod limiter;
mod live;
mod loader;
pub mod message;
mod meters;
pub mod native;
mod own;
mod patience;
pub mod pipe;
mod preemption;
mod program;
mod programs;
mod proposals;
mod random;
mod reach;
mod rewrite;
mod runtime;
mod slot;
mod spawn;
mod stdio;
mod stop;
mod streams;
mod structure;
pub mod tail;
mod turns;
mod vectors;
mod wakers;
pub mod worker;

pub use announced::{Announced, Work};
pub use capacity::{Cells, DEFAULT_SMALL_CELLS, DEFAULT_STANDARD_CELLS};
pub use cell::{Cell, Mode, Phase, Room, Spec};
pub use compiler::Compiler;
pub use directory::Directory;
pub use engine::{Class, Customise, MAX_MEMORY, SMALL_MEMORY};
pub use handling::{Cause, Handling};
pub use loader::Files;
pub use message::{Envelope, Failure};
pub use meters::Meters;
pub use native::{Native, Notices};
pub use program::{Exports, Hash, Program};
pub use programs::LoadError;
pub use reach::{Kinship, MAX_MET};
pub use runtime::{Config, Runtime, StartError};
pub use slot::Slot;
pub use stdio::{Stderr, Stdio};
pub use stop::Stop;
pub use streams::{Connect, Duplex};
pub use turns::Lineage;
pub use worker::Worker;
