//! Random programs, valid by construction, through load, start and end: none is the node's fault, and none outlives its
//! limits.
//!
//! `WW_SMITH_PROGRAMS` says how many, [`PROGRAMS`] unless it is set. Each is made from its number, which a failure names.

use std::time::Duration;

use arbitrary::Unstructured;
use rand::{Rng, SeedableRng, rngs::StdRng};
use wasm_smith::{Config, Module};
use ww_core::{Limits, exit::Reason};

use crate::{
    Class, Spec, Stop,
    fixture::{next_id, runtime, stdio, wasm},
    programs::LoadError,
};

/// Programs of one run with the tests: a second or two.
const PROGRAMS: u64 = 60;

/// Bytes that a program is made from: some hundred instructions.
const ENTROPY: usize = 2_048;

/// What every program exports, so that it can be started.
const EXPORTS: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

fn config() -> Config {
    Config {
        exports: Some(wasm(EXPORTS).to_vec()),
        max_imports: 0,
        allow_start_export: true,
        max_memory32_bytes: 1 << 32,
        memory_max_size_required: false,
        // What the engines of a node do not take.
        gc_enabled: false,
        exceptions_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        custom_page_sizes_enabled: false,
        custom_descriptors_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_random_program_is_the_nodes_fault_or_outlives_its_limits() {
    let runtime = runtime();
    let programs = std::env::var("WW_SMITH_PROGRAMS").map_or(PROGRAMS, |number| number.parse().expect("a number"));
    let mut ran = 0;
    for number in 0..programs {
        let mut entropy = vec![0; ENTROPY];
        StdRng::seed_from_u64(number).fill_bytes(&mut entropy);
        let module = Module::new(config(), &mut Unstructured::new(&entropy)).expect("enough to make one from");
        // Both classes: their code differs.
        let memory = if number % 2 == 0 { 1 << 20 } else { 4 << 20 };
        let limits = Limits {
            memory,
            cpu: Some(Duration::from_millis(20)),
            deadline: Some(Duration::from_secs(20)),
            ..Limits::default()
        };
        let program = match runtime.load(module.to_bytes().into(), Class::for_memory(memory)).await {
            Ok(program) => program,
            Err(LoadError::Invalid(_) | LoadError::TooComplex(_)) => continue,
            Err(error) => panic!("program {number}: {error}"),
        };
        let (stdio, _stdin, _stdout) = stdio();
        let spec = Spec { limits, ..Spec::default() };
        let cell = runtime.run_main(next_id(), program, spec, stdio, Stop::default()).expect("it has no names");
        let reason = cell.exit().wait().await;
        let is_its_own = matches!(
            reason,
            Reason::Normal | Reason::Exit(_) | Reason::Trap(_) | Reason::Limit(_) | Reason::StartFailed(_)
        );
        assert!(is_its_own, "program {number}: {reason}");
        ran += 1;
    }
    assert!(ran >= programs / 2, "{ran} of {programs} ran: the engine takes less than they are made of");
}
