//! What the capability servers of one cell share.

use std::{rc::Rc, sync::Arc};

use capnp::Error;
use ww_executor::{Executor, Guest};

use crate::network::Network;

/// What the capabilities of one cell share.
#[derive(Clone)]
pub(crate) struct Context {
    /// The cell that holds them.
    pub(crate) guest: Rc<Guest>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) executor: Executor,
}

/// The error of a call that was not granted.
pub(crate) fn denied(what: impl std::fmt::Display) -> Error {
    Error::failed(format!("denied: {what} is not granted to this cell"))
}
