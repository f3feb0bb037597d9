//! `ww doctor`: whether this machine and user can run nodes.

use std::{
    fmt, fs,
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::SocketAddr,
    },
    path::Path,
};

use rustix::{
    fs::{Access, access},
    process::{Resource, getrlimit},
};

use super::{Failure, code, node, system};
use crate::{
    Config,
    config::DEFAULT_PORT,
    control::{Address, directory},
};

/// Memory mappings that a process needs for as many cells as a node can have: what Linux grants by default.
const MAPPINGS: u64 = 65_530;

/// File descriptors that a node needs for its connections and clients.
const DESCRIPTORS: u64 = 1_024;

/// Check whether this machine is ready to run nodes, and say what to do where it is not
///
/// Looks at the identity, the cache, the directory of control sockets, the port and the limits of the system, and says
/// which nodes are running. Changes nothing. The exit code is 78 if something is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Note,
    Wrong,
}

type Finding = (Verdict, String);

pub(super) async fn doctor(_: &Args) -> Result<u8, Failure> {
    let config = Config::default();
    let mut findings = vec![
        identity(config.identity.as_deref()),
        cache(config.cache.as_deref()),
        sockets(&directory::path()),
        port(),
        address_space(),
        mappings(),
        descriptors(),
        threads(),
    ];
    findings.extend(nodes().await);
    let text: String = findings.iter().map(|(verdict, text)| format!("{verdict}  {text}\n")).collect();
    super::print(&text)?;
    let wrong = findings.iter().any(|(verdict, _)| *verdict == Verdict::Wrong);
    Ok(if wrong { code::CONFIG } else { code::OK })
}

fn identity(path: Option<&Path>) -> Finding {
    let Some(path) = path else {
        return (Verdict::Note, "identity: HOME is not set, so that each node takes a key for one run".into());
    };
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            (Verdict::Wrong, format!("identity: others can read {shown}: chmod 600 {shown}"))
        }
        Ok(found) if found.uid() != rustix::process::getuid().as_raw() => {
            (Verdict::Wrong, format!("identity: {shown} belongs to another user: name another one with --identity"))
        }
        Ok(_) => match fs::File::open(path) {
            Ok(_) => (Verdict::Good, format!("identity: {shown}")),
            Err(error) => {
                (Verdict::Wrong, format!("identity: {shown} cannot be read: {error}: correct its permissions"))
            }
        },
        Err(error) if error.kind() != ErrorKind::NotFound => {
            (Verdict::Wrong, format!("identity: {shown}: {error}: correct its permissions, or use --identity"))
        }
        Err(_) => match can_be_made(path) {
            Ok(()) => (Verdict::Note, format!("identity: {shown} is made at the first start")),
            Err(why) => (Verdict::Wrong, format!("identity: {shown} cannot be made: {why}: use --identity")),
        },
    }
}

fn cache(path: Option<&Path>) -> Finding {
    let Some(path) = path else {
        return (Verdict::Note, "cache: HOME is not set, so that programs are compiled anew by each node".into());
    };
    let shown = path.display();
    match tempfile_in(path) {
        Ok(()) => (Verdict::Good, format!("cache: {shown}")),
        Err(error) if error.kind() == ErrorKind::NotFound => match can_be_made(path) {
            Ok(()) => (Verdict::Note, format!("cache: {shown} is made at the first start")),
            Err(why) => {
                let why = format!("cache: {shown} cannot be made, so that programs are compiled anew: {why}");
                (Verdict::Wrong, why)
            }
        },
        Err(error) => (Verdict::Wrong, format!("cache: {shown} cannot be written: {error}: correct its permissions")),
    }
}

