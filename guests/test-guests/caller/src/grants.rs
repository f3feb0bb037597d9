//! Handing capabilities on: none, narrowed ones, and taking them back.

use std::{cell::RefCell, rc::Rc};

use ww_guest::{
    capnp::{Error, traits::HasTypeId},
    capnp_rpc, loader,
    peer_capnp::{byte_stream, executor, host},
    rpc::{self, Cell, Executor, Narrowing, Process, Program, Registry},
};

use crate::{calls, say};

/// A stream that keeps what is written to it.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl byte_stream::Server for Kept {
    async fn write(
        self: Rc<Self>,
        params: byte_stream::WriteParams,
        _: byte_stream::WriteResults,
    ) -> Result<(), Error> {
        self.0.borrow_mut().extend_from_slice(params.get()?.get_data()?);
        Ok(())
    }
}

pub(crate) async fn obey(host: &host::Client, command: &str, args: &[&str]) -> Result<(), Error> {
    match (command, args) {
        ("nothing", []) => nothing(host).await,
        ("hand-on", []) => hand_on(host).await,
        ("hand-on-executor", []) => hand_on_executor(host).await,
        ("write-to", [name]) => outcome(write_to(host, name).await),
        ("read-from", [name]) => outcome(read_from(host, name).await),
        ("start-with", [name]) => outcome(start_with(host, name).await),
        _ => Err(Error::failed(format!("no such test: {command}"))),
    }
}

/// This program, to start children from.
async fn own_program(host: &host::Client) -> Result<Program, Error> {
    Executor::of(host).load(&loader::load("bin/main.wasm").map_err(Error::failed)?).await
}

/// A child that does something for each message, and prints what came of it.
fn child(program: &Program, args: &[&str]) -> Cell {
    args.iter().fold(Cell::fresh(program), |cell, arg| cell.arg(*arg))
}

async fn ask(child: &Process) -> Result<String, Error> {
    let reply = child.send("", None).await?;
    Ok(String::from_utf8_lossy(&reply).trim_end().to_owned())
}

async fn nothing(host: &host::Client) -> Result<(), Error> {
    let program = own_program(host).await?;
    for method in calls::METHODS {
        let child = Executor::of(host).spawn(&child(&program, &["host", method])).await?;
        say(&format!("{method}: {}", ask(&child).await?))?;
    }
    Ok(())
}

async fn hand_on(host: &host::Client) -> Result<(), Error> {
    let (program, executor) = (own_program(host).await?, Executor::of(host));
    let kept = Kept::default();
    let stream: byte_stream::Client = capnp_rpc::new_client(kept.clone());
    let only_write = Narrowing::new().methods::<byte_stream::Client>(&[1]);
    let (narrowed, revoker) = rpc::narrow(host, stream.clone(), &only_write).await?;
    let writer = executor.spawn(&child(&program, &["write-to", "out"]).grant("out", narrowed.clone())).await?;
    let reader = executor.spawn(&child(&program, &["read-from", "out"]).grant("out", narrowed)).await?;
    let whole = executor.spawn(&child(&program, &["write-to", "out"]).grant("out", stream)).await?;
    for child in [&writer, &writer, &reader, &whole] {
        say(&ask(child).await?)?;
    }
    revoker.revoke("the test says so").await?;
    for child in [&writer, &reader, &whole] {
        say(&ask(child).await?)?;
    }
    say(&String::from_utf8_lossy(&kept.0.borrow()))
}

async fn hand_on_executor(host: &host::Client) -> Result<(), Error> {
    let (program, executor) = (own_program(host).await?, Executor::of(host));
    // `load` and `spawn`, and names for what is spawned.
    let less =
        Narrowing::new().methods::<executor::Client>(&[2, 3]).may("wetware:cell/registry").children(1).memory(1 << 22);
    let (narrowed, revoker) = rpc::narrow(host, executor.client().clone(), &less).await?;
    assert_eq!(executor::Client::TYPE_ID, 0xbfa3_7c1e_99b4_a492, "the id is in the guide");
    let starter =
        child(&program, &["start-with", "executor"]).grant("executor", narrowed).grant("program", handed(&program));
    let starter = executor.spawn(&starter).await?;
    let registry = Registry::of(host);
    for _ in 0..2 {
        say(&ask(&starter).await?)?;
        say(&format!("names: {}", registry.names().await?.join(" ")))?;
    }
    let started = registry.whereis("started").await?.ok_or_else(|| Error::failed("nobody was started".into()))?;
    revoker.revoke("the test says so").await?;
    say(&format!("code {}", started.wait().await?))?;
    say(&ask(&starter).await?)?;
    say(&format!("names: {}", registry.names().await?.join(" ")))
}

fn handed(program: &Program) -> ww_guest::cell_capnp::program::Client {
    match program {
        Program::Loaded(client) => client.clone(),
        Program::Wasm(_) => unreachable!("it was loaded"),
    }
}

async fn write_to(host: &host::Client, name: &str) -> Result<(), Error> {
    let stream: byte_stream::Client = rpc::granted(host, name).await?;
    let mut request = stream.write_request();
    request.get().set_data(b"x");
    request.send().promise.await.map(drop)
}

async fn read_from(host: &host::Client, name: &str) -> Result<(), Error> {
    let stream: byte_stream::Client = rpc::granted(host, name).await?;
    let mut request = stream.read_request();
    request.get().set_max_bytes(1);
    request.send().promise.await.map(drop)
}

async fn start_with(host: &host::Client, name: &str) -> Result<(), Error> {
    let executor: Executor = rpc::granted::<executor::Client>(host, name).await?.into();
    let program = Program::Loaded(rpc::granted(host, "program").await?);
    executor.spawn(&child(&program, &["spin"]).name("started").memory(1 << 22).detached()).await.map(drop)
}

fn outcome(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Ok(()) => say("ok"),
        Err(error) => say(&format!("error: {error}")),
    }
}
