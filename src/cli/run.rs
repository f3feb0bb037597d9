//! `ww run`: boots an image.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::builder::{OsStringValueParser, TypedValueParser};
use tokio::{runtime::Handle, time::timeout};
use ww_cell::{Compiler, Mode, Worker};
use ww_core::{
    Name,
    exit::{self, Reason},
    supervisor::Restart,
    text,
};
use ww_executor::SpawnError;
use ww_image::{Loader, LoaderConfig};
use ww_net::{Multiaddr, PeerId};

use super::{Failure, code, env, signals::Signals, system};
use crate::{
    Boot, BootError, Config, Image, Node, Process, Published, StartError, Supervised,
    control::{Control, OpenError},
    node, serving,
    terminal::Terminal,
};

/// Boot an image: start a node and run the image's program in it
///
/// An image is a directory with the program at bin/main.wasm, a WebAssembly component or a core WASI preview 1
/// module, and settings of its cell at etc/ww.toml if it has any. The program's main runs once, with this
/// terminal as its standard streams; when it ends, everything that it started ends, and its exit code is the
/// exit code of this command. An image may say that it is started again (cell.restart). With --publish or --async it
/// serves messages instead, until it ends or the node is told to stop.
///
/// Exit codes besides the program's own: 64 wrong arguments, 66 the image cannot be loaded, 69 the port is taken,
/// 71 the node itself failed or output was lost, 78 wrong configuration or identity, 124 out of time, 126 could not
/// start, 129, 130 and 143 stopped by a signal, 134 trapped, 135 out of memory, 137 killed, 143 shut down.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A directory, or /ipfs/<cid>[/path]; must contain bin/main.wasm
    image: PathBuf,

    /// Swarm port, TCP and QUIC; 0 for any free port [default: 2020]
    #[arg(long)]
    port: Option<u16>,

    /// Address to listen on instead of every interface; repeatable
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<Multiaddr>,

    /// Let traps name function, file and line, if the program carries debug information
    #[arg(long)]
    wasm_debug: bool,

    /// Serve messages with one live instance, whose poll is called once per message
    #[arg(long = "async")]
    async_mode: bool,

    /// Accept streams of peers on /ww/0.1.0/<NAME>: each is one message, for a fresh instance unless --async is given
    #[arg(long)]
    publish: bool,

    /// Peer that may send messages to the cell, in the place of the image's list; repeatable [default: all]
    #[arg(long, value_name = "PEER")]
    allow: Vec<PeerId>,

    /// Name of the cell [default: the image's, else pid0]
    #[arg(long)]
    name: Option<Name>,

    /// Environment variable of the cell; repeatable; nothing is inherited
    #[arg(long, value_name = "KEY=VALUE", value_parser = env::variable)]
    env: Vec<(String, String)>,

    /// Control socket: unix:PATH, tcp:127.0.0.1:PORT or off [default: a Unix socket of this user]
    #[arg(
        long,
        value_name = "ADDR|off",
        value_parser = OsStringValueParser::new().try_map(|text| Control::try_from(text.as_os_str())),
    )]
    control: Option<Control>,

    /// Ed25519 key of the node, made at the first start [default: a file of this user]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// Settings of the node in TOML; options win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// RPC API of an IPFS daemon [default: http://localhost:5001]
    #[arg(long, value_name = "URL", value_parser = ipfs_url)]
    ipfs_url: Option<String>,

    /// Discover peers on the local network with mDNS, and let them discover this node
    #[arg(long)]
    mdns: bool,

    /// Arguments of the program
    #[arg(last = true)]
    args: Vec<String>,
}

fn ipfs_url(text: &str) -> Result<String, String> {
    let config = LoaderConfig { ipfs_url: text.to_owned(), ..LoaderConfig::default() };
    Loader::new(config).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) async fn run(args: Args, runtime: &Handle) -> Result<u8, Failure> {
    let worker = Worker::this_program().map_err(|error| Failure::new(code::HOST, &error))?;
    // A file may be a pipe: a signal ends the command while it waits there.
    let config = config(&args, worker).map_err(|error| Failure::new(code::CONFIG, &error))?;
    system::check_for_node()?;
    let mut signals = Signals::new().map_err(|error| Failure::new(code::HOST, &error))?;
    let code = start(args, config, runtime, &mut signals).await?;
    Ok(signals.end(code))
}

