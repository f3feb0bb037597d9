//! How a request and a reply end.

use super::{MAX_TEXT, Malformed, length, put_varint};

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of the body was sent.
    Whole,
    /// The caller could not send all of it: what has come is torn.
    Aborted,
}

/// How a reply ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The reply is whole.
    Ok,
    /// The guest returned an error.
    Guest(String),
    /// The cell ended before it had answered.
    Exit {
        /// The exit code that stands for the reason.
        code: u8,
        /// The reason, for a person.
        reason: String,
    },
    /// The message was not begun, or nobody waits for its end.
    Refused {
        /// Why.
        reason: Reason,
        /// The same for a person.
        text: String,
    },
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Too much waits already: try again later.
    Busy,
    /// This peer is not served, whatever it asks for. Never said of one cell.
    Denied,
    /// The deadline has passed.
    Timeout,
    /// There is no such cell, or the caller may not call it: the caller cannot tell which.
    NoSuchCell,
    /// The cell waits for this very call.
    Deadlock,
    /// The body is larger than the cell takes.
    TooLarge,
    /// The request was none.
    Malformed,
    /// The cell or the node is about to end.
    Shutdown,
    /// A reason that this version does not know.
    Other(u8),
}

/// What ends a body: [`Ending`] or [`Status`].
pub trait Trailer: Clone + Sized {
    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads them from the start of `input`, with their number; `None` where they are not complete.
    ///
    /// # Errors
    ///
    /// Where the bytes are no trailer, whatever follows them.
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, Malformed>;
}

impl Trailer for Ending {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Whole => 0,
            Self::Aborted => 1,
        });
    }

    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        match input.first() {
            None => Ok(None),
            Some(0) => Ok(Some((Self::Whole, 1))),
            Some(1) => Ok(Some((Self::Aborted, 1))),
            Some(found) => Err(Malformed::Unknown { what: "end of a request", found: *found }),
        }
    }
}

impl Trailer for Status {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ok => out.push(0),
            Self::Guest(text) => {
                out.push(1);
                put_text(text, out);
            }
            Self::Exit { code, reason } => {
                out.extend_from_slice(&[2, *code]);
                put_text(reason, out);
            }
            Self::Refused { reason, text } => {
                out.extend_from_slice(&[3, reason.code()]);
                put_text(text, out);
            }
        }
    }

    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((kind, rest)) = input.split_first() else { return Ok(None) };
        match kind {
            0 => Ok(Some((Self::Ok, 1))),
            1 => Ok(text(rest)?.map(|(text, used)| (Self::Guest(text), 1 + used))),
            2 | 3 => {
                let Some((code, rest)) = rest.split_first() else { return Ok(None) };
                Ok(text(rest)?.map(|(text, used)| {
                    let status = if *kind == 2 {
                        Self::Exit { code: *code, reason: text }
                    } else {
                        Self::Refused { reason: Reason::from_code(*code), text }
                    };
                    (status, 2 + used)
                }))
            }
            found => Err(Malformed::Unknown { what: "status", found: *found }),
        }
    }
}

impl Reason {
    /// The byte that stands for the reason.
    pub fn code(self) -> u8 {
        match self {
            Self::Busy => 1,
            Self::Denied => 2,
            Self::Timeout => 3,
            Self::NoSuchCell => 4,
            Self::Deadlock => 5,
            Self::TooLarge => 6,
            Self::Malformed => 7,
            Self::Shutdown => 8,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Busy,
            2 => Self::Denied,
            3 => Self::Timeout,
            4 => Self::NoSuchCell,
            5 => Self::Deadlock,
            6 => Self::TooLarge,
            7 => Self::Malformed,
            8 => Self::Shutdown,
            code => Self::Other(code),
        }
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    put_varint(text.len() as u32, out);
    out.extend_from_slice(text.as_bytes());
}

fn text(input: &[u8]) -> Result<Option<(String, usize)>, Malformed> {
    let Some((len, used)) = length(input, "a text", MAX_TEXT)? else { return Ok(None) };
    let Some(bytes) = input.get(used..used + len) else { return Ok(None) };
    let text = str::from_utf8(bytes).map_err(|_| Malformed::Text { what: "the text of a status" })?;
    Ok(Some((text.to_owned(), used + len)))
}
