//! From an error of the engine to an exit reason.

use std::{fmt::Write, io, sync::Arc};

use rustix::io::Errno;
use thiserror::Error;
use wasmtime::{GcHeapOutOfMemory, ThrownException, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use ww_core::{
    exit::{self, Limit, Reason},
    text::{self, MAX_BACKTRACE},
};

use crate::limiter::Reached;

/// Somebody asked for the end of the cell while it computed.
#[derive(Debug, Error)]
#[error("the cell was stopped: {0}")]
pub(crate) struct Stopped(pub(crate) Reason);

/// A program exports an entry point that cannot be called.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Unfit(pub(crate) String);

/// Context of a failed call that could not have worked: what to do about the program.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Remedy(pub(crate) &'static str);

/// Why a call into a guest failed.
pub(crate) fn reason(error: &wasmtime::Error) -> Reason {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Reason::from_code(code.cast_unsigned());
    }
    if let Some(Reached(limit)) = error.downcast_ref() {
        return Reason::Limit(*limit);
    }
    // An exception for which there is no room among those that are still referred to.
    if error.is::<GcHeapOutOfMemory<()>>() {
        return Reason::Limit(Limit::Resources);
    }
    if let Some(Stopped(reason)) = error.downcast_ref() {
        return reason.clone();
    }
    if let Some(Unfit(why)) = error.downcast_ref() {
        return Reason::start_failed(why);
    }
    if is_shortage(error) {
        return Reason::host_fault(format_args!("the system refuses what the cell needs: {error:#}"));
    }
    let (kind, mut message) = match error.downcast_ref::<Trap>() {
        None if error.is::<ThrownException>() => {
            ("uncaught-exception".to_owned(), "the program threw an exception that it does not catch".to_owned())
        }
        Some(trap) => (kind(*trap), trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
        // What a host function refused: a handle that does not exist, a second connection, a write without a permit.
        None => ("host-call".to_owned(), error.root_cause().to_string()),
    };
    if let Some(Remedy(remedy)) = error.downcast_ref() {
        // Writing to a string cannot fail.
        let _ = write!(message, "; {remedy}");
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
    Reason::Trap(Arc::new(exit::Trap::new(&kind, message, &backtrace)))
}

/// Whether the system has no more memory, memory mappings or file descriptors for the engine: nothing that a guest did.
pub(crate) fn is_shortage(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        let of_io = || cause.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
        let errno = cause.downcast_ref::<Errno>().copied().or_else(of_io);
        errno.is_some_and(|errno| matches!(errno, Errno::NOMEM | Errno::MFILE | Errno::NFILE))
    })
}

/// The engine's name of a trap, in kebab case.
fn kind(trap: Trap) -> String {
    if trap == Trap::UnreachableCodeReached {
        return "unreachable".to_owned();
    }
    let mut kind = String::new();
    for character in format!("{trap:?}").chars() {
        if character.is_ascii_uppercase() && !kind.is_empty() {
            kind.push('-');
        }
        kind.push(character.to_ascii_lowercase());
    }
    kind
}

/// One line per frame: the function, then file, line and column where the program tells. No name, which is the
/// program's to choose, makes a line of its own.
fn frames(backtrace: &WasmBacktrace) -> String {
    let mut frames = String::new();
    for frame in backtrace.frames() {
        if frames.len() > MAX_BACKTRACE {
            break;
        }
        let push_function = |frames: &mut String| match frame.func_name() {
            Some(name) => push_name(frames, name),
            None => push(frames, format_args!("function {}", frame.func_index())),
        };
        if frame.symbols().is_empty() {
            push_function(&mut frames);
            frames.push('\n');
        }
        for symbol in frame.symbols() {
            // Of calls that were inlined there may be any number.
            if frames.len() > MAX_BACKTRACE {
                break;
            }
            match symbol.name() {
                Some(name) => push_name(&mut frames, name),
                None => push_function(&mut frames),
            }
            if let (Some(file), Some(line)) = (symbol.file(), symbol.line()) {
                let column = symbol.column().unwrap_or_default();
                push(&mut frames, format_args!(" at {}:{line}:{column}", text::name(file)));
            }
            frames.push('\n');
        }
    }
    frames
}

fn push_name(frames: &mut String, name: &str) {
    frames.push_str(&match rustc_demangle::try_demangle(name) {
        Ok(name) => text::name(format_args!("{name:#}")),
        Err(_) => text::name(name),
    });
}

fn push(frames: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = frames.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_engine_become_exact_reasons() {
        assert_eq!(reason(&I32Exit(0).into()), Reason::Normal);
        assert_eq!(reason(&I32Exit(7).into()), Reason::Exit(7));
        assert_eq!(reason(&I32Exit(-1).into()), Reason::Exit(255));
        assert_eq!(reason(&Reached(Limit::Memory).into()), Reason::Limit(Limit::Memory));
        assert_eq!(reason(&Stopped(Reason::Killed).into()), Reason::Killed);
        let in_context = wasmtime::Error::from(Reached(Limit::Memory)).context("while growing");
        assert_eq!(reason(&in_context), Reason::Limit(Limit::Memory));
        assert_eq!(reason(&Unfit("no such type".into()).into()), Reason::start_failed("no such type"));
        let shortage = wasmtime::Error::from(Errno::NOMEM).context("mmap failed");
        assert!(matches!(reason(&shortage), Reason::HostFault(why) if why.contains("the system refuses")));
        let remedied = |error: wasmtime::Error| reason(&error.context(Remedy("build it anew")));
        assert_eq!(remedied(I32Exit(7).into()), Reason::Exit(7));
        let Reason::Trap(found) = remedied(Trap::UnreachableCodeReached.into()) else { panic!("a trap is a trap") };
        assert_eq!(found.kind, "unreachable");
        assert!(found.message.ends_with("; build it anew"), "{}", found.message);
        for (trap, kind) in [
            (Trap::UnreachableCodeReached, "unreachable"),
            (Trap::StackOverflow, "stack-overflow"),
            (Trap::MemoryOutOfBounds, "memory-out-of-bounds"),
            (Trap::IntegerDivisionByZero, "integer-division-by-zero"),
        ] {
            let Reason::Trap(found) = reason(&trap.into()) else { panic!("a trap is a trap") };
            assert_eq!(found.kind, kind);
        }
        let Reason::Trap(found) = reason(&wasmtime::Error::msg("no such handle")) else { panic!("a trap") };
        assert_eq!((found.kind.as_str(), found.message.as_str()), ("host-call", "no such handle"));
    }
}
