//! `etc/ww.toml`: what an image says about its own cell.
//!
//! ```toml
//! [cell]
//! name = "echo"                    # the name it registers
//! async = true                     # one live instance, called once per message
//! publish = true                   # peers may open streams to it
//! allow = ["12D3KooW…"]            # only these; all, if it is left out or empty
//! restart = "transient"            # or permanent, temporary
//! mailbox = 256                    # messages that may wait
//! overflow = "wait"                # what becomes of one more: or "reject", or "drop-oldest"
//!
//! [limits]
//! memory = "64MiB"                 # or bytes
//! subtree-memory = "256MiB"        # or bytes; of all cells below it
//! deadline = "30s"                 # or milliseconds; per message
//! cpu = "500ms"                    # or milliseconds; per message
//! children = 8
//! subtree-cells = 64
//! instances = 16                   # at once, in sync mode
//! held = "64MiB"                   # or bytes; what the node holds for it and all below it, besides memory
//! message-size = "1MiB"            # or bytes; of messages that travel as a whole
//!
//! [env]
//! GREETING = "hello"
//!
//! [grants]                         # everything that is left out is granted
//! host = ["id", "addrs", "peers", "connect", "executor", "dial"]
//! executor = ["runBytes", "echo"]
//! loader = true
//! mail = ["store"]                 # the cells that it may send to, by name; or true, false
//! self = true
//! registry = true
//! process = true                   # links, monitors and signals below it; or ["clock"] for those cells as well, or false
//! log = true
//! publish = true                   # cells that it spawns
//! ```
//!
//! A key that nothing reads is an error, so that a misspelt limit is not a missing one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU32,
};

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;
use ww_core::{
    Grants, Name,
    grants::{ExecutorMethod, HostMethod, Reach},
    limits::Narrowing,
    mailbox::Overflow,
    supervisor::Restart,
};

use crate::units;

/// Where the manifest lies in an image.
pub const PATH: &str = "etc/ww.toml";

/// Largest manifest, in bytes: a long environment fits, and a node holds only one at a time.
pub const MAX_SIZE: u64 = 64 * 1_024;

/// What an image says about its own cell. The default is what an image without `etc/ww.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// How the cell runs.
    #[serde(default)]
    pub cell: Cell,
    /// Its wishes for limits.
    #[serde(default, deserialize_with = "limits")]
    pub limits: Narrowing,
    /// Its environment: names without `=` and NUL, values without NUL.
    #[serde(default, deserialize_with = "environment")]
    pub env: BTreeMap<String, String>,
    /// What it may do, where that is less than everything.
    #[serde(default)]
    grants: GrantTable,
}

/// How the cell of an image runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cell {
    /// The name it registers.
    pub name: Option<Name>,
    /// Whether one live instance is called once per message.
    #[serde(default, rename = "async")]
    pub async_mode: bool,
    /// Whether peers may open streams to it.
    #[serde(default)]
    pub publish: bool,
    /// The ids of the peers that may; all, where there are none.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Messages that may wait for it.
    pub mailbox: Option<NonZeroU32>,
    /// What becomes of one more.
    pub overflow: Option<Overflow>,
    /// When it is started again. If it says nothing, a cell that serves messages always is, and a program that runs once
    /// is not.
    pub restart: Option<Restart>,
}

/// A text that is no manifest.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {message}")]
pub struct Invalid {
    /// Line of the fault, counted from 1.
    pub line: usize,
    /// Column of the fault in characters, counted from 1.
    pub column: usize,
    /// What was expected and what was found.
    pub message: String,
}

/// What is granted, by name; what is left out is as whoever reads it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantTable {
    host: Option<BTreeSet<HostMethod>>,
    executor: Option<BTreeSet<ExecutorMethod>>,
    loader: Option<bool>,
    mail: Option<Cells>,
    #[serde(rename = "self")]
    identity: Option<bool>,
    registry: Option<bool>,
    process: Option<Cells>,
    log: Option<bool>,
    publish: Option<bool>,
}

