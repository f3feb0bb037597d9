//! Why an incarnation of a cell ended, and how the news travels.
//!
//! A [`Reason`] is never guessed: whoever ends a cell says why, and every observer up to the exit code
//! of the process sees the same reason.

use std::{fmt, sync::Arc};

use crate::{
    CellId, Text,
    text::{MAX_BACKTRACE, MAX_ERROR, MAX_NAME, line, lines},
};

mod news;
mod text;

pub use news::{Notifier, Watch, channel};

/// Exit code of a cell that computed or waited longer than it may.
const CODE_TIME: u8 = 124;
/// Exit code of a cell that could not be started.
const CODE_START_FAILED: u8 = 126;
/// Exit code of a trap: what a shell reports for an aborted process.
const CODE_TRAP: u8 = 134;
/// Exit code of a cell that wanted more of something than it may have.
const CODE_LIMIT: u8 = 135;
/// Exit code of a killed cell: what a shell reports for SIGKILL.
const CODE_KILLED: u8 = 137;
/// Exit code of a cell that was shut down: what a shell reports for SIGTERM.
const CODE_SHUTDOWN: u8 = 143;
/// Exit code where there is no such process or no connection to it: `EX_UNAVAILABLE` of sysexits.
const CODE_UNAVAILABLE: u8 = 69;

/// Why an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It returned, or called `exit(0)`.
    Normal,
    /// It ended with its own code, which is not 0.
    Exit(u8),
    /// It trapped.
    Trap(Arc<Trap>),
    /// It reached a limit.
    Limit(Limit),
    /// It was killed.
    Killed,
    /// Its supervisor or owner shut it down.
    Shutdown,
    /// It never ran.
    StartFailed(Text),
    /// A cell that it was linked to ended.
    Link {
        /// The linked cell.
        cell: CellId,
        /// Why that one ended.
        reason: Arc<Reason>,
    },
    /// The node failed on its behalf.
    HostFault(Text),
    /// It was not there when somebody asked for it.
    NoProcess,
    /// The connection to it, or to whoever kept it alive, was lost.
    NoConnection,
}

/// A trap: the guest did what WebAssembly forbids. Its texts are escaped and bounded: names in a program are the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trap {
    /// What it did, in kebab case: `unreachable`, `stack-overflow`, `memory-out-of-bounds`, …
    pub kind: String,
    /// The same for a person.
    pub message: String,
    /// The guest's frames, innermost first, one per line; with function, file and line where the
    /// program carries debug information and the node was told to use it. Empty if unknown.
    pub backtrace: String,
}

/// The limits that can end a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Linear memory.
    Memory,
    /// Wall-clock time for one message.
    Deadline,
    /// Computing time for one message.
    Cpu,
    /// Tables, instances, handles: what the sandbox itself needs for the cell.
    Resources,
}

impl Reason {
    /// The reason of a guest that ended itself with a code. Codes above 255 count as 255.
    pub fn from_code(code: u32) -> Self {
        match u8::try_from(code).unwrap_or(u8::MAX) {
            0 => Self::Normal,
            code => Self::Exit(code),
        }
    }

    /// A cell that never ran.
    pub fn start_failed(why: impl fmt::Display) -> Self {
        Self::StartFailed(Text::new(why))
    }

    /// A failure of the node.
    pub fn host_fault(what: impl fmt::Display) -> Self {
        Self::HostFault(Text::new(what))
    }

    /// The exit code that stands for the reason.
    pub fn code(&self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Exit(code) => *code,
            Self::Limit(Limit::Deadline | Limit::Cpu) => CODE_TIME,
            Self::StartFailed(_) => CODE_START_FAILED,
            Self::Trap(_) | Self::HostFault(_) => CODE_TRAP,
            Self::Limit(Limit::Memory | Limit::Resources) => CODE_LIMIT,
            Self::Killed => CODE_KILLED,
            Self::Shutdown => CODE_SHUTDOWN,
            Self::NoProcess | Self::NoConnection => CODE_UNAVAILABLE,
            Self::Link { reason, .. } => reason.code(),
        }
    }

    /// Whether the end was asked for or expected: `normal` and `shutdown`, also of the cell that a link brought down.
    pub fn is_orderly(&self) -> bool {
        match self {
            Self::Normal | Self::Shutdown => true,
            Self::Link { reason, .. } => reason.is_orderly(),
            _ => false,
        }
    }
}

