//! Exit codes of the command besides those of the cell: the numbers of sysexits, and a shell's for signals.

/// It worked.
pub const OK: u8 = 0;
/// The cell returned an error for a message.
pub const GUEST: u8 = 1;
/// Wrong arguments: `EX_USAGE`.
pub const USAGE: u8 = 64;
/// The image cannot be loaded or is not valid: `EX_NOINPUT`.
pub const IMAGE: u8 = 66;
/// A port or control socket is taken; no such node, peer or cell: `EX_UNAVAILABLE`.
pub const UNAVAILABLE: u8 = 69;
/// The node itself failed, or output was lost: `EX_OSERR`.
pub const HOST: u8 = 71;
/// Somebody else runs the node: `EX_NOPERM`.
pub const NO_PERMISSION: u8 = 77;
/// Configuration or identity: `EX_CONFIG`.
pub const CONFIG: u8 = 78;
/// The cell could not be started.
pub const START_FAILED: u8 = 126;
/// Stopped by SIGHUP.
pub const HUNG_UP: u8 = 129;
/// Stopped by SIGINT.
pub const INTERRUPTED: u8 = 130;
/// Stopped by SIGTERM.
pub const TERMINATED: u8 = 143;
