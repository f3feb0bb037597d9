//! The framed protocol `/ww/0.1.0/call`: one message and its reply on a stream, each seen to be whole or torn.
//!
//! `docs/protocol.md` says what every byte means. The decoders and encoders know no stream, and [`Reader`] and
//! [`Writer`] put them on any: a request is a [`Header`] and a body that an [`Ending`] ends; a reply is a body that a
//! [`Status`] ends. Bodies travel in frames of at most [`MAX_FRAME`] bytes.
//!
//! | file | what |
//! |---|---|
//! | `header` | to whom, until when, and on whose behalf |
//! | `trailer` | how a request and a reply end |
//! | `frames` | bodies |
//! | `io` | all of it on streams, with timeouts |

pub(crate) mod frames;
pub(crate) mod header;
mod io;
pub(crate) mod trailer;

use std::time::Duration;

use thiserror::Error;

pub use header::{Header, Target};
pub use io::{Accepted, Asked, Part, ReadError, Reader, WriteError, Writer, accept, ask};
pub use trailer::{Ending, Reason, Status};

/// Most bytes of a body in one frame: what one write of a guest may be.
pub const MAX_FRAME: usize = 64 * 1024;

/// Most bytes of a header after its length: four times what the longest name needs, for fields to come.
pub const MAX_HEADER: usize = 512;

/// Most bytes of a text in a status: some lines for a person. Longer ones are cut.
pub const MAX_TEXT: usize = 4 * 1024;

/// How long a caller may take to send its header: it knows all of it when it opens the stream.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a whole call may take, where its deadline does not say less: nobody holds a stream for ever.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// How long the other side may take no byte of what is written.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that are no call.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// Another version.
    #[error("version {found} of the call protocol: expected {}", header::VERSION)]
    Version {
        /// What was found.
        found: u8,
    },
    /// A length that is no unsigned varint in its shortest form, of at most 32 bits.
    #[error("a length is no unsigned varint in its shortest form")]
    Varint,
    /// Something is longer than it may be.
    #[error("{what} of {found} bytes: expected at most {most}")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// How many bytes it has.
        found: usize,
        /// How many it may have.
        most: usize,
    },
    /// The header ends inside of a field.
    #[error("the header ends inside of a field")]
    ShortHeader,
    /// A byte that says what follows has an unknown value.
    #[error("unknown {what} {found}")]
    Unknown {
        /// What it stands for.
        what: &'static str,
        /// What was found.
        found: u8,
    },
    /// A name that no cell can have, or a text that is not UTF-8.
    #[error("{what} is not valid")]
    Text {
        /// What it is.
        what: &'static str,
    },
}

/// Reads an unsigned varint. `None` says that it is not complete.
fn varint(input: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    match unsigned_varint::decode::u32(input) {
        Ok((value, rest)) => Ok(Some((value, input.len() - rest.len()))),
        Err(unsigned_varint::decode::Error::Insufficient) => Ok(None),
        Err(_) => Err(Malformed::Varint),
    }
}

/// Reads a length, and checks it before anything of that length exists.
fn length(input: &[u8], what: &'static str, most: usize) -> Result<Option<(usize, usize)>, Malformed> {
    match varint(input)? {
        None => Ok(None),
        Some((found, used)) => {
            let found = found as usize;
            if found > most { Err(Malformed::TooLong { what, found, most }) } else { Ok(Some((found, used))) }
        }
    }
}

fn put_varint(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(unsigned_varint::encode::u32(value, &mut unsigned_varint::encode::u32_buffer()));
}

#[cfg(test)]
mod tests;
