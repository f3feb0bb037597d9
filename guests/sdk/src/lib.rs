//! Write cells in Rust.
//!
//! A cell is a WebAssembly component that its node starts, feeds with messages and ends. This crate
//! turns plain functions into one:
//!
//! ```no_run
//! use std::io::{copy, stdin, stdout};
//!
//! ww_guest::cell! { main: echo, poll: echo }
//!
//! fn echo() -> std::io::Result<()> {
//!     copy(&mut stdin(), &mut stdout()).map(|_| ())
//! }
//! ```
//!
//! | module | what for |
//! |---|---|
//! | [`cell!`] | entry points: `main` for a run, `poll` and `handle` for messages |
//! | [`exit`](mod@exit) | ending with a code |
//! | [`log`] | lines on standard error, filtered by `WW_LOG` |
//! | [`actor`] | messages to other cells, names, links and monitors, the node's log |
//! | [`loader`] | files of the cell's own image |
//! | [`executor`] | running one future to its end |
//! | [`stream`] | asynchronous standard input, and any other `wasi:io` stream |
//! | [`time`] | sleeping without blocking |
//! | [`rpc`] | the node's capabilities: `Host`, `Executor`, `Process`, `Supervisor`, `Exchange` and others (feature `rpc`) |
//!
//! A component imports only what its code reaches: a cell that touches nothing but its standard streams
//! imports nothing but WASI, and runs wherever WASI 0.2 does.

pub mod actor;
#[doc(hidden)]
pub mod bindings;
pub mod entry;
pub mod executor;
pub mod exit;
pub mod loader;
pub mod log;
#[cfg(feature = "rpc")]
pub mod rpc;
pub mod stream;
pub mod time;

pub use exit::exit;
pub use futures;

/// Compiles the examples of the guide.
#[cfg(all(doctest, feature = "rpc"))]
#[doc = include_str!("../../README.md")]
struct Guide;

/// Compiles the examples about capabilities.
#[cfg(all(doctest, feature = "rpc"))]
#[doc = include_str!("../../../docs/capabilities.md")]
struct Capabilities;

#[cfg(feature = "rpc")]
pub use {
    capnp, capnp_rpc,
    ww_schema::{admin_capnp, cell_capnp, grant_capnp, peer_capnp, supervision_capnp},
};
