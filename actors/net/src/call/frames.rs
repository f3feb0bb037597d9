//! Bodies in frames.
//!
//! The decoder keeps no byte of its input: it says where in it the bytes of the body are.

use std::{marker::PhantomData, ops::Range};

use super::{MAX_FRAME, Malformed, length, put_varint, trailer::Trailer};

/// Appends frames with these bytes: none where there are none.
pub(crate) fn encode(body: &[u8], out: &mut Vec<u8>) {
    for frame in body.chunks(MAX_FRAME) {
        put_varint(frame.len() as u32, out);
        out.extend_from_slice(frame);
    }
}

/// Appends the end of a body.
pub(crate) fn encode_end(trailer: &impl Trailer, out: &mut Vec<u8>) {
    out.push(0);
    trailer.encode(out);
}

/// One step through the bytes of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// Bytes of the body, at this place in the input. All before its end is done with.
    Data(Range<usize>),
    /// The end of the body, and how many bytes of the input are done with.
    End(T, usize),
}

/// Reads a body.
#[derive(Debug)]
pub(crate) struct Decoder<T> {
    state: State,
    trailer: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum State {
    Length,
    Data { left: usize },
    Trailer,
}

impl<T: Trailer> Decoder<T> {
    pub(crate) fn new() -> Self {
        Self { state: State::Length, trailer: PhantomData }
    }

    /// The next step; `None` where the input is too short for it. What is then left of the input, at most the bytes of
    /// a trailer, is to be passed again with more after it.
    pub(crate) fn decode(&mut self, input: &[u8]) -> Result<Option<Step<T>>, Malformed> {
        let mut done = 0;
        loop {
            match self.state {
                State::Length => {
                    let Some((len, used)) = length(&input[done..], "a frame", MAX_FRAME)? else { return Ok(None) };
                    // The length stays in the input until something comes of it.
                    if input.len() == done + used {
                        return Ok(None);
                    }
                    done += used;
                    self.state = if len == 0 { State::Trailer } else { State::Data { left: len } };
                }
                State::Data { left } => {
                    let taken = left.min(input.len() - done);
                    if taken == 0 {
                        return Ok(None);
                    }
                    self.state = if taken == left { State::Length } else { State::Data { left: left - taken } };
                    return Ok(Some(Step::Data(done..done + taken)));
                }
                State::Trailer => {
                    let step = T::decode(&input[done..])?.map(|(trailer, used)| Step::End(trailer, done + used));
                    if step.is_none() && done > 0 {
                        self.state = State::Length;
                    }
                    return Ok(step);
                }
            }
        }
    }
}
