//! Builds the tree, and lets its cells work and crash.

use std::time::Duration;

use ww_guest::{
    capnp::Error,
    loader,
    rpc::{self, Cell, Executor, Process, Program, Supervision, Supervisor},
};

/// The whole tree.
fn tree(program: &Program) -> Supervision {
    let cell = |role: &str| Cell::live(program).name(role).arg(role).memory(16 << 20);
    let store = cell("store");
    let pipeline = Supervision::rest_for_one()
        .child("printer", cell("printer").may("wetware:cell/mail/store"))
        .child("router", cell("router").may("wetware:cell/mail/printer"))
        .child("parser", cell("parser").may("wetware:cell/mail/router"));
    // Workers have no names, so that there can be many.
    let pool = Supervision::simple_one_for_one(Cell::live(program).arg("worker").memory(16 << 20))
        .intensity(1, Duration::from_secs(60));
    Supervision::one_for_all().child("store", store).child("pipeline", pipeline).child("pool", pool)
}

pub(crate) fn run() -> Result<(), Error> {
    let wasm = loader::load("bin/main.wasm").map_err(Error::failed)?;
    rpc::run(|host| async move {
        let executor = Executor::of(&host);
        let program = executor.load(&wasm).await?;
        let root = executor.supervisor(&tree(&program)).await?;
        work(&root).await?;
        crash(&root).await?;
        root.stop().await?;
        println!("root ended: {}", root.wait().await?.1);
        Ok(())
    })
}

/// Sends a line through the pipeline.
async fn work(root: &Supervisor) -> Result<(), Error> {
    let parser = cell(&supervisor(root, "pipeline").await?, "parser").await?;
    println!("the pipeline answers {}", text(parser.send("  hello   world ", None).await?));
    println!("the store counts {}", count(root).await?);
    Ok(())
}

/// Lets workers crash, until it is too much.
async fn crash(root: &Supervisor) -> Result<(), Error> {
    let pool = supervisor(root, "pool").await?;
    for _ in 0..2 {
        pool.start_instance().await?;
    }
    let worker = pool.children().await?.remove(0);
    let first = worker.process().ok_or_else(|| Error::failed("the worker does not run".into()))?;
    println!("a worker is told to crash: {}", first.send("crash", None).await.is_err());
    println!("it ended with code {}", first.wait().await?);
    let second = loop {
        // Starts at once: whoever asks again has the new incarnation soon.
        match pool.child(&worker.id).await?.and_then(|child| child.process().cloned()) {
            Some(process) => break process,
            None => continue,
        }
    };
    println!("it was started again: {}", text(second.send("work", None).await?));
    println!("it is told to crash again: {}", second.send("crash", None).await.is_err());
    println!("the pool gave up: {}", pool.wait().await?.1);

    // Answered, with an error because it runs, when the pool has been started again.
    let running = root.restart_child("pool").await.is_err();
    println!("root started everything again: {running}");
    println!("the new pool has {} workers", supervisor(root, "pool").await?.children().await?.len());
    println!("the new store counts {}", count(root).await?);
    Ok(())
}

async fn count(root: &Supervisor) -> Result<String, Error> {
    Ok(text(cell(root, "store").await?.send("count", None).await?))
}

async fn supervisor(of: &Supervisor, id: &str) -> Result<Supervisor, Error> {
    let child = of.child(id).await?.and_then(|child| child.supervisor().cloned());
    child.ok_or_else(|| Error::failed(format!("no supervisor {id} runs")))
}

async fn cell(of: &Supervisor, id: &str) -> Result<Process, Error> {
    let child = of.child(id).await?.and_then(|child| child.process().cloned());
    child.ok_or_else(|| Error::failed(format!("no cell {id} runs")))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
