//! The control socket of a node: where programs of this machine become its clients.
//!
//! Each connection gets a vat of its own, with `Local` as its bootstrap: whoever reaches the socket may do everything
//! that the node can do. So a Unix socket is for its owner alone, and TCP is for loopback, where every user of the
//! machine can reach it.
//!
//! | file | concept |
//! |---|---|
//! | `directory` | where the sockets of a user's nodes are |
//! | `socket` | a socket that is listened on, and the clients that come |

use std::{
    ffi::OsStr,
    fmt,
    net::SocketAddr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;
use thiserror::Error;
use ww_core::text;

pub(crate) mod directory;
mod socket;

pub use socket::OpenError;
pub(crate) use socket::{Listening, Service};

/// Where a node is controlled from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Control {
    /// From nowhere.
    #[default]
    Off,
    /// From a socket of its own in the user's runtime directory.
    User,
    /// From this address.
    At(Address),
}

/// The address of a control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP, on loopback.
    Tcp(SocketAddr),
}

/// A text that is no address of a control socket.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// It has no form that is known.
    #[error("{} is no control socket: expected unix:PATH, tcp:127.0.0.1:PORT or off", text::quoted(.0))]
    Form(String),
    /// It can be reached from other machines.
    #[error("{0} is not on loopback: whoever reaches a control socket may do everything; expected 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
}

/// A path need not be text.
impl TryFrom<&OsStr> for Address {
    type Error = Invalid;

    fn try_from(text: &OsStr) -> Result<Self, Invalid> {
        let form = || Invalid::Form(text.display().to_string());
        match (text.as_bytes().strip_prefix(b"unix:"), text.to_str().and_then(|text| text.strip_prefix("tcp:"))) {
            (Some(path), _) if !path.is_empty() => Ok(Self::Unix(Path::new(OsStr::from_bytes(path)).to_owned())),
            (_, Some(addr)) => {
                let addr: SocketAddr = addr.parse().map_err(|_| form())?;
                if addr.ip().is_loopback() { Ok(Self::Tcp(addr)) } else { Err(Invalid::NotLoopback(addr)) }
            }
            _ => Err(form()),
        }
    }
}

impl TryFrom<&OsStr> for Control {
    type Error = Invalid;

    fn try_from(text: &OsStr) -> Result<Self, Invalid> {
        if text == "off" { Ok(Self::Off) } else { Address::try_from(text).map(Self::At) }
    }
}

impl FromStr for Address {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        OsStr::new(text).try_into()
    }
}

impl FromStr for Control {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        OsStr::new(text).try_into()
    }
}

impl TryFrom<String> for Control {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(addr) => write!(f, "tcp:{addr}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unix_or_loopback() {
        assert_eq!("off".parse(), Ok(Control::Off));
        for text in ["unix:/run/ww.sock", "unix:relative", "tcp:127.0.0.1:0", "tcp:[::1]:7"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(text));
            assert!(matches!(text.parse(), Ok(Control::At(_))), "{text}");
        }
        let bytes = OsStr::from_bytes(b"unix:/run/\xff");
        assert_eq!(bytes.try_into(), Ok(Address::Unix(Path::new(OsStr::from_bytes(b"/run/\xff")).to_owned())));
        assert!(Address::try_from(OsStr::from_bytes(b"tcp:\xff")).is_err());
        for (text, part) in [
            ("", "expected unix:PATH"),
            ("/run/ww.sock", "expected unix:PATH"),
            ("unix:", "expected unix:PATH"),
            ("tcp:7", "expected unix:PATH"),
            ("tcp:localhost:7", "expected unix:PATH"),
            ("tcp:0.0.0.0:7", "not on loopback"),
            ("tcp:192.0.2.1:7", "not on loopback"),
        ] {
            let error = text.parse::<Control>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
