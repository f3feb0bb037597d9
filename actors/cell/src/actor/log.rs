//! `wetware:cell/log`: lines in the log of the node.

use std::{fmt, sync::PoisonError};

use wasmtime::component::{ComponentType, Lift, Linker};
use ww_core::text;

use super::error::Denied;
use crate::guest::Guest;

/// Bytes of one line with its fields; the rest is cut off.
const MAX_LINE: usize = 4 * 1024;

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "guests choose them")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

type Fields = Vec<(String, String)>;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wetware:cell/log@0.1.0")?;
    instance.func_wrap("log", |store, (level, message, fields): (Level, String, Fields)| {
        Ok((log(store.data(), level, &message, &fields),))
    })
}

fn log(guest: &Guest, level: Level, message: &str, fields: &Fields) -> Result<(), Denied> {
    let own = &guest.own;
    if !own.spec.grants.log {
        return Err(Denied::Denied);
    }
    let admitted = own.lines.lock().unwrap_or_else(PoisonError::into_inner).admit(own.id());
    if !admitted {
        return Ok(());
    }
    let line = line(message, fields);
    let message = guest.current.as_ref().map(|current| current.envelope.id);
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(target: "ww::guest", cell = %own.id(), message, "{line}")
        };
    }
    match level {
        Level::Trace => event!(trace),
        Level::Debug => event!(debug),
        Level::Info => event!(info),
        Level::Warn => event!(warn),
        Level::Error => event!(error),
    }
    Ok(())
}

/// One line: a guest's text.
fn line(message: &str, fields: &Fields) -> String {
    let all = fmt::from_fn(|f| {
        f.write_str(message)?;
        fields.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    });
    text::line(all, MAX_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_of_bounded_length() {
        let fields = vec![("key".to_owned(), "va\nlue".to_owned())];
        assert_eq!(line("hello \u{1b}[31mred\n", &fields), "hello \\u{1b}[31mred\\n key=va\\nlue");
        assert!((MAX_LINE - 64..=MAX_LINE).contains(&line(&"ä".repeat(MAX_LINE), &fields).len()));
        assert!(line("\u{1b}", &vec![("\n".repeat(99_999), "\n".repeat(99_999))]).len() <= MAX_LINE);
    }
}