async fn start(args: Args, config: Config, runtime: &Handle, signals: &mut Signals) -> Result<u8, Failure> {
    let drain = config.drain;
    let image = tokio::select! {
        image = load(&config, &args.image) => image?,
        code = signals.next() => return Ok(code),
    };
    let node = tokio::select! {
        node = Node::start_closed(config, runtime.clone()) => node.map_err(|error| start_failure(&error))?,
        code = signals.next() => return Ok(code),
    };
    signals.listen_to(node.stop_requests());
    let name = args.name.clone().or_else(|| image.manifest.cell.name.clone()).unwrap_or_else(Name::pid0);
    // Clients are served once they find the cell, which is before its program is compiled.
    let opening = async {
        node.directory().arrival(&name).await;
        node.open();
        pending::<Infallible>().await
    };
    let ended = tokio::select! {
        ended = boot(&node, args, &name, image, runtime) => ended,
        never = opening => match never {},
        code = signals.next() => Ok(Booted::Stopped(code)),
    };
    if ended.is_ok() {
        node.open();
    }
    let code = match ended {
        Ok(Booted::Running(name, job, terminal)) => supervise(signals, drain, &name, job, terminal).await,
        Ok(Booted::Serving(name, cell, published)) => Ok(serve(signals, drain, &name, cell, published).await),
        Ok(Booted::Stopped(code)) => Ok(code),
        Err(failure) => Err(failure),
    };
    let stopped = async {
        node.stop().await;
        code
    };
    tokio::select! {
        code = stopped => code,
        code = signals.next() => Ok(code),
    }
}

enum Booted {
    Running(String, Job, Terminal),
    Serving(String, Supervised, Option<Published>),
    Stopped(u8),
}

/// A program on the terminal.
enum Job {
    Once(Process),
    /// Its image wants it to be started again.
    Again(Supervised),
}

impl Job {
    fn exit(&self) -> &exit::Watch {
        match self {
            Self::Once(process) => process.exit(),
            Self::Again(cell) => cell.exit(),
        }
    }

    /// Waits until it ends by itself, and lets it not be started again.
    async fn finish(&self) -> Reason {
        match self {
            Self::Once(process) => process.exit().wait().await,
            Self::Again(cell) => cell.finish().await,
        }
    }

    async fn shut_down(&self) -> Reason {
        match self {
            Self::Once(process) => process.shut_down().await,
            Self::Again(cell) => cell.shut_down().await,
        }
    }
}

async fn load(config: &Config, image: &Path) -> Result<Image, Failure> {
    let loader = node::loader(config).map_err(|error| Failure::new(code::CONFIG, &error))?;
    loader.load(image).await.map_err(|error| Failure::new(code::IMAGE, &error))
}

async fn boot(node: &Node, args: Args, name: &Name, image: Image, runtime: &Handle) -> Result<Booted, Failure> {
    let cell = &image.manifest.cell;
    let (async_mode, publish) = (args.async_mode || cell.async_mode, args.publish || cell.publish);
    let boot = Boot { name: args.name, args: args.args, env: args.env.into_iter().collect::<BTreeMap<_, _>>() };
    if async_mode || publish {
        let mode = if async_mode { Mode::Async } else { Mode::Sync };
        let serving = serving::of_image(&image.manifest, mode)
            .map_err(|error| boot_failure(&args.image, &BootError::Limits(error)))?;
        let audience = match &*args.allow {
            [] => serving::audience(&image.manifest).map_err(|message| Failure { code: code::IMAGE, message })?,
            peers => peers.iter().copied().collect(),
        };
        let served = if publish {
            let served = node.supervise_published(image, boot, serving, (name.clone(), audience)).await;
            served.map(|(cell, published)| (cell, Some(published)))
        } else {
            node.supervise(image, boot, serving).await.map(|cell| (cell, None))
        };
        let (cell, published) = served.map_err(|error| boot_failure(&args.image, &error))?;
        return Ok(Booted::Serving(name.to_string(), cell, published));
    }
    let (stdio, ends) = Terminal::pipes();
    let job = match cell.restart {
        None | Some(Restart::Temporary) => node.boot(image, boot, stdio).await.map(Job::Once),
        Some(_) => node.supervise(image, boot, stdio).await.map(Job::Again),
    };
    let job = job.map_err(|error| boot_failure(&args.image, &error))?;
    let terminal = Terminal::connect(ends, runtime).map_err(|error| Failure::new(code::HOST, &error))?;
    Ok(Booted::Running(name.to_string(), job, terminal))
}

/// Shortest time in which the output of a cell may be read that has used up the time for a stop.
const GRACE: Duration = Duration::from_millis(250);

