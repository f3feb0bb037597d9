//! `wetware:cell/log`: lines in the log of the node.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use wasmtime::{
    StoreContextMut,
    component::{ComponentType, Lift, Linker, WasmList},
};
use ww_core::text;

use super::error::Denied;
use crate::guest::Guest;

/// Bytes of one line with its fields; the rest is cut off.
const MAX_LINE: usize = 4 * 1024;

/// Fields of one line that are looked at: more do not fit into a line that anybody reads.
const MAX_FIELDS: usize = 64;

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

/// Fields that have not left the guest's memory.
type ClaimedFields = WasmList<(String, String)>;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wetware:cell/log@0.1.0")?;
    instance.func_wrap("log", |store, (level, message, fields): (Level, String, ClaimedFields)| {
        Ok((log(store, level, &message, &fields)?,))
    })
}

fn log(
    mut store: StoreContextMut<'_, Guest>,
    level: Level,
    message: &str,
    fields: &ClaimedFields,
) -> wasmtime::Result<Result<(), Denied>> {
    let own = Arc::clone(&store.data().own);
    if !own.spec.grants.log {
        return Ok(Err(Denied::Denied));
    }
    let admitted = own.lines.lock().unwrap_or_else(PoisonError::into_inner).admit(own.id());
    if !admitted {
        return Ok(Ok(()));
    }
    // The count comes before the loop.
    let left_out = fields.len().saturating_sub(MAX_FIELDS);
    let fields = fields.iter(&mut store)?.take(MAX_FIELDS).collect::<wasmtime::Result<Fields>>()?;
    let line = line(message, &fields, left_out);
    let message = store.data().current.as_ref().map(|current| current.envelope.id);
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
    Ok(Ok(()))
}

/// One line: a guest's text.
fn line(message: &str, fields: &Fields, left_out: usize) -> String {
    let all = fmt::from_fn(|f| {
        f.write_str(message)?;
        fields.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))?;
        if left_out > 0 { write!(f, " ({left_out} fields more)") } else { Ok(()) }
    });
    text::line(all, MAX_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_of_bounded_length() {
        let fields = vec![("key".to_owned(), "va\nlue".to_owned())];
        assert_eq!(line("hello \u{1b}[31mred\n", &fields, 0), "hello \\u{1b}[31mred\\n key=va\\nlue");
        assert!((MAX_LINE - 64..=MAX_LINE).contains(&line(&"ä".repeat(MAX_LINE), &fields, 0).len()));
        assert!(line("\u{1b}", &vec![("\n".repeat(99_999), "\n".repeat(99_999))], 0).len() <= MAX_LINE);
    }
}
