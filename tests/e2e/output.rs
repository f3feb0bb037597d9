//! What the command has written so far, and waiting for more of it.

use std::{
    io::Read,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
};

use crate::harness::PATIENCE;

/// One stream of the command, read by a thread of its own, so that nothing is ever held up.
#[derive(Clone)]
pub(crate) struct Output(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// Where the last wait ended.
    seen: usize,
    ended: bool,
}

impl Output {
    /// Reads until the end.
    pub(crate) fn of(mut stream: impl Read + Send + 'static) -> Self {
        let output = Self::ended();
        output.0.0.lock().expect("no reader panicked").ended = false;
        let shared = output.clone();
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            loop {
                let read = stream.read(&mut buffer).unwrap_or(0);
                let mut state = shared.0.0.lock().expect("no reader panicked");
                state.bytes.extend_from_slice(&buffer[..read]);
                state.ended = read == 0;
                shared.0.1.notify_all();
                if state.ended {
                    return;
                }
            }
        });
        output
    }

    /// A stream that nothing is read from.
    pub(crate) fn ended() -> Self {
        let state = State { ended: true, ..State::default() };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    /// Everything up to now, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().expect("no reader panicked").bytes).into_owned()
    }

    /// Waits for `text`, and returns what came since the last such wait, up to and with it; `None` where the stream
    /// ends without, or it takes too long.
    pub(crate) fn wait_for(&self, text: &str) -> Option<String> {
        let end = |state: &State| {
            let at = state.bytes[state.seen..].windows(text.len()).position(|window| window == text.as_bytes())?;
            Some(state.seen + at + text.len())
        };
        let mut state = self.wait_while(|state| !state.ended && end(state).is_none())?;
        let (start, end) = (state.seen, end(&state)?);
        state.seen = end;
        Some(String::from_utf8_lossy(&state.bytes[start..end]).into_owned())
    }

    /// Waits for the end, and returns everything.
    pub(crate) fn all(&self) -> Option<Vec<u8>> {
        self.wait_while(|state| !state.ended).map(|state| state.bytes.clone())
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> Option<MutexGuard<'_, State>> {
        let (state, changed) = &*self.0;
        let state = state.lock().expect("no reader panicked");
        let waited = changed.wait_timeout_while(state, PATIENCE, |state| condition(state)).expect("no reader panicked");
        (!waited.1.timed_out()).then_some(waited.0)
    }
}
