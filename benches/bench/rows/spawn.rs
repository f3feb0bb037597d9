//! A cell in sync mode answers a message: a fresh instance of a Rust std guest, whose `main` echoes 64 bytes through
//! WASI's standard streams, and which is gone with the reply.
//!
//! The floor is the same on the bare engine, without a mailbox in front of it.

use anyhow::Result;
use ww::cell::{Class, Mode};

use super::{Row, asks, message, same};
use crate::{
    floor,
    harness::{Plan, Record, Side, Target, compare, threads},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row =
    Row { name: "spawn", about: "a message in, a fresh instance, its reply, the instance gone", run };

const GUEST: &str = "mirror";
const BYTES: usize = 64;

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let sandbox = Sandbox::start()?;
        let cell = sandbox.cell(&sandbox.load(GUEST, Class::Standard).await?, node::spec(Mode::Sync))?;
        let bare = sandbox.bare(GUEST)?;
        let message = message(BYTES);
        let run_once = move |bare| async move { same(&floor::run_once(&bare, &[], message).await?, message) };
        let (floor, value) = (Side::new(bare, run_once), asks(&cell, message));
        let one = compare(plan, &value, &floor).await?;
        let many = compare(plan, &value.in_flight(8), &floor.in_flight(8)).await?;
        Ok(vec![
            Record::time("spawn", &one).target(Target::Ratio(1.5)),
            Record::rate("spawn/rate", &one).target(Target::Value(60_000.0)),
            Record::rate("spawn/8-at-once", &many).target(Target::Ratio(1.5)),
        ])
    })
}
