//! Core modules as cells: what has to run before their first call, their `poll`, and what their toolchain forgot.
//!
//! A component says how it is to be started. A core module has conventions instead: language runtimes export
//! `_initialize` for a library and `_start` for a program, and linkers can export a list of constructors.

use wasmparser::{KnownCustom, Parser, Payload};
use wasmtime::{AsContextMut, Instance, Store, TypedFunc};

use crate::{
    fault::{Remedy, Unfit},
    guest::Guest,
};

/// What makes a live instance ready, the first that is exported; never `_start`, which is `main`.
const BEFORE_POLL: &[&str] = &["_initialize", "__wasm_call_ctors"];

/// What has to precede `_start`, which calls constructors itself. Only a library that adds a `_start` of its own
/// exports this one as well.
const BEFORE_START: &[&str] = &["_initialize"];

/// What Go's own compiler calls itself in a program.
const GO: &str = "Go cmd/compile";

/// The forms in which a core module exports `poll`: with a number that is 0 for success, or with nothing.
pub(crate) enum Poll {
    WithCode(TypedFunc<(), i32>),
    Plain(TypedFunc<(), ()>),
}

impl Poll {
    /// Makes a new instance ready for messages.
    pub(crate) async fn start(instance: &Instance, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        let poll = ["poll", "ww_poll"].into_iter().find_map(|name| instance.get_func(&mut *store, name));
        let poll = poll.ok_or_else(|| wasmtime::Error::msg("the program exports no `poll`"))?;
        let poll = if let Ok(poll) = poll.typed(&*store) {
            Self::WithCode(poll)
        } else if let Ok(poll) = poll.typed(&*store) {
            Self::Plain(poll)
        } else {
            let found = poll.ty(&*store);
            return Err(Unfit(format!(
                "`poll` is no entry point: expected a function without parameters, whose result is an i32 or nothing, \
                 found {found}. If it is the one of the C library, export your own under that name instead"
            ))
            .into());
        };
        call_first(BEFORE_POLL, instance, store).await?;
        Ok(poll)
    }

    /// Calls it for one message. The outer error is the end of the instance.
    pub(crate) async fn call(
        &self,
        store: impl AsContextMut<Data = Guest>,
        remedy: Option<&'static str>,
    ) -> wasmtime::Result<Result<(), String>> {
        let called = match self {
            Self::Plain(poll) => poll.call_async(store, ()).await.map(Ok),
            Self::WithCode(poll) => poll.call_async(store, ()).await.map(|code| match code {
                0 => Ok(()),
                code => Err(format!("poll returned {code}")),
            }),
        };
        match remedy {
            Some(remedy) => called.map_err(|error| error.context(Remedy(remedy))),
            None => called,
        }
    }
}

/// Runs `main` of a new instance.
pub(crate) async fn call_start(instance: &Instance, store: &mut Store<Guest>) -> wasmtime::Result<()> {
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    call_first(BEFORE_START, instance, store).await?;
    start.call_async(store, ()).await
}

/// Calls the first of these functions that is exported, if one is.
async fn call_first(names: &[&str], instance: &Instance, store: &mut Store<Guest>) -> wasmtime::Result<()> {
    let Some(function) = names.iter().find_map(|name| instance.get_func(&mut *store, name)) else { return Ok(()) };
    function.typed::<(), ()>(&*store)?.call_async(store, ()).await
}

/// What to do about a module whose `poll` cannot work, where its toolchain tells.
///
/// A function that Go exports checks whether the runtime is initialised, and aborts if not. In a plain executable only
/// `_start` does that, and that runs `main`.
pub(crate) fn remedy(module: &[u8]) -> Option<&'static str> {
    let (mut go, mut initialises) = (false, false);
    // Nobody has checked custom sections: what cannot be read tells nothing.
    for payload in Parser::new(0).parse_all(module).map_while(Result::ok) {
        match payload {
            Payload::ExportSection(exports) => {
                initialises = exports.into_iter().flatten().any(|export| export.name == BEFORE_POLL[0]);
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Producers(fields) = section.as_known() {
                    let mut tools = fields.into_iter().flatten().flat_map(|field| field.values.into_iter().flatten());
                    go = go || tools.any(|tool| tool.name == GO);
                }
            }
            _ => {}
        }
    }
    (go && !initialises).then_some(
        "a plain Go executable cannot answer messages in async mode: build it with `go build -buildmode=c-shared`",
    )
}

#[cfg(test)]
mod tests;
