//! From instructions that take as long as the guest says to loops that the node can interrupt.
//!
//! `memory.fill`, `memory.copy` and `memory.init` are one step of the engine, whatever their length: nothing
//! interrupts them, and a GiB takes hundreds of milliseconds of a thread that all cells share. Before a program is
//! compiled, each of them becomes a call of a function that is appended to its module: up to [`PIECE`] bytes it
//! executes the instruction, beyond that a loop over pieces, between which the engine looks at the clock. Whatever
//! is out of bounds traps before anything is written, as the specification says.
//!
//! Nothing else of a program changes: functions and types are appended, so that no index shifts, and a call takes
//! the bytes of the instruction where they suffice, so that debug information stays right. In a program with exceptions,
//! memories without a maximum get one that they cannot reach anyway: see [`Memories`].
//!
//! | file | concept |
//! |---|---|
//! | `rewrite` | which modules there are, in components in components |
//! | `module` | what changes in one module |
//! | `loops` | the functions that are appended |

use std::borrow::Cow;

use thiserror::Error;
use wasmparser::{BinaryReader, BinaryReaderError, Parser};

mod loops;
mod module;

/// Bytes that one instruction touches at the most: 64 pages of the system, well below a millisecond even where
/// each has yet to be mapped.
pub(crate) const PIECE: u64 = 256 << 10;

/// Changes with what is done to a program: code on disk that another version made is compiled again.
pub(crate) const VERSION: u8 = 1;

/// Components in components: those of today's tools nest three or four deep. Each level takes stack here.
const MAX_NESTING: usize = 32;

/// Bytes of the magic number and the version of a binary.
pub(crate) const HEADER: usize = 8;

/// The section that may be anywhere, in modules and components.
pub(crate) const CUSTOM: u8 = 0;

/// The section of a component that holds a core module.
const CORE_MODULE: u8 = 1;

/// The section of a component that holds a component.
const COMPONENT: u8 = 4;

/// What becomes of the maxima of a program's memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memories {
    /// They stay.
    AsTheyAre,
    /// None is [`HEAP_MAXIMUM`]: by that the limiter knows the heap that the engine makes for exceptions.
    BesideAHeap,
}

/// The maximum of the heap that the engine makes, in bytes: that of a memory with 32-bit addresses.
pub(crate) const HEAP_MAXIMUM: u64 = 1 << 32;

/// Why a program cannot be rewritten.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// It is damaged.
    #[error(transparent)]
    Invalid(#[from] BinaryReaderError),
    /// It nests too deep.
    #[error("components nest more than {MAX_NESTING} deep")]
    Nesting,
}

/// A section of a module or a component.
#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    pub(crate) id: u8,
    /// Without its id and its length.
    content: &'a [u8],
    /// All of it.
    pub(crate) whole: &'a [u8],
}

/// The program with bounded steps; the same bytes where it has none to bound.
///
/// What is not valid stays so: the engine says why.
///
/// # Errors
///
/// Where the binary cannot be read, or nests deeper than any tool makes it.
pub(crate) fn bounded(wasm: &[u8], memories: Memories) -> Result<Cow<'_, [u8]>, Error> {
    let rewritten =
        if Parser::is_component(wasm) { component(wasm, memories, 0)? } else { module::rewrite(wasm, memories)? };
    Ok(rewritten.map_or(Cow::Borrowed(wasm), Cow::Owned))
}

/// `None` where nothing changes.
fn component(wasm: &[u8], memories: Memories, depth: usize) -> Result<Option<Vec<u8>>, Error> {
    if depth > MAX_NESTING {
        return Err(Error::Nesting);
    }
    // What was read and is the same comes along when something changes.
    let (mut copied, mut read, mut changed) = (0, HEADER, None);
    for section in Sections::of(wasm)? {
        let section = section?;
        let inner = match section.id {
            CORE_MODULE => module::rewrite(section.content, memories)?,
            COMPONENT => component(section.content, memories, depth + 1)?,
            _ => None,
        };
        let end = read + section.whole.len();
        if let Some(inner) = inner {
            let output: &mut Vec<u8> = changed.get_or_insert_with(|| Vec::with_capacity(wasm.len()));
            output.extend_from_slice(&wasm[copied..read]);
            append_section(output, section.id, &inner);
            copied = end;
        }
        read = end;
    }
    Ok(changed.map(|mut output| {
        output.extend_from_slice(&wasm[copied..]);
        output
    }))
}

/// The sections of a module or a component, in order.
pub(crate) struct Sections<'a> {
    wasm: &'a [u8],
    reader: BinaryReader<'a>,
}

impl<'a> Sections<'a> {
    pub(crate) fn of(wasm: &'a [u8]) -> Result<Self, Error> {
        let mut reader = BinaryReader::new(wasm, 0);
        reader.read_bytes(HEADER)?;
        Ok(Self { wasm, reader })
    }

    fn read(&mut self) -> Result<Section<'a>, Error> {
        let start = self.reader.current_position();
        let id = self.reader.read_u8()?;
        let length = self.reader.read_var_u32()?;
        let content = self.reader.read_bytes(to_usize(length))?;
        Ok(Section { id, content, whole: &self.wasm[start..self.reader.current_position()] })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.reader.eof()).then(|| self.read())
    }
}

fn append_section(output: &mut Vec<u8>, id: u8, content: &[u8]) {
    output.push(id);
    append_number(output, length(content), 1);
    output.extend_from_slice(content);
}

/// In LEB128, as the format has it, of at least so many bytes.
fn append_number(output: &mut Vec<u8>, mut number: u32, at_least: usize) {
    let mut written = 1;
    while number >= 0x80 || written < at_least {
        output.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
        written += 1;
    }
    output.push(number.to_le_bytes()[0]);
}

fn length(bytes: &[u8]) -> u32 {
    // Whatever is longer than that is no section: the engine refuses it by this length.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
