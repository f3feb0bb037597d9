//! Wetware: an actor runtime for code that you did not write.
//!
//! Every actor is a **cell**: a WebAssembly program in a sandbox, with an owner above it and an exit reason at
//! its end, that touches the world only through capabilities that were handed to it. This crate composes the
//! rooms of the runtime into a [`Node`], and the command `ww` is a thin layer over it.
//!
//! | room | what it holds |
//! |---|---|
//! | [`ww_core`] | what all agree on: names, limits, grants, exit reasons, tasks |
//! | [`ww_image`] | images, from disk and from IPFS |
//! | [`ww_cell`] | the sandbox |
//! | [`ww_executor`] | who owns whom, and how cells start and end |
//! | [`ww_net`] | the network |
//! | [`ww_rpc`] | capabilities |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ww::{Boot, Config, Node};
//!
//! let node = Node::start(Config::default(), tokio::runtime::Handle::current()).await?;
//! let image = node.load("examples/images/pid0").await?;
//! let (stdio, mut terminal) = ww::terminal::pipes();
//! let pid0 = node.boot(image, Boot::default(), stdio).await?;
//! let code = pid0.exit().wait().await.code();
//! node.stop().await;
//! # Ok(()) }
//! ```

// What goes to the terminal goes through `cli::say` and `cli::print`, which escape text of others.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod calls;
pub mod cli;
pub mod config;
pub mod control;
mod dial;
mod doors;
pub mod gate;
mod gates;
mod laggards;
pub mod log;
mod network;
mod node;
mod payers;
mod peers;
mod poison;
mod publish;
pub mod serve;
pub mod serving;
mod supervised;
pub mod terminal;

pub use config::Config;
pub use node::{Boot, BootError, Node, StartError, StopRequests};
pub use publish::Published;
pub use supervised::{BACKOFF, Supervised};
pub use ww_cell as cell;
pub use ww_core::{CellId, Grants, Limits, Name, Text, exit};
pub use ww_core::{grants, links, mailbox};
pub use ww_executor as executor;
pub use ww_executor::{Executor, Owner, Process, Serving, SpawnError, Spec, Work};
pub use ww_image::{Image, LoadError};
pub use ww_net as net;
pub use ww_net::{Audience, PeerId};
