//! What a cell can ask of the node as an actor: messages to other cells, names, links and monitors, the log.
//!
//! ```no_run
//! use ww_guest::actor::{mail, me};
//!
//! ww_guest::cell! { handle: shout }
//!
//! fn shout(body: Vec<u8>) -> Result<Vec<u8>, mail::Error> {
//!     if me::signal().is_some() {
//!         return Ok(Vec::new());
//!     }
//!     mail::request("printer", body.to_ascii_uppercase(), None)
//! }
//! ```
//!
//! Each module is an interface of `wetware:cell`, and subject to its grant: `self` (here [`me`]), `mail`, `registry`,
//! `process` and `log`. A component that calls a function of one imports it.

/// The cell itself and the message that it is handling. By the grant `wetware:cell/self`.
pub mod me {
    pub use crate::bindings::imports::wetware::cell::self_::{
        Down, End, Envelope, Error, ExitReason, Exited, Kind, Sender, current as envelope, id, name,
    };

    /// The exit signal or the end of a monitored cell that is being handled, if it is no message.
    pub fn signal() -> Option<Kind> {
        match envelope().ok()??.kind {
            Kind::Message => None,
            kind => Some(kind),
        }
    }
}

/// Messages to other cells of the node. By the grants `wetware:cell/mail` and `wetware:cell/mail/<name>`.
pub mod mail {
    use std::time::Duration;

    use crate::bindings::imports::wetware::cell::mail;
    pub use crate::bindings::imports::wetware::cell::mail::{Address, Error};

    impl From<&str> for Address {
        fn from(name: &str) -> Self {
            Self::Name(name.to_owned())
        }
    }

    impl From<String> for Address {
        fn from(name: String) -> Self {
            Self::Name(name)
        }
    }

    impl From<u64> for Address {
        fn from(id: u64) -> Self {
            Self::Id(id)
        }
    }

    /// Sends a message and does not wait for the reply.
    ///
    /// # Errors
    ///
    /// Where it may not be sent, or the mailbox does not take it.
    pub fn send(to: impl Into<Address>, body: impl AsRef<[u8]>) -> Result<(), Error> {
        mail::send(&to.into(), body.as_ref())
    }

    /// Sends a message and waits for the reply, never beyond the deadline of the message that the cell is handling.
    ///
    /// # Errors
    ///
    /// Where it may not be sent, or is not answered.
    pub fn request(to: impl Into<Address>, body: impl AsRef<[u8]>, within: Option<Duration>) -> Result<Vec<u8>, Error> {
        let within = within.map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        mail::request(&to.into(), body.as_ref(), within)
    }
}

/// Names of cells, as far as the cell reaches those or may send to them. By the grant `wetware:cell/registry`.
pub mod registry {
    pub use crate::bindings::imports::wetware::cell::registry::{Error, register, unregister, whereis};
}

/// Links, monitors and exit signals, for the cell itself, what is below it, the sender of the message in progress, and by the
/// grants `wetware:cell/process/<name>` for cells with a name. Everything else is `denied`. By the grant `wetware:cell/process`.
pub mod process {
    pub use crate::bindings::imports::wetware::cell::process::{
        Error, ExitSignal, demonitor, exit, link, monitor, signal, trap_exits, unlink,
    };
}

/// Lines in the log of the node. By the grant `wetware:cell/log`.
pub mod log {
    pub use crate::bindings::imports::wetware::cell::log::{Error, Level, log};
}