/// Waits for the end of the cell, or for a signal: then it may go on for a while, without input, before it is shut
/// down. A second signal does not wait. Output that nobody reads holds no end up for longer than `drain`, and is told.
async fn supervise(
    signals: &mut Signals,
    drain: Duration,
    name: &str,
    job: Job,
    terminal: Terminal,
) -> Result<u8, Failure> {
    let mut left = drain;
    let stopped = tokio::select! {
        _ = job.exit().wait() => None,
        code = signals.next() => {
            let told = Instant::now();
            tracing::info!("stopping: the cell may finish within {drain:?}; another signal ends it at once");
            terminal.close_input();
            tokio::select! {
                ended = timeout(drain, job.finish()) => {
                    if ended.is_err() {
                        tracing::warn!("the cell did not finish in time: it is shut down");
                        job.shut_down().await;
                    }
                }
                _ = signals.next() => std::process::exit(signals.end(code).into()),
            }
            left = drain.saturating_sub(told.elapsed()).max(GRACE);
            Some(code)
        }
    };
    let lost = tokio::select! {
        finished = terminal.finish(left) => finished.err(),
        code = signals.next() => return Ok(stopped.unwrap_or(code)),
    };
    if let Some(lost) = &lost {
        super::say(&lost.to_string());
    }
    if let Some(code) = stopped {
        return Ok(code);
    }
    let reason = job.exit().wait().await;
    tell(name, &reason);
    Ok(match reason.code() {
        code::OK if lost.is_some() => code::HOST,
        code => code,
    })
}

/// Waits for the end of a cell that serves messages, or for a signal: then no message is taken any more, and the ones
/// that it has begun may finish. A second signal does not wait.
async fn serve(
    signals: &mut Signals,
    drain: Duration,
    name: &str,
    cell: Supervised,
    published: Option<Published>,
) -> u8 {
    tracing::info!(name, published = published.is_some(), "the cell serves messages");
    let code = tokio::select! {
        reason = cell.exit().wait() => {
            tell(name, &reason);
            reason.code()
        }
        code = signals.next() => {
            tracing::info!("stopping: messages that were begun may finish within {drain:?}; another signal breaks them off");
            code
        }
    };
    if let Some(published) = published {
        // Also after the end of the cell: whoever waits for an answer is told.
        tokio::select! {
            drained = timeout(drain, published.drain()) => {
                if drained.is_err() {
                    tracing::warn!("not every message was answered in time: the rest is broken off");
                }
            }
            _ = signals.next() => {}
        }
    }
    code
}

/// Says why a cell ended, where its exit code does not say everything.
fn tell(name: &str, reason: &Reason) {
    match reason {
        Reason::Normal | Reason::Exit(_) => {}
        Reason::Trap(trap) => super::say(&format!("{name} ended: {reason}\n{}", trap.backtrace.trim_end())),
        _ => super::say(&format!("{name} ended: {reason}")),
    }
}

fn config(args: &Args, worker: Worker) -> Result<Config, crate::config::Invalid> {
    let compiler = Compiler::Worker(worker);
    let mut config = Config { control: Control::User, compiler, ..Config::default() };
    if let Some(path) = &args.config {
        config = config.with_file(path)?;
    }
    if let Some(port) = args.port {
        config.port = port;
        config.listen.clear();
    }
    if !args.listen.is_empty() {
        config.listen = args.listen.clone();
    }
    if let Some(identity) = &args.identity {
        config.identity = Some(identity.clone());
    }
    if let Some(url) = &args.ipfs_url {
        config.ipfs_url = url.clone();
    }
    if let Some(control) = &args.control {
        config.control = control.clone();
    }
    config.wasm_debug |= args.wasm_debug;
    config.mdns |= args.mdns;
    Ok(config)
}

fn start_failure(error: &StartError) -> Failure {
    let code = match error {
        StartError::Identity(_) | StartError::Loader(_) | StartError::Control(OpenError::Io { .. }) => code::CONFIG,
        StartError::Control(_) => code::UNAVAILABLE,
        StartError::Net(ww_net::StartError::Unsupported { .. }) => code::USAGE,
        StartError::Net(_) => code::UNAVAILABLE,
        _ => code::HOST,
    };
    Failure::new(code, error)
}

fn boot_failure(image: &Path, error: &BootError) -> Failure {
    let code = match error {
        BootError::Limits(_) => code::IMAGE,
        BootError::Publish(error) => return Failure::new(code::UNAVAILABLE, error),
        BootError::Spawn(SpawnError::Program(error)) if error.is_invalid() => code::IMAGE,
        BootError::Spawn(error) if error.is_of_host() => code::HOST,
        BootError::Spawn(_) => code::START_FAILED,
    };
    let mut failure = Failure::new(code, error);
    failure.message = format!("cannot run {}: {}", text::name(image.display()), failure.message);
    failure
}