impl Trap {
    /// A trap. Line breaks are kept in the backtrace alone, whose lines are the caller's; see [`crate::text`].
    pub fn new(kind: &str, message: impl fmt::Display, backtrace: &str) -> Self {
        Self {
            kind: line(kind, MAX_NAME),
            message: line(message, MAX_ERROR),
            backtrace: lines(backtrace, MAX_BACKTRACE),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Deadline => "deadline",
            Self::Cpu => "cpu",
            Self::Resources => "resources",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Exit(code) => write!(f, "exit({code})"),
            Self::Trap(trap) => write!(f, "trap({}): {}", trap.kind, trap.message),
            Self::Limit(limit) => write!(f, "limit: {limit}"),
            Self::Killed => f.write_str("killed"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::StartFailed(why) => write!(f, "start failed: {why}"),
            Self::Link { cell, reason } => write!(f, "link to cell {cell}: {reason}"),
            Self::HostFault(what) => write!(f, "host fault: {what}"),
            Self::NoProcess => f.write_str("no process"),
            Self::NoConnection => f.write_str("no connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap() -> Reason {
        Reason::Trap(Trap::new("unreachable", "wasm `unreachable` instruction executed", "").into())
    }

    #[test]
    fn every_reason_has_its_code() {
        let table = [
            (Reason::Normal, 0),
            (Reason::Exit(7), 7),
            (Reason::Limit(Limit::Deadline), 124),
            (Reason::Limit(Limit::Cpu), 124),
            (Reason::start_failed("no such import"), 126),
            (trap(), 134),
            (Reason::host_fault("panic"), 134),
            (Reason::Limit(Limit::Memory), 135),
            (Reason::Limit(Limit::Resources), 135),
            (Reason::Killed, 137),
            (Reason::Shutdown, 143),
            (Reason::NoProcess, 69),
            (Reason::NoConnection, 69),
            (Reason::Link { cell: CellId::new(1), reason: Arc::new(trap()) }, 134),
            (Reason::Link { cell: CellId::new(1), reason: Arc::new(Reason::Exit(3)) }, 3),
        ];
        for (reason, code) in table {
            assert_eq!(reason.code(), code, "{reason}");
        }
    }

    #[test]
    fn no_reason_has_more_than_one_line_or_more_than_its_bound() {
        let evil = "\n2026-01-01 INFO forged\u{1b}[2J\u{202e}".repeat(100_000);
        let trap = Trap::new(&evil, &evil, &evil);
        assert!(trap.backtrace.len() <= MAX_BACKTRACE && !trap.backtrace.contains('\u{1b}'));
        let trap = Reason::Trap(trap.into());
        let reasons = [
            Reason::start_failed(&evil),
            Reason::host_fault(&evil),
            Reason::reported(126, &format!("start failed: {evil}")),
            Reason::reported(134, &format!("trap({evil}): {evil}")),
            Reason::reported(134, &format!("link to cell 1: host fault: {evil}")),
            Reason::reported(1, &evil),
            Reason::Link { cell: CellId::new(1), reason: trap.clone().into() },
            trap,
        ];
        for reason in reasons {
            let text = reason.to_string();
            assert!(text.len() <= MAX_ERROR + MAX_NAME + 64, "{}", text.len());
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text}");
        }
    }

    #[test]
    fn codes_of_guests_are_never_wrapped_to_zero() {
        for (code, reason) in
            [(0, Reason::Normal), (1, Reason::Exit(1)), (255, Reason::Exit(255)), (256, Reason::Exit(255))]
        {
            assert_eq!(Reason::from_code(code), reason);
        }
    }
}
