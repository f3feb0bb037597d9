//! Every setting of a node, with its unit and its default.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use thiserror::Error;
use ww_cell::{Cells, Compiler, Customise};
use ww_core::{Limits, account, file, limits::DEFAULT_MAX_MEMORY};
use ww_image::{
    loader::DEFAULT_IPFS_URL,
    units::{Bytes, Millis},
};
use ww_net::Multiaddr;

use crate::{control::Control, serve::PEER_TIMEOUT};

pub mod peers;

use peers::PeerGrants;

/// Swarm port, TCP and QUIC.
pub const DEFAULT_PORT: u16 = 2020;

/// How long cells may go on when the node is told to stop: what a supervisor grants its workers.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

/// Bytes of a configuration file: as many as all peers that it may name take, with everything that it may say of them.
const MAX_FILE: u64 = 1 << 20;

/// Name of the directory below the user's own ones for data and caches.
const DIRECTORY: &str = "ww";

/// Settings of a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Swarm port, TCP and QUIC; 0 for any free one.
    pub port: u16,
    /// Replaces the addresses that follow from `port`, unless it is empty.
    pub listen: Vec<Multiaddr>,
    /// Whether peers on the local network are discovered with mDNS, and learn of this node.
    pub mdns: bool,
    /// The key file; made if it is not there. `None` for a key of this run alone.
    pub identity: Option<PathBuf>,
    /// RPC API of an IPFS daemon.
    pub ipfs_url: String,
    /// Whether traps name function, file and line, for guests that carry debug information.
    pub wasm_debug: bool,
    /// Where compiled programs are kept; `None` to keep them in memory only.
    pub cache: Option<PathBuf>,
    /// Most linear memory that any cell gets, in bytes.
    pub max_memory: u64,
    /// Bytes that the node holds for all cells, clients and peers together, besides linear memory.
    pub held: u64,
    /// The most of them that are held for one client, or for an image's own cell, with all that it started.
    pub max_held: u64,
    /// How long cells may go on when the node is told to stop.
    pub drain: Duration,
    /// Where the node is controlled from: from nowhere, unless somebody says so.
    pub control: Control,
    /// Cells that may live at once.
    pub cells: Cells,
    /// Changes the settings of the sandbox's engines before they are made: for embedders, on their responsibility.
    pub engine: Option<Customise>,
    /// Where programs are compiled. Within the node, unless the embedder names a worker: only a process of its own bounds
    /// what compiling a hostile program takes.
    pub compiler: Compiler,
    /// How long a peer may be silent in the middle of a message.
    pub peer_timeout: Duration,
    /// The peers that hold capabilities of this node, on `/ww/0.1.0/rpc`: none, unless somebody says so.
    pub peers: Vec<PeerGrants>,
}

/// A configuration file that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}: {source}. Check the path given to --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is not what is expected.
    #[error("the configuration file {path} is not valid:\n{source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        source: Box<toml::de::Error>,
    },
    /// A value that cannot be granted.
    #[error("max-memory is {0} bytes: at most {most} can be given to a cell", most = ww_cell::MAX_MEMORY)]
    Memory(u64),
    /// A peer that cannot be granted what it says.
    #[error(transparent)]
    Peers(#[from] peers::Invalid),
}

/// A configuration file: whatever it leaves out keeps its default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    port: Option<u16>,
    listen: Option<Vec<Multiaddr>>,
    mdns: Option<bool>,
    identity: Option<PathBuf>,
    ipfs_url: Option<String>,
    wasm_debug: Option<bool>,
    cache: Option<PathBuf>,
    max_memory: Option<Bytes>,
    held: Option<Bytes>,
    max_held: Option<Bytes>,
    drain: Option<Millis>,
    control: Option<Control>,
    standard_cells: Option<usize>,
    small_cells: Option<usize>,
    compile: Option<Compile>,
    peer_timeout: Option<Millis>,
    rpc: Option<peers::Rpc>,
}

