//! The names of protocols.

use std::fmt;

use libp2p::StreamProtocol;
use ww_core::Name;

/// What the names of all protocols of our nodes begin with.
const PREFIX: &str = "/ww/0.1.0/";

/// The last part of the name of the framed protocol: a name that no cell can have.
const CALL: &str = "call";

/// The last part of the name of the protocol of capabilities: likewise.
const RPC: &str = "rpc";

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `/ww/0.1.0/call`: a framed message with a status, for any cell.
    Call,
    /// `/ww/0.1.0/rpc`: a connection of Cap'n Proto, for as long as both ends like.
    Rpc,
    /// `/ww/0.1.0/<name>`: one raw message, from start to EOF, for the cell that is published under the name.
    Named(Name),
}

impl Protocol {
    /// The name on the wire.
    pub(crate) fn wire(&self) -> StreamProtocol {
        match self {
            Self::Call => StreamProtocol::new("/ww/0.1.0/call"),
            Self::Rpc => StreamProtocol::new("/ww/0.1.0/rpc"),
            Self::Named(name) => {
                let text = format!("{PREFIX}{name}");
                StreamProtocol::try_from_owned(text).expect("the prefix begins with a slash")
            }
        }
    }
}

impl From<Name> for Protocol {
    fn from(name: Name) -> Self {
        Self::Named(name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call => write!(f, "{PREFIX}{CALL}"),
            Self::Rpc => write!(f, "{PREFIX}{RPC}"),
            Self::Named(name) => write!(f, "{PREFIX}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_and_people_see_the_same_name() {
        for (protocol, text) in [
            (Protocol::Call, "/ww/0.1.0/call"),
            (Protocol::Rpc, "/ww/0.1.0/rpc"),
            (Name::new("echo").unwrap().into(), "/ww/0.1.0/echo"),
        ] {
            assert_eq!((protocol.to_string().as_str(), protocol.wire().as_ref()), (text, text));
        }
    }
}
