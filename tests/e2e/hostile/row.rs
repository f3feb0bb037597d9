//! One attack: what it does, what is measured beside it, and how that is judged.

use std::{
    fmt,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use capnp::Error;
use tokio::sync::oneshot;

use super::{
    bar::{Bar, ENOUGH, GROWTH},
    enemy::{Attack, Enemy},
    node::Victim,
    probes::{Asking, Latencies, Probe, local},
};
use crate::harness::PATIENCE;

/// How often the memory of a node is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// One attack.
pub(super) struct Row {
    pub(super) name: &'static str,
    attack: Attack,
    /// What the account of the principal holds at most, with the linear memory of its cells.
    account: u64,
    /// Whether the cell that is attacked is asked as well.
    asks_attacked: bool,
}

/// A node, the principal that attacks it, and those who mean well beside it.
pub(super) struct Scene<'image> {
    pub(super) principal: &'static str,
    pub(super) victim: Victim<'image>,
    pub(super) enemy: Enemy,
    /// A client and a peer that ask the same cell, and a peer that asks the one that is attacked.
    pub(super) asking: [Asking; 3],
    pub(super) bar: Bar,
}

/// What was seen of one attack.
pub(super) struct Measured {
    name: &'static str,
    account: u64,
    blows: u64,
    latencies: Vec<Latencies>,
    before: u64,
    largest: u64,
    stays: u64,
}

/// Does something again and again, whatever becomes of it.
pub(super) fn attack<F>(doing: impl Fn(Rc<Enemy>) -> F + Clone + Send + Sync + 'static) -> Attack
where
    F: Future<Output = Result<(), Error>> + 'static,
{
    Arc::new(move |enemy| {
        let doing = doing.clone();
        Box::pin(async move {
            loop {
                if let Err(error) = doing(Rc::clone(&enemy)).await {
                    enemy.failed(error);
                }
                tokio::task::yield_now().await;
            }
        })
    })
}

impl Row {
    pub(super) fn new(name: &'static str, account: u64, attack: Attack) -> Self {
        Self { name, attack, account, asks_attacked: false }
    }

    pub(super) fn asking_attacked(self, asks_attacked: bool) -> Self {
        Self { asks_attacked, ..self }
    }

    /// Attacks the node for as long as the bar says, and asks newcomers afterwards.
    pub(super) fn run(&self, scene: &mut Scene<'_>) -> Measured {
        let before = scene.memory();
        scene.enemy.begin();
        let runtime = scene.victim.runtime.handle().clone();
        let asking = if self.asks_attacked { &scene.asking[..] } else { &scene.asking[..2] };
        let probes: Vec<_> = asking.iter().map(|asking| Probe::start(&runtime, asking.clone())).collect();
        let (stop, attacker) = self.start(scene);
        let largest = self.watch(scene, &attacker);
        let latencies: Option<Vec<_>> = probes.into_iter().map(Probe::stop).collect();
        let largest = largest.max(scene.memory());
        stop.send(()).unwrap_or_default();
        self.join(scene, attacker);
        scene.enemy.leave(&runtime);
        let (Some(latencies), Some(_)) = (latencies, scene.newcomers()) else {
            scene.give_up(self.name, "somebody who means well was not answered")
        };
        let stays = scene.memory();
        let blows = scene.enemy.blows.load(Ordering::Relaxed);
        Measured { name: self.name, account: self.account, blows, latencies, before, largest, stays }
    }

    /// Begins, on a thread of its own.
    fn start(&self, scene: &Scene<'_>) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (attack, enemy) = (Arc::clone(&self.attack), scene.enemy.clone());
        let runtime = scene.victim.runtime.handle().clone();
        let attacker = thread::spawn(move || {
            local(&runtime, async {
                tokio::select! {
                    () = attack(Rc::new(enemy)) => {}
                    _ = stopped => {}
                }
            });
        });
        (stop, attacker)
    }

    /// Looks at the memory of the node until the attack has arrived and its time is over. Returns the most.
    fn watch(&self, scene: &mut Scene<'_>, attacker: &JoinHandle<()>) -> u64 {
        let (began, mut largest) = (Instant::now(), 0);
        while began.elapsed() < scene.bar.time || scene.enemy.blows.load(Ordering::Relaxed) == 0 {
            largest = largest.max(scene.memory());
            thread::sleep(LOOK);
            if attacker.is_finished() {
                scene.give_up(self.name, "the attack has ended by itself");
            }
            if began.elapsed() > scene.bar.time + PATIENCE {
                scene.give_up(self.name, "the attack has not arrived");
            }
        }
        largest
    }

    fn join(&self, scene: &mut Scene<'_>, attacker: JoinHandle<()>) {
        let began = Instant::now();
        while !attacker.is_finished() {
            if began.elapsed() > PATIENCE {
                scene.give_up(self.name, "the attack does not end");
            }
            thread::sleep(LOOK);
        }
        attacker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

impl Scene<'_> {
    pub(super) fn memory(&mut self) -> u64 {
        self.victim.server.running.anonymous()
    }

    /// What those get who come anew; nothing if one of them was not answered.
    pub(super) fn newcomers(&self) -> Option<Vec<Latencies>> {
        let all = self.asking.clone().map(|asking| Probe::start(self.victim.runtime.handle(), asking));
        all.into_iter().map(Probe::stop).collect()
    }

    /// Fails the test, and shows the last error of the attack and what the node has said.
    #[track_caller]
    pub(super) fn give_up(&mut self, row: &str, why: &str) -> ! {
        let why = format!("{}, {row}: {why}; last error of the attack: {}", self.principal, self.enemy.last());
        self.victim.server.running.give_up(&why)
    }
}

impl Measured {
    /// What is not as the bar has it.
    pub(super) fn faults(&self, bar: &Bar) -> Vec<String> {
        let mut faults = Vec::new();
        if self.latencies.iter().any(|latencies| latencies.len() == 0) {
            faults.push(format!("{}: somebody who means well has asked nothing", self.name));
        }
        for latencies in &self.latencies[..2] {
            // Each answer came in the time that the harness has patience.
            let percent = if bar.soaks && latencies.len() >= ENOUGH { 99 } else { 50 };
            if latencies.percentile(percent) > bar.latency {
                let most = bar.latency;
                faults.push(format!("{}: {percent} of 100 answers took {latencies}, expected {most:?}", self.name));
            }
        }
        let (grown, most) = (self.largest.saturating_sub(self.before), self.account + GROWTH);
        if grown > most {
            let (grown, most) = (grown >> 20, most >> 20);
            faults.push(format!("{}: the node grew by {grown} MiB, expected {most} at most", self.name));
        }
        faults
    }

    /// What is not given back after all attacks on a node.
    pub(super) fn remainder(all: &[Self]) -> Option<String> {
        let (first, last) = (all.first()?, all.last()?);
        let most = GROWTH + all.iter().map(|row| row.account).max()?;
        let stays = last.stays.saturating_sub(first.before);
        let fault = || format!("{} MiB stay in the node, expected {} at most", stays >> 20, most >> 20);
        (stays > most).then(fault)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grown = |now: u64| now.saturating_sub(self.before) >> 20;
        let latencies = self.latencies.iter().map(Latencies::to_string).collect::<Vec<_>>().join(" | ");
        let (largest, stays, account) = (grown(self.largest), grown(self.stays), self.account >> 20);
        let Self { name, blows, .. } = self;
        write!(f, "{name} | {blows} blows | {latencies} | {largest} of {account}+{} MiB, {stays} stay", GROWTH >> 20)
    }
}
