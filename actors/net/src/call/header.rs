//! The header of a request: to whom, until when, and on whose behalf.

use std::time::Duration;

use ww_core::{CellId, Name};

use super::{MAX_HEADER, Malformed, length, put_varint, varint};

/// The first byte of every request.
pub(super) const VERSION: u8 = 1;

/// The kind of a target that is a name.
const BY_NAME: u8 = 0;
/// The kind of a target that is an id.
const BY_ID: u8 = 1;

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The cell that has the name.
    Name(Name),
    /// The cell with the id.
    Cell(CellId),
}

/// What is known of a message besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whom it is for.
    pub target: Target,
    /// How long the caller waits for the whole reply, from now on, in whole milliseconds from 1 to 2^32 - 1; `None` for
    /// as long as it takes. Clocks need not agree.
    pub remaining: Option<Duration>,
    /// The same for every message that one request caused, on every node.
    pub trace: u128,
    /// Identifies the message at the caller.
    pub message: u64,
}

impl Header {
    /// Appends the bytes of the header. A time that has passed counts as one millisecond.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut fields = Vec::with_capacity(MAX_HEADER / 4);
        match &self.target {
            Target::Name(name) => {
                // A name has at most 63 bytes.
                fields.extend_from_slice(&[BY_NAME, name.as_str().len() as u8]);
                fields.extend_from_slice(name.as_str().as_bytes());
            }
            Target::Cell(id) => {
                fields.push(BY_ID);
                fields.extend_from_slice(&id.get().to_be_bytes());
            }
        }
        let remaining = self.remaining.map_or(0, |left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1));
        put_varint(remaining, &mut fields);
        fields.extend_from_slice(&self.trace.to_be_bytes());
        fields.extend_from_slice(&self.message.to_be_bytes());
        out.push(VERSION);
        put_varint(fields.len() as u32, out);
        out.extend_from_slice(&fields);
    }

    /// Reads a header from the start of `input`, and how many bytes it has; `None` where it is not complete.
    ///
    /// # Errors
    ///
    /// Where the bytes are no header, whatever follows them.
    pub fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((version, rest)) = input.split_first() else { return Ok(None) };
        if *version != VERSION {
            return Err(Malformed::Version { found: *version });
        }
        let Some((len, used)) = length(rest, "a header", MAX_HEADER)? else { return Ok(None) };
        let Some(fields) = rest.get(used..used + len) else { return Ok(None) };
        Ok(Some((Self::fields(fields)?, 1 + used + len)))
    }

    /// What comes after the last field is for versions to come.
    fn fields(mut input: &[u8]) -> Result<Self, Malformed> {
        let [kind] = take(&mut input)?;
        let target = match kind {
            BY_NAME => {
                let [len] = take(&mut input)?;
                let (name, rest) = input.split_at_checked(len.into()).ok_or(Malformed::ShortHeader)?;
                input = rest;
                let name = str::from_utf8(name).ok().and_then(|name| Name::new(name).ok());
                Target::Name(name.ok_or(Malformed::Text { what: "the name of a cell" })?)
            }
            BY_ID => Target::Cell(CellId::new(u64::from_be_bytes(take(&mut input)?))),
            found => return Err(Malformed::Unknown { what: "kind of target", found }),
        };
        let (remaining, used) = varint(input)?.ok_or(Malformed::ShortHeader)?;
        input = &input[used..];
        let remaining = (remaining > 0).then(|| Duration::from_millis(remaining.into()));
        let trace = u128::from_be_bytes(take(&mut input)?);
        let message = u64::from_be_bytes(take(&mut input)?);
        Ok(Self { target, remaining, trace, message })
    }
}

fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, rest) = input.split_first_chunk().ok_or(Malformed::ShortHeader)?;
    *input = rest;
    Ok(*taken)
}
