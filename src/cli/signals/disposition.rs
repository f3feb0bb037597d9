//! What the system does with a signal: what Tokio, which only adds handlers, has no word for.

use std::{mem, ptr};

use tokio::signal::unix::SignalKind;

/// Whether a signal is ignored, as the caller of this process wanted it.
pub(in crate::cli) fn is_ignored(kind: SignalKind) -> bool {
    // SAFETY: a `sigaction` is plain data for which zeros are valid, and the call only writes to it.
    unsafe {
        let mut now: libc::sigaction = mem::zeroed();
        libc::sigaction(kind.as_raw_value(), ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Lets the system do with a signal what it does without a handler. Returns where that is not the end: when the process
/// was stopped and goes on, or in the first process of a system, to which no signal does anything.
pub(in crate::cli) fn by_default(kind: SignalKind) {
    let signal = kind.as_raw_value();
    // SAFETY: as above; the action that was there before is put back as it was.
    unsafe {
        let mut default: libc::sigaction = mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        let mut before: libc::sigaction = mem::zeroed();
        if libc::sigaction(signal, &raw const default, &raw mut before) == 0 {
            libc::raise(signal);
            libc::sigaction(signal, &raw const before, ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known_and_what_does_nothing_by_default_does_nothing() {
        // The start of a Rust program ignores it.
        assert!(is_ignored(SignalKind::pipe()));
        assert!(!is_ignored(SignalKind::user_defined1()));
        by_default(SignalKind::window_change());
        assert!(!is_ignored(SignalKind::window_change()), "it is as it was");
    }
}
