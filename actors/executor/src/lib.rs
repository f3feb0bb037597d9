//! The executor: loads programs, starts cells and owns what they start.
//!
//! | file | concept |
//! |---|---|
//! | `executor` | the actor, and the handle through which cells are started |
//! | `executor/session` | a client from outside as an owner |
//! | `tree` | who owns whom, within which limits, and in which order things end: pure, no threads |
//! | `process` | a started cell as its owner sees it |
//! | `vat` | how a guest's connection reaches whoever serves capabilities |

mod executor;
#[cfg(test)]
mod fixture;
mod process;
mod tree;
mod vat;

pub use executor::{Executor, MAX_STARTING, Owned, Serving, Session, SpawnError, Spec};
pub use process::{Process, Streams};
pub use tree::{Full, Owner};
pub use vat::{Guest, GuestVat};