/// Where a file wants programs to be compiled.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Compile {
    /// In processes of their own, as the configuration before the file says.
    Apart,
    /// Within the node.
    Within,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            listen: Vec::new(),
            mdns: false,
            identity: user_directory("XDG_DATA_HOME", ".local/share").map(|directory| directory.join("identity")),
            ipfs_url: DEFAULT_IPFS_URL.to_owned(),
            wasm_debug: false,
            cache: user_directory("XDG_CACHE_HOME", ".cache"),
            max_memory: DEFAULT_MAX_MEMORY,
            held: account::DEFAULT_NODE,
            max_held: account::DEFAULT_CLIENT,
            drain: DEFAULT_DRAIN,
            control: Control::Off,
            cells: Cells::default(),
            engine: None,
            compiler: Compiler::default(),
            peer_timeout: PEER_TIMEOUT,
            peers: Vec::new(),
        }
    }
}

impl Config {
    /// These settings with those of a file in their place. Paths in it are relative to the file.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or has a key or value that does not exist.
    pub fn with_file(mut self, path: &Path) -> Result<Self, Invalid> {
        let text = file::read(path, MAX_FILE)
            .and_then(|bytes| {
                String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            })
            .map_err(|source| Invalid::Read { path: path.to_owned(), source })?;
        let file: File = toml::from_str(&text)
            .map_err(|source| Invalid::Parse { path: path.to_owned(), source: Box::new(source) })?;
        let base = path.parent().unwrap_or(Path::new(""));
        replace(&mut self.port, file.port);
        replace(&mut self.listen, file.listen);
        replace(&mut self.mdns, file.mdns);
        replace(&mut self.ipfs_url, file.ipfs_url);
        replace(&mut self.wasm_debug, file.wasm_debug);
        replace(&mut self.max_memory, file.max_memory.map(Bytes::get));
        replace(&mut self.held, file.held.map(Bytes::get));
        replace(&mut self.max_held, file.max_held.map(Bytes::get));
        replace(&mut self.control, file.control);
        replace(&mut self.cells.standard, file.standard_cells);
        replace(&mut self.cells.small, file.small_cells);
        if let Some(Compile::Within) = file.compile {
            self.compiler = Compiler::Within;
        }
        replace(&mut self.drain, file.drain.map(|drain| Duration::from_millis(drain.get())));
        let peer_timeout = file.peer_timeout.map(|timeout| Duration::from_millis(timeout.get()));
        replace(&mut self.peer_timeout, peer_timeout);
        replace(&mut self.identity, file.identity.map(|path| Some(base.join(path))));
        replace(&mut self.cache, file.cache.map(|path| Some(base.join(path))));
        if self.max_memory > ww_cell::MAX_MEMORY {
            return Err(Invalid::Memory(self.max_memory));
        }
        let granted = file.rpc.map(|rpc| rpc.granted(&self.most())).transpose()?;
        replace(&mut self.peers, granted);
        Ok(self)
    }
    /// The most that an image's own cell, a client or a peer can be given.
    pub(crate) fn most(&self) -> Limits {
        Limits { held: self.max_held, ..Limits::of_node(self.max_memory) }
    }
}

fn replace<T>(value: &mut T, by: Option<T>) {
    if let Some(by) = by {
        *value = by;
    }
}

/// The user's directory for a purpose, by the XDG base directory specification.
fn user_directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
    Some(base.join(DIRECTORY))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(text: &str) -> Result<Config, Invalid> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ww.toml");
        fs::write(&path, text).expect("written");
        Config::default().with_file(&path)
    }

    #[test]
    fn a_file_replaces_what_it_names() {
        let config = parse("port = 1\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\ndrain = \"10ms\"\nidentity = \"key\"")
            .expect("valid");
        assert_eq!((config.port, config.listen.len(), config.drain), (1, 1, Duration::from_millis(10)));
        assert!(config.identity.is_some_and(|path| path.is_absolute() && path.ends_with("key")));
        assert_eq!(config.ipfs_url, Config::default().ipfs_url);
    }

    #[test]
    fn a_file_that_never_ends_is_refused() {
        let error = Config::default().with_file(Path::new("/dev/zero")).expect_err("too long").to_string();
        assert!(error.contains("/dev/zero") && error.contains(&MAX_FILE.to_string()), "{error}");
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_named() {
        for (text, named) in [
            ("prot = 1", "prot"),
            ("port = 70000", "port"),
            ("listen = [\"nowhere\"]", "listen"),
            ("max-memory = \"2GiB\"", "max-memory"),
            ("compile = \"elsewhere\"", "apart"),
            ("control = \"tcp:0.0.0.0:1\"", "loopback"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
