//! What a compiled program can do.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use wasmtime::{
    Module,
    component::{Component, ComponentExportIndex},
};
use ww_core::lend::Pace;

use crate::{
    engine::{Class, Kind},
    guest::Guest,
};

/// Interfaces whose functions make a program more than a library. Versions of WASI 0.2 are compatible.
const RUN: &str = "wasi:cli/run@0.2.";
const ACTOR: &str = "wetware:cell/actor";
const HANDLER: &str = "wetware:cell/handler";

/// SHA-256 of a program's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

/// A compiled program, ready to instantiate. Cheap to clone.
#[derive(Clone)]
pub struct Program(Arc<Inner>);

struct Inner {
    hash: Hash,
    class: Class,
    exports: Exports,
    remedy: Option<&'static str>,
    pace: Pace,
    bytes: usize,
    places: u32,
    kind: Kind,
    code: Code,
}

/// The code of a program, with its imports resolved.
pub(crate) enum Code {
    Component { pre: wasmtime::component::InstancePre<Guest>, entries: Entries },
    Module(wasmtime::InstancePre<Guest>),
}

/// Where a component's functions are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Entries {
    pub(crate) run: Option<ComponentExportIndex>,
    pub(crate) poll: Option<ComponentExportIndex>,
    pub(crate) handle: Option<ComponentExportIndex>,
}

/// What a program exports for the runtime to call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// `main`: `wasi:cli/run`, or `_start` of a core module.
    pub run: bool,
    /// `poll`: the interface `wetware:cell/actor`, a world-level `poll`, or `poll` or `ww_poll` of a core module.
    pub poll: bool,
    /// `handle`: the interface `wetware:cell/handler`.
    pub handle: bool,
}

impl Hash {
    /// The hash of a program's bytes.
    pub fn of(wasm: &[u8]) -> Self {
        Self(Sha256::digest(wasm).into())
    }
}

impl Program {
    pub(crate) fn new(
        (hash, class): (Hash, Class),
        exports: Exports,
        remedy: Option<&'static str>,
        (bytes, places): (usize, u32),
        (kind, code): (Kind, Code),
    ) -> Self {
        Self(Arc::new(Inner { hash, class, exports, remedy, pace: Pace::default(), bytes, places, kind, code }))
    }

    /// Identifies the bytes that it was compiled from.
    pub fn hash(&self) -> Hash {
        self.0.hash
    }

    /// The size class that it was compiled for.
    pub fn class(&self) -> Class {
        self.0.class
    }

    /// Bytes of its code and its initial memory, which are held as long as it is.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// What it can do.
    pub fn exports(&self) -> Exports {
        self.0.exports
    }

    /// What to do about its `poll`, if that cannot work.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        self.0.remedy
    }

    /// The engine that it was compiled for.
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Places in the pool of its engine that one instance takes.
    pub(crate) fn places(&self) -> u32 {
        self.0.places
    }

    /// How the turns of its cells have been.
    pub(crate) fn pace(&self) -> &Pace {
        &self.0.pace
    }

    pub(crate) fn code(&self) -> &Code {
        &self.0.code
    }
}

impl Exports {
    pub(crate) fn of_component(component: &Component) -> (Self, Entries) {
        let mut entries = Entries::default();
        for (name, _) in component.component_type().exports(component.engine()) {
            let within = |function| {
                let instance = component.get_export_index(None, name)?;
                component.get_export_index(Some(&instance), function)
            };
            let unversioned = name.split('@').next().unwrap_or(name);
            if name.starts_with(RUN) {
                entries.run = within("run");
            } else if unversioned == ACTOR {
                entries.poll = within("poll");
            } else if unversioned == HANDLER {
                entries.handle = within("handle");
            } else if name == "poll" {
                // The interface wins where both are there.
                entries.poll = entries.poll.or_else(|| component.get_export_index(None, name));
            }
        }
        let exports =
            Self { run: entries.run.is_some(), poll: entries.poll.is_some(), handle: entries.handle.is_some() };
        (exports, entries)
    }

    pub(crate) fn of_module(module: &Module) -> Self {
        let has = |name| module.get_export(name).is_some();
        Self { run: has("_start"), poll: has("poll") || has("ww_poll"), handle: false }
    }
}

impl fmt::Display for Exports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = [
            (self.run, "main (wasi:cli/run or _start)"),
            (self.poll, "poll (wetware:cell/actor)"),
            (self.handle, "handle (wetware:cell/handler)"),
        ]
        .into_iter()
        .filter_map(|(there, name)| there.then_some(name))
        .collect();
        if names.is_empty() { f.write_str("nothing that can be run") } else { f.write_str(&names.join(", ")) }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("hash", &self.0.hash).field("class", &self.0.class).finish_non_exhaustive()
    }
}