/// All that can be had, nothing, or cells with these names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected true, false or a list of names")]
enum Cells {
    All(bool),
    Names(BTreeSet<Name>),
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// Where the text is not TOML, has a key that does not exist, or a value that its key does not take.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        toml::from_str(text).map_err(|error| Invalid::new(text, &error))
    }

    /// What the cell may do: everything, less what the manifest narrows.
    pub fn grants(&self) -> Grants {
        self.grants.instead_of(Grants::all())
    }
}

impl GrantTable {
    /// What the table names, in the place of what `others` says of it.
    pub fn instead_of(&self, others: Grants) -> Grants {
        Grants {
            host: self.host.clone().unwrap_or(others.host),
            executor: self.executor.clone().unwrap_or(others.executor),
            loader: self.loader.unwrap_or(others.loader),
            mail: match &self.mail {
                None => others.mail,
                Some(Cells::All(true)) => Reach::Everybody,
                Some(Cells::All(false)) => Reach::Nobody,
                Some(Cells::Names(names)) => Reach::Names(names.clone()),
            },
            identity: self.identity.unwrap_or(others.identity),
            registry: self.registry.unwrap_or(others.registry),
            process: match &self.process {
                None => others.process,
                Some(Cells::All(true)) => Some(Reach::Nobody),
                Some(Cells::All(false)) => None,
                Some(Cells::Names(names)) => Some(Reach::Names(names.clone())),
            },
            log: self.log.unwrap_or(others.log),
            publish: self.publish.unwrap_or(others.publish),
        }
    }
}

impl Invalid {
    fn new(text: &str, error: &toml::de::Error) -> Self {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |feed| feed + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: error.message().replacen("unknown field", "unknown key", 1),
        }
    }
}

/// The same keys as [`Narrowing`], with units.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wishes {
    memory: Option<units::Bytes>,
    deadline: Option<units::Millis>,
    cpu: Option<units::Millis>,
    children: Option<u32>,
    subtree_cells: Option<u32>,
    subtree_memory: Option<units::Bytes>,
    message_size: Option<units::Bytes>,
    instances: Option<NonZeroU32>,
    held: Option<units::Bytes>,
}

/// Reads a table of limits, with units.
///
/// # Errors
///
/// Where a key does not exist, or a value is none that its key takes.
pub fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Narrowing, D::Error> {
    let wishes = Wishes::deserialize(deserializer)?;
    Ok(Narrowing {
        memory: wishes.memory.map(units::Bytes::get),
        deadline: wishes.deadline.map(units::Millis::get),
        cpu: wishes.cpu.map(units::Millis::get),
        children: wishes.children,
        subtree_cells: wishes.subtree_cells,
        subtree_memory: wishes.subtree_memory.map(units::Bytes::get),
        // More than a u32 is more than can be given, whatever it is.
        message_size: wishes.message_size.map(|size| u32::try_from(size.get()).unwrap_or(u32::MAX)),
        instances: wishes.instances.map(NonZeroU32::get),
        held: wishes.held.map(units::Bytes::get),
    })
}

/// The name of a variable.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct Key(String);

/// The value of a variable.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Text(String);

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(key: String) -> Result<Self, String> {
        if key.is_empty() || key.contains(['=', '\0']) {
            return Err(format!(
                "{key:?} is not the name of a variable: expected at least one character, no '=', no NUL"
            ));
        }
        Ok(Self(key))
    }
}

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, &'static str> {
        if value.contains('\0') {
            return Err("the value of a variable holds a NUL");
        }
        Ok(Self(value))
    }
}

fn environment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Table;

    impl<'de> de::Visitor<'de> for Table {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table of texts")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut env = BTreeMap::new();
            while let Some((Key(key), Text(value))) = entries.next_entry()? {
                env.insert(key, value);
            }
            Ok(env)
        }
    }

    deserializer.deserialize_map(Table)
}

#[cfg(test)]
mod tests;
