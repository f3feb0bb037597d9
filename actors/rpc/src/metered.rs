//! What is read of a connection: a message is charged when its length is known, before there is room made for it.
//!
//! The library reads the table of segments, makes room for all of them at once, and waits for them as long as it takes. So
//! the table is read here as well: once it is whole, the message is charged, and a message for which there is no room
//! is never asked for.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::AsyncRead;

use crate::load::{Load, WORD};

/// Segments that the library takes at most in one message.
const MAX_SEGMENTS: usize = 512;

/// Tells a [`Load`] which bytes of a stream are read, and what they announce.
pub(crate) struct Metered<S> {
    stream: S,
    load: Rc<Load>,
    at: At,
}

/// Where in a message the next byte is.
enum At {
    /// In the table of segments, of which this is there.
    Table(Vec<u8>),
    /// In the segments, of which so many bytes are missing.
    Segments(u64),
    /// In what is no message: the library says so.
    Nowhere,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, load: Rc<Load>) -> Self {
        Self { stream, load, at: At::Table(Vec::new()) }
    }
}

impl At {
    /// Goes on over these bytes. Returns the length of a message whose table is whole now, with its table.
    fn advance(&mut self, mut bytes: &[u8]) -> Option<u64> {
        let mut announced = None;
        while !bytes.is_empty() {
            match self {
                Self::Nowhere => return announced,
                Self::Segments(left) => {
                    let step = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= step as u64;
                    bytes = &bytes[step..];
                    if *left == 0 {
                        *self = Self::Table(Vec::new());
                    }
                }
                Self::Table(table) => {
                    let step = bytes.len().min(missing(table));
                    table.extend_from_slice(&bytes[..step]);
                    bytes = &bytes[step..];
                    if segments(table).is_some_and(|count| !(1..MAX_SEGMENTS).contains(&count)) {
                        *self = Self::Nowhere;
                    } else if missing(table) == 0 {
                        let length = length(table);
                        announced = Some(length + table.len() as u64);
                        *self = if length == 0 { Self::Table(Vec::new()) } else { Self::Segments(length) };
                    }
                }
            }
        }
        announced
    }
}

/// How many segments a table speaks of, as soon as it says so.
fn segments(table: &[u8]) -> Option<usize> {
    let first = u32::from_le_bytes(table.first_chunk().copied()?);
    Some(usize::try_from(first.wrapping_add(1)).unwrap_or(usize::MAX))
}

/// Bytes that are missing of a table: all of its first word, or what that says of the rest.
fn missing(table: &[u8]) -> usize {
    let whole = match segments(table) {
        Some(count) if table.len() >= WORD && count < MAX_SEGMENTS => (count / 2 + 1) * WORD,
        _ => WORD,
    };
    whole.saturating_sub(table.len())
}

/// Bytes of all segments of a whole table.
fn length(table: &[u8]) -> u64 {
    let count = segments(table).unwrap_or(0);
    let words = table.chunks_exact(4).skip(1).take(count).filter_map(|length| length.first_chunk().copied());
    words.map(|length| u64::from(u32::from_le_bytes(length)) * WORD as u64).sum()
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(0) | Err(_)) => this.load.over(),
            Poll::Ready(Ok(read)) => {
                this.load.read(read);
                let most = this.load.bounds.message_words as u64 * WORD as u64;
                // One that is longer than a message may be, the library refuses before it makes room.
                let announced =
                    this.at.advance(&buffer[..read]).filter(|bytes| *bytes <= most + MAX_SEGMENTS as u64 * 4);
                if let Some(Err(why)) = announced.map(|bytes| this.load.announced(bytes)) {
                    // Nothing is read any more: the connection ends.
                    this.load.fail(why);
                    return Poll::Pending;
                }
            }
            Poll::Pending => {}
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lengths: &[u32]) -> Vec<u8> {
        let count = u32::try_from(lengths.len()).expect("few") - 1;
        let mut table = count.to_le_bytes().to_vec();
        lengths.iter().for_each(|length| table.extend_from_slice(&length.to_le_bytes()));
        table.resize(table.len().next_multiple_of(8), 0);
        table
    }

    #[test]
    fn a_message_is_announced_when_its_table_is_whole() {
        for lengths in [&[0][..], &[3], &[1, 2], &[1, 0, 2], &[1; 4], &[2; 5], &[1; 511]] {
            let table = table(lengths);
            let body = lengths.iter().sum::<u32>() as usize * WORD;
            let mut at = At::Table(Vec::new());
            for _ in 0..2 {
                for byte in &table[..table.len() - 1] {
                    assert_eq!(at.advance(&[*byte]), None, "{lengths:?}");
                }
                assert_eq!(at.advance(&table[table.len() - 1..]), Some((table.len() + body) as u64), "{lengths:?}");
                assert_eq!(at.advance(&vec![0; body]), None);
            }
        }
    }

    #[test]
    fn what_is_no_message_announces_nothing() {
        for start in [[0xff; 8], [0, 2, 0, 0, 1, 0, 0, 0]] {
            let mut at = At::Table(Vec::new());
            assert_eq!(at.advance(&start), None);
            assert_eq!(at.advance(&[0; 4096]), None);
            assert!(matches!(at, At::Nowhere));
        }
    }
}
