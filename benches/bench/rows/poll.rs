//! A live cell is asked through `poll`: the message on its standard input, the reply on its standard output.
//!
//! The floor is the actor of `ask` around a bare instance, whose standard streams are bytes in memory that are armed anew
//! for each message.

use anyhow::Result;
use ww::cell::{Class, Mode};

use super::{IN_FLIGHT, Row, SIZES, ask::sides};
use crate::{
    floor::{Actor, Polling},
    harness::{Plan, Record, Target, compare, threads},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row = Row { name: "poll", about: "a live cell answers through `poll` and its streams", run };

const GUEST: &str = "mirror";

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let sandbox = Sandbox::start()?;
        let cell = sandbox.cell(&sandbox.load(GUEST, Class::Standard).await?, node::spec(Mode::Async))?;
        let program = sandbox.bare(GUEST)?;
        let actor = Actor::start(Polling::start(&program).await?);
        let mut records = Vec::new();
        for (bytes, size) in SIZES {
            for in_flight in IN_FLIGHT {
                let (floor, value) = sides(&actor, &cell, bytes);
                let both = compare(plan, &value.in_flight(in_flight), &floor.in_flight(in_flight)).await?;
                let name = format!("poll/{size}/{in_flight}");
                let record = if in_flight == 1 { Record::time(name, &both) } else { Record::rate(name, &both) };
                records.push(record.target(Target::Ratio(1.5)));
            }
        }
        Ok(records)
    })
}
