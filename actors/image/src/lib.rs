//! Images: where the program of a node comes from.
//!
//! An image is a directory with a program and its description:
//!
//! ```text
//! <image>/bin/main.wasm     required: a WebAssembly component, or a core WASI preview 1 module
//! <image>/etc/ww.toml       optional: see [`Manifest`]
//! ```
//!
//! [`Loader::load`] finds it: a path that starts with `/ipfs/`, `/ipns/` or `/ipld/` through the RPC API of a Kubo
//! daemon, with every block verified against the CID that named it; anything else on disk, without touching the
//! network. [`Files`] reads the other files of the image later, by the same way.

#[cfg(test)]
mod fake;
pub mod files;
#[doc(hidden)]
pub mod fuzz;
pub mod ipfs;
pub mod loader;
mod local;
pub mod manifest;
pub mod path;
pub mod program;
pub mod units;

pub use files::{FileError, Files};
pub use loader::{Attempt, ConfigError, Failure, Image, Limits, LoadError, Loader, LoaderConfig};
pub use manifest::Manifest;
