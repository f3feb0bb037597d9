//! The image's cell while its program is compiled.

use std::sync::mpsc;

use bytes::Bytes;
use ww_cell::{Config, Duplex, Mode, Runtime};
use ww_core::{Name, Platform};
use ww_executor::{Guest, GuestVat, Serving};

use super::*;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Nobody;

impl GuestVat for Nobody {
    fn serve(&self, _: &Executor, _: Guest, _: Duplex) {}
}

/// Does something with an executor, and with what holds its compiler up until it is dropped.
fn with_slow_compiler<T>(test: impl AsyncFnOnce(&Executor, mpsc::Sender<()>) -> T) -> T {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let threads = threads.worker_threads(2).max_blocking_threads(1).enable_all().build().expect("threads start");
    let runtime = Runtime::start(Config::default(), threads.handle().clone()).expect("a runtime starts");
    let platform = Platform::start(threads.handle().clone()).expect("a platform starts");
    let executor = Executor::start(&platform.arbiter().expect("a thread starts"), runtime, Arc::new(Nobody));
    let (release, released) = mpsc::channel::<()>();
    // The only thread that may block is the one that compiles. The task ends with the sender.
    drop(threads.spawn_blocking(move || released.recv().expect_err("nothing is ever sent")));
    let done = threads.block_on(async {
        let done = timeout(PATIENCE, test(&executor, release)).await.expect("it takes far too long");
        executor.stop().await;
        done
    });
    drop(executor);
    platform.stop();
    done
}

fn image(name: &Name, wasm: impl Into<Bytes>) -> Spec {
    Spec { names: vec![name.clone()], ..Spec::new(wasm) }
}

async fn start(executor: &Executor, spec: Spec) -> Result<Supervised, SpawnError> {
    let work = Serving::new(Mode::Async).into();
    let started = Supervised::start(executor, spec, work, Restart::Permanent, |_| Ok::<_, SpawnError>(()));
    started.await.map(|(cell, ())| cell)
}

#[test]
fn nobody_waits_for_the_program_of_a_cell_that_was_killed() {
    with_slow_compiler(async |executor, compiler| {
        let (name, directory) = (Name::pid0(), executor.directory());
        let polls = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "poll")))"#);
        let killing = async {
            let id = directory.arrival(&name).await;
            directory.cell(id).expect("it was announced").stop(Reason::Killed);
        };
        let spec = image(&name, polls.expect("valid text"));
        let (refused, ()) = tokio::join!(start(executor, spec), killing);
        let Err(SpawnError::NotStarted(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.to_string().contains("killed"), "{reason}");
        assert_eq!(directory.names().owner(&name), None);
        drop(compiler);
    });
}

#[test]
fn what_is_wrong_with_a_program_is_told_as_it_is() {
    with_slow_compiler(async |executor, compiler| {
        drop(compiler);
        for number in 0..20 {
            // Bytes that were never seen before: what is known of them is told before there is a cell.
            let damaged = [b"\0asm\x01\0\0\0\xff", &[number][..]].concat();
            let refused = start(executor, image(&Name::pid0(), damaged)).await;
            assert!(matches!(&refused, Err(SpawnError::Program(error)) if error.is_invalid()), "{refused:?}");
        }
    });
}
