//! A live cell is asked through `handle`.
//!
//! The floor is a task with a bounded channel that calls the same function of the same guest, and answers through a
//! oneshot: an actor without anything around it. Both run on the same threads.

use anyhow::Result;
use ww::cell::{Class, Mode};

use super::{IN_FLIGHT, Row, SIZES, asks, message, same};
use crate::{
    floor::{Actor, Handling},
    harness::{Plan, Record, Side, Target, compare, threads},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row = Row { name: "ask", about: "a live cell answers through `handle`", run };

const GUEST: &str = "mite";

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let sandbox = Sandbox::start()?;
        let cell = sandbox.cell(&sandbox.load(GUEST, Class::Standard).await?, node::spec(Mode::Async))?;
        let program = sandbox.bare(GUEST)?;
        let actor = Actor::start(Handling::start(&program).await?);
        let mut records = Vec::new();
        for (bytes, size) in SIZES {
            for in_flight in IN_FLIGHT {
                let (floor, value) = sides(&actor, &cell, bytes);
                let both = compare(plan, &value.in_flight(in_flight), &floor.in_flight(in_flight)).await?;
                let name = format!("ask/{size}/{in_flight}");
                if in_flight == 1 {
                    records.push(Record::time(name, &both).target(Target::Ratio(1.3)));
                } else {
                    records.push(Record::rate(&name, &both).target(Target::Ratio(1.3)));
                    if bytes == 16 {
                        records.push(Record::rate(name + "/rate", &both).target(Target::Value(900_000.0)));
                    }
                }
            }
        }
        Ok(records)
    })
}

/// The floor and the node, asked with messages of so many bytes.
pub(super) fn sides(actor: &Actor, cell: &ww::cell::Cell, bytes: usize) -> (Side, Side) {
    let message = message(bytes);
    let floor = Side::new(actor.clone(), move |actor| async move { same(&actor.ask(message).await?, message) });
    (floor, asks(cell, message))
}
