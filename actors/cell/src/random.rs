//! WASI's random bytes, in pieces: the library's own functions make as many as are asked for in one step.
//!
//! Between two pieces the guest yields, as it does when it computes, so that the others have their turn.

use rand::Rng as _;
use wasmtime::{Caller, Extern, component};

use crate::{guest::Guest, preemption::Requeue};

/// Bytes that are made at once, before others have their turn.
const PIECE: usize = 64 << 10;

/// Most bytes that a component gets in one call, because the engine copies the result in one step, and
/// each page of the copy may have yet to be mapped. A preview 1 module gives the place where they belong, and needs no such bound.
const MOST: u64 = 1 << 20;

/// The versions of the interface that programs import: all are compatible.
const INTERFACES: [&str; 2] = ["wasi:random/random@0.2.12", "wasi:random/insecure@0.2.12"];

/// `errno` of preview 1.
const SUCCESS: i32 = 0;
const FAULT: i32 = 21;

/// Takes the place of what WASI 0.2 has linked.
pub(crate) fn add_to_component_linker(linker: &mut component::Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    for (interface, name) in INTERFACES.into_iter().zip(["get-random-bytes", "get-insecure-random-bytes"]) {
        linker.instance(interface)?.func_wrap_async(name, |store, (length,): (u64,)| {
            let requeue = store.data().requeue.clone();
            Box::new(async move {
                if length > MOST {
                    wasmtime::bail!("{length} random bytes in one call: expected at most {MOST}, ask several times");
                }
                let mut bytes = vec![0; usize::try_from(length)?];
                for piece in bytes.chunks_mut(PIECE) {
                    fill(piece, &requeue).await;
                }
                Ok((bytes,))
            })
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// Takes the place of what preview 1 has linked, in a linker that lets it.
pub(crate) fn add_to_module_linker(linker: &mut wasmtime::Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("wasi_snapshot_preview1", "random_get", |mut caller, (start, length): (u32, u32)| {
        Box::new(async move { random_get(&mut caller, start, length).await })
    })?;
    Ok(())
}

async fn random_get(caller: &mut Caller<'_, Guest>, start: u32, length: u32) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("missing required memory export");
    };
    let (start, length) = (usize::try_from(start)?, usize::try_from(length)?);
    let requeue = caller.data().requeue.clone();
    let end = start.saturating_add(length);
    if end > memory.data_size(&mut *caller) {
        return Ok(FAULT);
    }
    for from in (start..end).step_by(PIECE) {
        let to = end.min(from.saturating_add(PIECE));
        // Memory does not shrink, and nothing else of the guest runs meanwhile.
        let Some(piece) = memory.data_mut(&mut *caller).get_mut(from..to) else { return Ok(FAULT) };
        fill(piece, &requeue).await;
    }
    Ok(SUCCESS)
}

/// Fills a piece. After a whole one, others have their turn.
async fn fill(piece: &mut [u8], requeue: &Requeue) {
    rand::rng().fill_bytes(piece);
    if piece.len() == PIECE {
        requeue.yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use ww_core::{Limits, exit::Reason};

    use crate::fixture::{runtime, start};

    /// Asks for so many bytes, and ends well if they have come.
    fn asking(interface: &str, function: &str, length: u64) -> String {
        format!(
            r#"(component
            (import "wasi:random/{interface}@0.2.3" (instance $random
                (export "{function}" (func (param "len" u64) (result (list u8))))))
            (core module $libc (memory (export "memory") 1)
                (global $free (mut i32) (i32.const 64))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                    (local.set $at (global.get $free))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (drop (memory.grow (i32.shr_u (i32.add (local.get 3) (i32.const 65535)) (i32.const 16))))
                    (local.get $at)))
            (core instance $libc (instantiate $libc))
            (core func $bytes (canon lower (func $random "{function}")
                (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core module $main (import "host" "bytes" (func $bytes (param i64 i32)))
                (import "libc" "memory" (memory 1))
                (func (export "run") (result i32) (call $bytes (i64.const {length}) (i32.const 8))
                    (i32.ne (i32.load (i32.const 12)) (i32.const {length}))))
            (core instance $main (instantiate $main
                (with "host" (instance (export "bytes" (func $bytes)))) (with "libc" (instance $libc))))
            (func $run (result (result)) (canon lift (core func $main "run")))
            (instance $run (export "run" (func $run)))
            (export "wasi:cli/run@0.2.3" (instance $run)))"#
        )
    }

    #[tokio::test]
    async fn components_get_as_many_as_they_ask_for_up_to_a_bound() {
        for (interface, function) in [("random", "get-random-bytes"), ("insecure", "get-insecure-random-bytes")] {
            for length in [0, 1, super::MOST] {
                let cell = start(&runtime(), &asking(interface, function, length), Limits::default()).await.cell;
                assert_eq!(cell.exit().wait().await, Reason::Normal, "{function} {length}");
            }
            let cell = start(&runtime(), &asking(interface, function, super::MOST + 1), Limits::default()).await.cell;
            let reason = cell.exit().wait().await;
            assert!(reason.to_string().contains("expected at most 1048576"), "{function}: {reason}");
        }
    }
}
