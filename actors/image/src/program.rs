//! The cheap check that the bytes of a program are WebAssembly at all.
//!
//! Whether they are valid is for whoever compiles them.

use thiserror::Error;

/// What every WebAssembly binary starts with.
const MAGIC: [u8; 4] = *b"\0asm";

/// Length of the preamble, in bytes: magic, 16 bits of version, 16 bits of layer
/// (component model, `Binary.md`, "Component Definitions").
const PREAMBLE: usize = 8;

/// Bytes of something else that an error shows.
const SHOWN: usize = 8;

/// Bytes that are not a program.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAProgram {
    /// There are none.
    #[error("expected a WebAssembly component or core module, found an empty file")]
    Empty,
    /// They start with something else.
    #[error("expected a WebAssembly component or core module, found something that starts with \"{0}\"")]
    Magic(String),
    /// They end within the preamble.
    #[error("expected a WebAssembly component or core module, found only its first {0} bytes")]
    Cut(usize),
    /// They are neither a module nor a component.
    #[error("expected a WebAssembly component or core module, found a WebAssembly binary of the unknown layer {0}")]
    Layer(u16),
}

/// Checks that bytes start as a core module or a component does.
///
/// # Errors
///
/// Where they do not, with what was found.
pub fn check(wasm: &[u8]) -> Result<(), NotAProgram> {
    if wasm.is_empty() {
        return Err(NotAProgram::Empty);
    }
    let magic = &wasm[..wasm.len().min(MAGIC.len())];
    if magic != &MAGIC[..magic.len()] {
        return Err(NotAProgram::Magic(wasm[..wasm.len().min(SHOWN)].escape_ascii().to_string()));
    }
    let Some(&[_, _, _, _, _, _, low, high]) = wasm.first_chunk::<PREAMBLE>() else {
        return Err(NotAProgram::Cut(wasm.len()));
    };
    match u16::from_le_bytes([low, high]) {
        0 | 1 => Ok(()),
        layer => Err(NotAProgram::Layer(layer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_components_pass_and_nothing_else() {
        assert_eq!(check(b"\0asm\x01\0\0\0"), Ok(()));
        assert_eq!(check(b"\0asm\x0d\0\x01\0"), Ok(()));
        assert_eq!(check(b""), Err(NotAProgram::Empty));
        assert_eq!(check(b"\0as"), Err(NotAProgram::Cut(3)));
        assert_eq!(check(b"\0asm\x01\0\0"), Err(NotAProgram::Cut(7)));
        assert_eq!(check(b"\0asm\x01\0\x02\0"), Err(NotAProgram::Layer(2)));
        assert_eq!(check(b"(module)\n"), Err(NotAProgram::Magic("(module)".into())));
        assert_eq!(check(b"\x7fELF"), Err(NotAProgram::Magic("\\x7fELF".into())));
    }
}
