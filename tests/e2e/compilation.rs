//! Programs that are made to be compiled for long: they take places of their owner alone, and end with it.

use std::time::{Duration, Instant};

use capnp::Error;
use rustix::process::Signal;
use tokio::{net::UnixStream, task::LocalSet, time::timeout};
use ww_rpc::client::{self, Connection, Local};

use crate::{
    client::soon,
    harness::{Running, parent},
    image::Image,
    verbs::User,
};

/// Programs that the attacker asks for: more than are compiled at once.
const BOMBS: u32 = 8;

/// How long another client may wait for a program beside them: a moment, on a busy machine without optimisation.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program of 46 KB with so many variables in so many loops that the compiler takes minutes.
pub(crate) fn bomb(number: u32) -> Vec<u8> {
    let (variables, loops) = (5_000, 200);
    let (locals, open) = ("(local i32)".repeat(variables), "loop ".repeat(loops));
    let set: String =
        (0..variables).map(|local| format!("local.get {local} i32.const 1 i32.add local.set {local} ")).collect();
    let close = "local.get 0 br_if 0 end ".repeat(loops);
    let text =
        format!(r#"(module (global i32 (i32.const {number})) (func (export "_start") {locals} {open} {set} {close}))"#);
    wat::parse_str(text).expect("valid text")
}

async fn connect(socket: &str) -> (Connection, Local) {
    let stream = UnixStream::connect(socket).await.expect("the node listens");
    let (reader, writer) = tokio::io::split(stream);
    client::connect(reader, writer)
}

/// Asks for a program to be compiled.
fn load(node: &Local, wasm: &[u8]) -> impl Future<Output = Result<(), Error>> + use<> {
    let executor = node.host.executor_request().send().pipeline.get_executor();
    let mut request = executor.load_request();
    request.get().set_wasm(wasm);
    let answer = request.send().promise;
    async move { answer.await.map(drop) }
}

/// Waits until the node has started so many processes, or more.
async fn wait_for_processes(node: &Running<'_>, other: &Local, enough: impl Fn(usize) -> bool) {
    soon(async {
        while !enough(node.processes().len()) {
            soon(other.host.id_request().send().promise).await.expect("it is served");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_take_minutes_to_compile_hold_nobody_up_and_end_with_who_asked() {
    let (user, image) = (User::new(), Image::of("echo"));
    let socket = user.directory().join("my.sock").display().to_string();
    let control = format!("unix:{socket}");
    let node = user.run(&image, &["--async", "--name", "echo", "--control", &control]);
    let mut node = node.env("XDG_CACHE_HOME", user.directory()).start();
    node.wait_for_stderr("the cell serves messages");
    let test = async {
        let (_other, other) = connect(&socket).await;
        let (attacker, attacking) = connect(&socket).await;
        let bombs: Vec<_> = (0..BOMBS).map(|number| load(&attacking, &bomb(number))).collect();
        wait_for_processes(&node, &other, |running| running > 0).await;

        let began = Instant::now();
        let small = wat::parse_str("(module)").expect("valid text");
        let loaded = timeout(PATIENCE, load(&other, &small)).await.expect("it has a place of its own");
        loaded.expect("it is compiled");
        println!("{:?} for an empty program beside {BOMBS} that take minutes", began.elapsed());
        assert!(node.processes().len() <= 1, "an owner has one place");

        drop((bombs, attacking, attacker));
        wait_for_processes(&node, &other, |running| running == 0).await;
        let again = wat::parse_str("(module (memory 1))").expect("valid text");
        timeout(PATIENCE, load(&other, &again)).await.expect("nothing is left of them").expect("it is compiled");

        // None outlives a node that has no time to end it.
        let last = load(&other, &bomb(BOMBS));
        let (_third, third) = connect(&socket).await;
        wait_for_processes(&node, &third, |running| running > 0).await;
        let left = node.processes();
        assert!(!left.is_empty(), "one compiles");
        node.signal(Signal::KILL);
        soon(async {
            while left.iter().any(|&process| parent(process).is_some()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(last);
    };
    LocalSet::new().run_until(test).await;
}
