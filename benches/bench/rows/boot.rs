//! `ww run` of the first image, as a process: from its start to its end, with an empty cache and with a full one.
//!
//! The floor is a process of this program that starts the same swarm on the same addresses, and ends.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;
use ww_core::Platform;
use ww_net::{Config, Identity, Net};

use super::Row;
use crate::{
    harness::{Plan, Record, Target, process, record::Better, sample::Sorted, threads},
    node::LISTEN,
};

pub(crate) const ROW: Row = Row { name: "boot", about: "`ww run` as a process", run };

/// The part that is measured in a process of its own.
pub(crate) const PART: &str = "swarm";

const IMAGE: &str = "examples/images/pid0";

fn run(plan: &Plan) -> Result<Vec<Record>> {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join(IMAGE);
    anyhow::ensure!(image.join("bin/main.wasm").is_file(), "{}: run `make images` first", image.display());
    let directory = tempfile::tempdir()?;
    let boot = |cache: &Path| -> Result<Duration> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ww"));
        command.env_clear().env("XDG_CACHE_HOME", cache).env("XDG_DATA_HOME", cache).env("XDG_RUNTIME_DIR", cache);
        command.arg("run").arg(&image);
        for addr in LISTEN {
            command.args(["--listen", addr]);
        }
        time(command)
    };
    let (mut cold, mut warm, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.pick(5, 1) {
        let empty = tempfile::tempdir_in(directory.path())?;
        cold.push(milliseconds(boot(empty.path())?));
        for _ in 0..plan.pick(4, 1) {
            floor.push(milliseconds(time(process::part(PART, &[])?)?));
            warm.push(milliseconds(boot(empty.path())?));
        }
    }
    let [cold, warm, floor] = [cold, warm, floor].map(Sorted::new);
    let record = |name: &str, sorted: &Sorted| {
        let mut record = Record::new(name, "ms", Better::Lower, sorted.median(), Some(floor.median()));
        (record.p50, record.p99) = (Some(sorted.median() * 1e3), Some(sorted.at(0.99) * 1e3));
        record
    };
    let beyond = Record::new("boot/warm/beyond-floor", "ms", Better::Lower, warm.median() - floor.median(), None);
    Ok(vec![record("boot/cold", &cold), record("boot/warm", &warm), beyond.target(Target::Value(50.0))])
}

/// From the start of a process to its end.
fn time(mut command: Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let output = command.output().context("a process")?;
    let took = begun.elapsed();
    anyhow::ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(took)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What the process of the floor does.
pub(crate) fn part() -> Result<()> {
    threads()?.block_on(async {
        let platform = Platform::start(Handle::current())?;
        let listen = LISTEN.iter().map(|addr| addr.parse()).collect::<Result<_, _>>()?;
        let config = Config { listen, ..Config::default() };
        let net = Net::start(config, Identity::ephemeral(), &platform.arbiter()?).await?;
        net.addrs().await;
        net.stop().await;
        platform.stop();
        Ok(())
    })
}
