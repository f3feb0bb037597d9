//! Reading the two tiny protocol buffer messages that dag-pb and UnixFS are made of
//! (Protocol Buffers, "Encoding").

use thiserror::Error;
use unsigned_varint::decode;

/// Bytes that are no protocol buffer message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("it is no protocol buffer message: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number.
    Varint(u64),
    /// Bytes, a text or a message.
    Bytes(&'a [u8]),
    /// A number of fixed size, which neither format uses.
    Fixed,
}

/// The fields of one message, in order: number and value.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = varint(&mut self.0)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed("a field has an unknown wire type")),
        };
        Ok((key >> 3, value))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("a field is longer than the message"))?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes one number off the front.
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let (number, rest) = decode::u64(bytes).map_err(|_| Malformed("a number is cut, too long or padded"))?;
    *bytes = rest;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order() {
        let message = b"\x08\xac\x02\x12\x03abc\x1d\0\0\0\0\x21\0\0\0\0\0\0\0\0";
        let fields: Result<Vec<_>, _> = Fields::new(message).collect();
        let expected = vec![(1, Value::Varint(300)), (2, Value::Bytes(b"abc")), (3, Value::Fixed), (4, Value::Fixed)];
        assert_eq!(fields, Ok(expected));
    }

    #[test]
    fn malformed_messages_end_with_one_error() {
        for message in [
            b"\x08".as_slice(),
            b"\x12\x04abc",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b",
            b"\x1d\0",
            b"\x80\0",
        ] {
            let mut fields = Fields::new(message);
            assert!(matches!(fields.next(), Some(Err(Malformed(_)))), "{message:?}");
            assert!(fields.next().is_none());
        }
    }
}
