//! Functions of WASI that name a list: of buffers, of which the library looks at one after the other until one is not empty,
//! in one step; of clocks and streams to wait for, of which it makes an object each. So the list has the length that systems
//! give it, and the count is looked at before.

use wasmtime::{
    AsContextMut as _, Caller, Extern, Linker,
    component::{self, Resource, WasmList},
};
use wasmtime_wasi::{
    p1::{
        WasiP1Ctx,
        wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1 as _},
    },
    p2::{DynPollable, bindings::io::poll::Host as _},
};
use wiggle::GuestMemory;

use crate::guest::Guest;

/// Most entries of one list: `IOV_MAX` of Linux, which no library of a language exceeds, and as many files as a process of
/// POSIX waits for by default.
const MOST: u32 = 1_024;

/// `errno` of preview 1 for more, as POSIX has it.
const INVALID: i32 = 28;

/// Takes the place of what WASI 0.2 has linked. Of the list it has only the length, until it is known to be short.
pub(crate) fn add_to_component_linker(linker: &mut component::Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:io/poll@0.2.12")?.func_wrap_async(
        "poll",
        |mut store, (list,): (WasmList<Resource<DynPollable>>,)| {
            Box::new(async move {
                let length = list.len();
                if length > MOST as usize {
                    wasmtime::bail!("{length} pollables in one call: expected at most {MOST}, wait for fewer at once");
                }
                let pollables = list.iter(store.as_context_mut())?.collect::<wasmtime::Result<Vec<_>>>()?;
                Ok((store.data_mut().table().poll(pollables).await?,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Takes the place of what preview 1 has linked, in a linker that lets it.
pub(crate) fn add_to_module_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    macro_rules! bounded {
        ($name:ident, $($argument:ident: $kind:ty),*) => {
            linker.func_wrap_async(
                "wasi_snapshot_preview1",
                stringify!($name),
                |mut caller, (fd, buffers, count, $($argument),*): (i32, i32, i32, $($kind),*)| {
                    Box::new(async move {
                        if count.cast_unsigned() > MOST {
                            return Ok(INVALID);
                        }
                        let (ctx, mut memory) = parts(&mut caller)?;
                        preview1::$name(ctx, &mut memory, fd, buffers, count, $($argument),*).await
                    })
                },
            )?;
        };
    }
    bounded!(fd_read, done: i32);
    bounded!(fd_write, done: i32);
    bounded!(fd_pread, offset: i64, done: i32);
    bounded!(fd_pwrite, offset: i64, done: i32);
    // Subscriptions, events, and how many of them: the number is in the same place.
    bounded!(poll_oneoff, done: i32);
    Ok(())
}

/// What the library's functions work on.
fn parts<'a>(caller: &'a mut Caller<'_, Guest>) -> wasmtime::Result<(&'a mut WasiP1Ctx, GuestMemory<'a>)> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("missing required memory export");
    };
    let bytes = caller.as_context_mut().hostcall_fuel();
    let (memory, guest) = memory.data_and_store_mut(caller);
    let ctx = guest.p1();
    ctx.set_hostcall_fuel(bytes);
    Ok((ctx, GuestMemory::Unshared(memory)))
}

#[cfg(test)]
mod tests {
    use ww_core::{Limits, exit::Reason};

    use super::*;
    use crate::fixture::{runtime, start};

    /// Waits for a clock that is due, and names it so often in one call. Twice, so that no handle is lent for longer.
    fn waiting(count: u32) -> String {
        format!(
            r#"(component
            (import "wasi:io/poll@0.2.3" (instance $poll
                (export "pollable" (type $pollable (sub resource)))
                (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
            (alias export $poll "pollable" (type $pollable))
            (import "wasi:clocks/monotonic-clock@0.2.3" (instance $clock
                (alias outer 1 $pollable (type $outer))
                (export "pollable" (type $own (eq $outer)))
                (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
            (core module $libc (memory (export "memory") 40)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192)))
            (core instance $libc (instantiate $libc))
            (core func $subscribe (canon lower (func $clock "subscribe-duration")))
            (core func $poll (canon lower (func $poll "poll")
                (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core func $drop (canon resource.drop $pollable))
            (core module $main
                (import "libc" "memory" (memory 1))
                (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
                (import "host" "poll" (func $poll (param i32 i32 i32)))
                (import "host" "drop" (func $drop (param i32)))
                (func $wait (param $pollable i32) (call $poll (i32.const 65536) (i32.const {count}) (i32.const 8))
                    (if (i32.ne (i32.load (i32.const 12)) (i32.const {count})) (then (unreachable))))
                (func (export "run") (result i32) (local $pollable i32) (local $turn i32)
                    (local.set $pollable (call $subscribe (i64.const 0)))
                    (loop $more
                        (i32.store (i32.add (i32.const 65536) (i32.mul (local.get $turn) (i32.const 4)))
                            (local.get $pollable))
                        (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
                        (br_if $more (i32.lt_u (local.get $turn) (i32.const {count}))))
                    (call $wait (local.get $pollable)) (call $wait (local.get $pollable))
                    (call $drop (local.get $pollable))
                    (i32.const 0)))
            (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "host" (instance
                (export "subscribe" (func $subscribe)) (export "poll" (func $poll)) (export "drop" (func $drop))))))
            (func $run (result (result)) (canon lift (core func $main "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.3" (instance $cli)))"#
        )
    }

    #[tokio::test]
    async fn a_component_waits_for_as_many_at_once_as_a_module() {
        for count in [1, MOST] {
            let cell = start(&runtime(), &waiting(count), Limits::default()).await.cell;
            assert_eq!(cell.exit().wait().await, Reason::Normal, "{count}");
        }
        for count in [MOST + 1, 500_000] {
            let cell = start(&runtime(), &waiting(count), Limits::default()).await.cell;
            let reason = cell.exit().wait().await.to_string();
            assert!(reason.contains(&format!("{count} pollables in one call: expected at most 1024")), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_list_has_the_length_that_systems_give_it() {
        // Empty buffers, which all would be looked at. The library takes a read of nothing for one that was interrupted. To
        // `poll_oneoff` it is a list of clocks that are due.
        for (function, allowed) in [("fd_read", 27), ("fd_write", 0), ("poll_oneoff", 0)] {
            for (count, errno) in [(MOST, allowed), (MOST + 1, INVALID), (2_000_000, INVALID), (u32::MAX, INVALID)] {
                let program = format!(
                    r#"(module
                    (import "wasi_snapshot_preview1" "{function}" (func $call (param i32 i32 i32 i32) (result i32)))
                    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                    (memory (export "memory") 1)
                    (func (export "_start") (call $exit
                        (call $call (i32.eq (i32.const {fd}) (i32.const 1)) (i32.const 8) (i32.const {count}) (i32.const 0)))))"#,
                    fd = i32::from(function == "fd_write"),
                );
                let cell = start(&runtime(), &program, Limits::default()).await.cell;
                let reason = cell.exit().wait().await;
                let expected = if errno == 0 { Reason::Normal } else { Reason::Exit(errno as u8) };
                assert_eq!(reason, expected, "{function} {count}");
            }
        }
    }
}
