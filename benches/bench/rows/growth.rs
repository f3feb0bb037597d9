//! How cost grows: with the bytes of a message, from 1 to 64 Mi, and with the messages in flight, from 1 to 64.
//!
//! Messages that travel as a whole go through `handle`, all sizes go through `poll` as streams. The floors are those of
//! `ask` and `poll`. How cost grows with the number of cells is in `density`.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::Mutex;
use ww::cell::{Cell, Class, Mode, pipe, pipe::CAPACITY};

use super::{Row, ask::sides, message};
use crate::{
    floor::{Actor, Answer as _, Handling, Polling},
    harness::{Plan, Record, Side, Target, compare, threads},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row = Row { name: "growth", about: "cost over bytes and messages in flight", run };

/// Bytes of a message, with what the table calls them; those from `WHOLE` on travel as streams only.
const SIZES: [(usize, &str); 8] = [
    (1, "1B"),
    (16, "16B"),
    (256, "256B"),
    (4 << 10, "4KiB"),
    (64 << 10, "64KiB"),
    (1 << 20, "1MiB"),
    (16 << 20, "16MiB"),
    (64 << 20, "64MiB"),
];
const WHOLE: usize = 4 << 20;

/// Batches of each side: a line through many points needs less of each.
const PAIRS: usize = 8;

fn run(plan: &Plan) -> Result<Vec<Record>> {
    let plan = &plan.clone().at_most(PAIRS);
    threads()?.block_on(async {
        let sandbox = Sandbox::start()?;
        let handling = sandbox.cell(&sandbox.load("mite", Class::Standard).await?, node::spec(Mode::Async))?;
        let polling = sandbox.cell(&sandbox.load("mirror", Class::Standard).await?, node::spec(Mode::Async))?;
        let actor = Actor::start(Handling::start(&sandbox.bare("mite")?).await?);
        let bare = Arc::new(Mutex::new(Polling::start(&sandbox.bare("mirror")?).await?));
        let mut records = Vec::new();
        let mut add = |name: String, both| records.push(Record::time(name, &both).target(Target::None));
        for (bytes, size) in &SIZES[..plan.pick(SIZES.len(), 6)] {
            if *bytes <= WHOLE {
                let (floor, value) = sides(&actor, &handling, *bytes);
                add(format!("growth/handle/{size}"), compare(plan, &value, &floor).await?);
            }
            let (floor, value) = streams(&bare, &polling, *bytes);
            add(format!("growth/stream/{size}"), compare(plan, &value, &floor).await?);
        }
        for in_flight in [1, 2, 4, 8, 16, 32, 64] {
            let (floor, value) = sides(&actor, &handling, 16);
            let both = compare(plan, &value.in_flight(in_flight), &floor.in_flight(in_flight)).await?;
            add(format!("growth/in-flight/{in_flight}"), both);
        }
        Ok(records)
    })
}

/// A bare instance that has the whole message in memory, and a cell whose message and reply are streams.
fn streams(bare: &Arc<Mutex<Polling>>, cell: &Cell, bytes: usize) -> (Side, Side) {
    let message = message(bytes);
    let floor = Side::new(Arc::clone(bare), move |bare| async move {
        let reply = bare.lock().await.answer(message).await?;
        anyhow::ensure!(reply.len() == message.len(), "{} bytes came back", reply.len());
        Ok(())
    });
    let value = Side::new(cell.clone(), move |cell| async move { stream(&cell, message).await });
    (floor, value)
}

async fn stream(cell: &Cell, message: &'static [u8]) -> Result<()> {
    let (request, guest_request) = pipe::pipe(CAPACITY);
    let (guest_reply, reply) = pipe::pipe(CAPACITY);
    let serving = async { anyhow::Ok(cell.process_message(cell.envelope(None), guest_request, guest_reply).await?) };
    let writing = async {
        request.write_all(message).await?;
        request.close();
        Ok(())
    };
    let reading = async {
        let mut read = 0;
        loop {
            match reply.read(usize::MAX).await?.len() {
                0 => break,
                bytes => read += bytes,
            }
        }
        anyhow::ensure!(read == message.len(), "{read} bytes came back");
        Ok(())
    };
    // Begins with the first, so that the cell finds what there is of the message.
    tokio::try_join!(writing, serving, reading).map(drop)
}
