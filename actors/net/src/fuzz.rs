//! The decoders of foreign bytes, for fuzzing. No part of the interface.

use crate::call::{
    Ending, Header, Status,
    frames::{Decoder, Step},
    trailer::Trailer,
};

/// Reads bytes as a header, as a request and as a reply, at once and byte by byte: both come to the same.
pub fn frames(bytes: &[u8]) {
    if let Ok(Some((header, used))) = Header::decode(bytes) {
        assert!(used <= bytes.len(), "no more than there is");
        let mut again = Vec::new();
        header.encode(&mut again);
        assert_eq!(Header::decode(&again), Ok(Some((header, again.len()))), "what was read can be written");
        body::<Ending>(&bytes[used..]);
    }
    body::<Ending>(bytes);
    body::<Status>(bytes);
}

fn body<T: Trailer + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let whole = read::<T>(bytes, bytes.len());
    let pieces = read::<T>(bytes, 1);
    assert_eq!(whole, pieces, "the pieces in which bytes come mean nothing");
    if let (_, Some(Some(trailer))) = whole {
        let mut again = Vec::new();
        trailer.encode(&mut again);
        assert_eq!(T::decode(&again), Ok(Some((trailer, again.len()))), "what was read can be written");
    }
}

/// The body, and how it ended: `None` for malformed, `Some(None)` for torn.
fn read<T: Trailer>(bytes: &[u8], piece: usize) -> (Vec<u8>, Option<Option<T>>) {
    let (mut decoder, mut body) = (Decoder::<T>::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    loop {
        match decoder.decode(&bytes[start..end]) {
            Err(_) => return (body, None),
            Ok(Some(Step::End(trailer, _))) => return (body, Some(Some(trailer))),
            Ok(Some(Step::Data(at))) => {
                body.extend_from_slice(&bytes[start..end][at.clone()]);
                start += at.end;
            }
            Ok(None) if end == bytes.len() => return (body, Some(None)),
            Ok(None) => end = (end + piece).min(bytes.len()),
        }
    }
}