/// Whether something that is not there can be made, with the directories above it. The error says what is in the way.
fn can_be_made(path: &Path) -> Result<(), String> {
    let above = path.ancestors().skip(1).find(|above| above.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    let shown = above.display();
    match fs::metadata(above) {
        Ok(found) if !found.is_dir() => Err(format!("{shown} is no directory")),
        Ok(_) => access(above, Access::WRITE_OK | Access::EXEC_OK).map_err(|why| format!("{shown}: {why}")),
        Err(why) => Err(format!("{shown}: {why}")),
    }
}

/// Whether a file can be made there. It is gone again afterwards.
fn tempfile_in(path: &Path) -> std::io::Result<()> {
    let probe = path.join(format!(".doctor-{}", std::process::id()));
    fs::File::create_new(&probe)?;
    fs::remove_file(probe)
}

fn sockets(path: &Path) -> Finding {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(found)
            if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() || found.mode() & 0o077 != 0 =>
        {
            (
                Verdict::Wrong,
                format!("control sockets: {shown} is not this user's alone: remove it, or set XDG_RUNTIME_DIR"),
            )
        }
        Ok(_) if SocketAddr::from_pathname(directory::own(path, 1)).is_err() => {
            let why = format!("control sockets: {shown} is too long for the path of a socket: set XDG_RUNTIME_DIR");
            (Verdict::Wrong, why)
        }
        Ok(_) => (Verdict::Good, format!("control sockets: {shown}")),
        Err(_) if !path.parent().is_some_and(Path::is_dir) => {
            (Verdict::Wrong, format!("control sockets: {shown} has no directory above it: set XDG_RUNTIME_DIR to one"))
        }
        Err(_) => match can_be_made(path) {
            Ok(()) => (Verdict::Note, format!("control sockets: {shown} is made at the first start")),
            Err(why) => {
                (Verdict::Wrong, format!("control sockets: {shown} cannot be made: {why}: set XDG_RUNTIME_DIR"))
            }
        },
    }
}

fn port() -> Finding {
    let any = ("0.0.0.0", DEFAULT_PORT);
    match TcpListener::bind(any).map(drop).and_then(|()| UdpSocket::bind(any).map(drop)) {
        Ok(()) => (Verdict::Good, format!("port: {DEFAULT_PORT} is free")),
        Err(error) => (Verdict::Note, format!("port: {DEFAULT_PORT} cannot be taken ({error}): use --port")),
    }
}

fn address_space() -> Finding {
    match getrlimit(Resource::As).current {
        None => (Verdict::Good, "address space: not limited".into()),
        Some(bytes) => {
            let why = format!(
                "address space: limited to {bytes} bytes, and a sandbox reserves terabytes: ulimit -v unlimited"
            );
            (Verdict::Wrong, why)
        }
    }
}

fn mappings() -> Finding {
    let most = fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse::<u64>().ok());
    match most {
        Some(most) if most < MAPPINGS => (
            Verdict::Wrong,
            format!("memory mappings: {most} are too few for many cells: sysctl vm.max_map_count={MAPPINGS}"),
        ),
        Some(most) => (Verdict::Good, format!("memory mappings: {most}")),
        None => (Verdict::Note, "memory mappings: the system does not say how many there may be".into()),
    }
}

fn threads() -> Finding {
    match system::threads() {
        Ok(threads) => (Verdict::Good, format!("threads: {threads} more can be started")),
        Err(refused) => (Verdict::Wrong, format!("threads: {refused}")),
    }
}

fn descriptors() -> Finding {
    if let Err(refused) = system::descriptors() {
        return (Verdict::Wrong, format!("file descriptors: {refused}"));
    }
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < DESCRIPTORS => {
            (Verdict::Wrong, format!("file descriptors: {most} are too few: ulimit -n {DESCRIPTORS}"))
        }
        Some(most) => (Verdict::Good, format!("file descriptors: {most}")),
        None => (Verdict::Good, "file descriptors: not limited".into()),
    }
}

async fn nodes() -> Vec<Finding> {
    let (answer, unreachable) = match node::nodes().await {
        Ok(found) => found,
        Err(error) => return vec![(Verdict::Wrong, format!("nodes: cannot be looked for: {error}"))],
    };
    if answer.is_empty() && unreachable.is_empty() {
        return vec![(Verdict::Note, "nodes: none is running".into())];
    }
    let running = |address: &Address| (Verdict::Good, format!("node: {address}"));
    let failed = |(address, error): &(Address, std::io::Error)| {
        (Verdict::Wrong, format!("node: {address} cannot be reached: {error}"))
    };
    answer.iter().map(|(address, _)| running(address)).chain(unreachable.iter().map(failed)).collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "ok   ",
            Self::Note => "note ",
            Self::Wrong => "wrong",
        })
    }
}
