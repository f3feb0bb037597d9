//! One cell asks another one, and sends to it without waiting.
//!
//! The floor of a request is two bare calls, one on either side, and the channels between; of a message one way it is one
//! call behind a channel.

use anyhow::Result;
use ww::cell::{Cell, Class};

use super::{Row, command};
use crate::{
    floor::{Actor, Answer as _, Handling, Program},
    harness::{Plan, Record, Side, Target, compare, threads},
    node::{self, Sandbox},
};

pub(crate) const ROW: Row = Row { name: "cell-to-cell", about: "one cell asks another one, and tells it", run };

const GUEST: &str = "relay";
const MESSAGE: &[u8] = &[b'.'; 16];

/// Messages that one call stands for: so many that what starts them does not count.
const TIMES: usize = 2_000;

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let sandbox = Sandbox::start()?;
        let program = sandbox.load(GUEST, Class::Small).await?;
        let [from, to] = [sandbox.cell(&program, node::small())?, sandbox.cell(&program, node::small())?];
        let bare = sandbox.bare(GUEST)?;
        let actor = Actor::start(Handling::start(&bare).await?);
        let times = plan.pick(TIMES, 50);

        let value = order(&from, &to, b'r', times);
        let round_trips = compare(plan, &value, &asking(&bare, &actor, times)).await?;
        let value = order(&from, &to, b's', times);
        let one_way = compare(plan, &value, &telling(&actor, times)).await?;
        Ok(vec![
            Record::time("cell-to-cell/request", &round_trips).target(Target::Ratio(1.3)),
            Record::rate("cell-to-cell/request/rate", &round_trips).target(Target::Value(500_000.0)),
            Record::time("cell-to-cell/send", &one_way).target(Target::Ratio(2.0)),
            Record::rate("cell-to-cell/send/rate", &one_way).target(Target::Value(2_000_000.0)),
        ])
    })
}

/// One cell sends to the other so often.
fn order(from: &Cell, to: &Cell, what: u8, times: usize) -> Side {
    let with = (from.clone(), command(what, &[to.id().get(), times as u64]));
    let side =
        Side::new(with, |(from, message)| async move { Ok(from.ask(from.envelope(None), message).await.map(drop)?) });
    side.weight(times)
}

/// A call of the asker's own, and then a question.
fn asking(program: &Program, actor: &Actor, times: usize) -> Side {
    let side = Side::new((program.clone(), actor.clone()), move |(program, actor)| async move {
        let mut asker = Handling::start(&program).await?;
        for _ in 0..times {
            asker.answer(MESSAGE).await?;
            actor.ask(MESSAGE).await?;
        }
        Ok(())
    });
    side.weight(times)
}

fn telling(actor: &Actor, times: usize) -> Side {
    let side = Side::new(actor.clone(), move |actor| async move {
        for _ in 0..times {
            actor.tell(MESSAGE).await?;
        }
        // Whoever is asked has served what came before.
        actor.ask(MESSAGE).await.map(drop)
    });
    side.weight(times)
}
