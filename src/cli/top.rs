//! `ww top`: a live screen of the cells of a node.
//!
//! | file | concept |
//! |---|---|
//! | `view` | which lines are to be seen: what is known of the cells, sorted, and who is selected |
//! | `screen` | the terminal: its modes, its size, and the lines that differ from those that are there |

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_current_process_group};
use tokio::{
    io::{AsyncReadExt, stdin},
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{
    Failure, code,
    node::{self, Node},
    place::Which,
    signals::{Signals, by_default, received, unless_ignored},
    target::Target,
};

mod screen;
mod view;

use screen::Screen;
use view::{Key, View, keys};

/// Stops a job, as control and z do.
const STOP: SignalKind = SignalKind::from_raw(libc::SIGTSTP);

/// Lets a stopped job go on.
const GO_ON: SignalKind = SignalKind::from_raw(libc::SIGCONT);

/// Bytes of what is typed at once.
const TYPED: usize = 64;

/// Watch the cells of a running node
///
/// A live screen of computing, memory, mailboxes and messages per second. Keys: c, m, d, r, i sort by CPU, memory, depth
/// of the mailbox, rate of messages, id; the arrows choose a cell, k kills it; q quits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,

    /// Milliseconds between two looks
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..))]
    interval: u64,
}

pub(super) fn top(runtime: &Runtime, args: Args) -> Result<u8, Failure> {
    if !Screen::is_there() {
        let message =
            "top needs a terminal for its input and its output: for a list use `ww ps`, for programs `ww ps --json`";
        return Err(Failure { code: code::USAGE, message: message.into() });
    }
    if super::is_dumb() {
        let message = "top moves about on its terminal, and TERM says that this one is dumb: for a list use `ww ps`";
        return Err(Failure { code: code::USAGE, message: message.into() });
    }
    node::ask(runtime, args.which, async |node| show(node, Duration::from_millis(args.interval)).await)
}

fn host(error: std::io::Error) -> Failure {
    Failure::new(code::HOST, &error)
}

async fn show(node: Node, every: Duration) -> Result<u8, Failure> {
    let mut signals = Signals::new().map_err(host)?;
    // The terminal is given back before the end.
    let code = watch(node, every, &mut signals).await?;
    Ok(signals.end(code))
}

async fn watch(node: Node, every: Duration, signals: &mut Signals) -> Result<u8, Failure> {
    let mut stop = unless_ignored(STOP).map_err(host)?;
    let mut go_on = signal(GO_ON).map_err(host)?;
    let mut resized = signal(SignalKind::window_change()).map_err(host)?;
    let mut view = View::default();
    view.update(node.cells().await?, Instant::now());
    // From here to the end, whatever the end is, the terminal is in another mode.
    let mut screen = Screen::enter().map_err(host)?;
    let (mut input, mut typed) = (stdin(), [0; TYPED]);
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (width, height) = screen.size();
        screen.draw(view.lines(width, height)).map_err(host)?;
        tokio::select! {
            _ = looks.tick() => view.update(node.cells().await?, Instant::now()),
            code = signals.next() => return Ok(code),
            () = received(&mut stop) => {
                // Others have the terminal meanwhile.
                screen.leave().map_err(host)?;
                by_default(STOP);
                screen.take().map_err(host)?;
            }
            // After a stop of which nothing tells.
            _ = go_on.recv() => screen.take().map_err(host)?,
            _ = resized.recv() => {}
            read = input.read(&mut typed) => {
                let read = read.map_err(host)?;
                if read == 0 {
                    return Ok(code::OK);
                }
                for key in keys(&typed[..read]) {
                    match key {
                        Key::Quit => return Ok(code::OK),
                        // All processes of this job stop together, this one by its signal.
                        Key::Suspend => kill_current_process_group(Signal::TSTP).map_err(|error| host(error.into()))?,
                        Key::Kill => kill(&node, &mut view).await,
                        Key::Redraw => screen.forget(),
                        Key::Sort(by) => view.sort(by),
                        Key::Up => view.select(-1),
                        Key::Down => view.select(1),
                    }
                }
            }
        }
    }
}

/// Ends the cell that is selected. What comes of it is in the last line.
async fn kill(node: &Node, view: &mut View) {
    let Some(cell) = view.selected() else { return };
    let killed = async {
        let process = node.process(&Target::Id(cell)).await?;
        node.answer(process.kill_request().send().promise).await
    };
    match killed.await {
        Ok(_) => view.say(format!("cell {cell} was killed")),
        Err(Failure { message, .. }) => view.say(format!("cell {cell}: {message}")),
    }
}
