//! Actor semantics on actix: accounts, identities, names, exit reasons, links, supervisors, limits, grants, tasks and arbiters.
//!
//! This crate knows no WebAssembly, no network and no schema: it holds what every room of the runtime
//! agrees on.

pub mod account;
pub mod events;
pub mod exit;
pub mod file;
#[doc(hidden)]
pub mod fuzz;
pub mod grants;
pub mod id;
pub mod lend;
pub mod limits;
pub mod links;
pub mod mailbox;
pub mod name;
pub mod platform;
pub mod registry;
pub mod supervisor;
pub mod task;
pub mod text;
pub mod turn;

pub use account::{Account, Charge};
pub use grants::Grants;
pub use id::{CellId, SlotId};
pub use limits::Limits;
pub use name::Name;
pub use platform::Platform;
pub use text::Text;
