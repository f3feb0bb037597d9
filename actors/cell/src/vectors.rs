//! Functions of preview 1 that name a list: of buffers, of which the library looks at one after the other until one is not
//! empty, in one step; of clocks and streams to wait for, of which it makes an object each. So the list has the length that
//! systems give it, and the count is looked at before.

use wasmtime::{AsContextMut as _, Caller, Extern, Linker};
use wasmtime_wasi::p1::{
    WasiP1Ctx,
    wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1 as _},
};
use wiggle::GuestMemory;

use crate::guest::Guest;

/// Most entries of one list: `IOV_MAX` of Linux, which no library of a language exceeds, and as many files as a process of
/// POSIX waits for by default.
const MOST: u32 = 1_024;

/// `errno` of preview 1 for more, as POSIX has it.
const INVALID: i32 = 28;

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
