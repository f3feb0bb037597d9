//! The executor: loads programs, starts cells and owns what they start.
//!
//! | file | concept |
//! |---|---|
//! | `executor` | the handle through which cells and supervisors are started |
//! | `start` | the start of one cell, and what is done at its end |
//! | `starter` | the actor that loads what has to be compiled first |
//! | `ownership` | all that runs, how it is ended, and who is told of an end: the tree, behind a lock |
//! | `tree` | the owner of everything, within which limits, and what is asked to end: pure, no threads |
//! | `session` | a client from outside as an owner |
//! | `process` | a started cell as its owner sees it |
//! | `blueprint` | what a tree of supervisors and cells is built from |
//! | `supervisor` | the actor that drives a supervisor, and its handle |
//! | `clock` | the clock of supervisors |
//! | `vat` | how a guest's connection reaches whoever serves capabilities |

mod blueprint;
mod clock;
mod executor;
#[cfg(test)]
mod fixture;
mod ownership;
mod process;
mod session;
mod start;
mod starter;
mod supervisor;
mod tree;
mod vat;

pub use blueprint::{Blueprint, CellBlueprint, ChildSpec, Supervision, Work, cell, supervisor};
pub use clock::{Clock, SystemClock};
pub use executor::{Executor, MAX_STARTING, Serving, SpawnError, Spec};
pub use ownership::{Kind, Owned};
pub use process::{Attachment, Errors, Process, Streams};
pub use session::Session;
pub use supervisor::{CallError, Child, ChildInfo, ChildStatus, SupervisorHandle, Which};
pub use tree::{Full, MAX_DEPTH, Owner};
pub use vat::{Guest, GuestVat, Handed, Publish};
