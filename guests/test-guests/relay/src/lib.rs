//! Sends messages to other cells as quickly as it can. For measurements.
//!
//! The first byte of a message says what to do; numbers of 8 bytes follow, the lowest byte first.
//!
//! | first byte | numbers | what it does |
//! |---|---|---|
//! | `r` | cell, times | asks a cell so often, one time after the other, with 16 bytes |
//! | `s` | cell, times | sends 16 bytes to a cell so often, then asks it once: it has served all of them by then |
//! | `t` | hops, first, cells, sink | a token that goes so many hops further in a ring of cells with ids in a row, and then to the sink |
//! | `e` | tokens | counts, and ends the cell with code 0 when so many tokens have come |
//! | `x` | | traps |
//! | `l` | | computes for ever |
//!
//! Anything else is the reply.

use std::{
    hint,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use ww_guest::actor::{mail, me};

ww_guest::cell! { handle: serve }

/// What is sent.
const BODY: [u8; 16] = [b'.'; 16];

static TOKENS: AtomicU64 = AtomicU64::new(0);
static ID: OnceLock<u64> = OnceLock::new();

fn serve(mut body: Vec<u8>) -> Result<Vec<u8>, mail::Error> {
    match body.first() {
        Some(b'r') => {
            let [to, times] = numbers(&body);
            for _ in 0..times {
                mail::request(to, BODY, None)?;
            }
            Ok(Vec::new())
        }
        Some(b's') => {
            let [to, times] = numbers(&body);
            for _ in 0..times {
                mail::send(to, BODY)?;
            }
            mail::request(to, BODY, None)
        }
        Some(b't') => {
            let [hops, first, cells, sink] = numbers(&body);
            if hops == 0 {
                body[0] = b'e';
                body.copy_within(1 + 4 * 8.., 1);
                mail::send(sink, &body)?;
            } else {
                let id = *ID.get_or_init(|| me::id().unwrap_or_default());
                body[1..9].copy_from_slice(&(hops - 1).to_le_bytes());
                mail::send(first + (id - first + 1) % cells, &body)?;
            }
            Ok(Vec::new())
        }
        Some(b'e') => {
            let [tokens] = numbers(&body);
            if TOKENS.fetch_add(1, Ordering::Relaxed) + 1 == tokens {
                ww_guest::exit(0);
            }
            Ok(Vec::new())
        }
        Some(b'x') => panic!("a trap on purpose"),
        Some(b'l') => loop {
            hint::spin_loop();
        },
        _ => Ok(body),
    }
}

/// The numbers after the first byte. What is missing is 0.
fn numbers<const N: usize>(body: &[u8]) -> [u64; N] {
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(body[1..].as_chunks().0) {
        *number = u64::from_le_bytes(*bytes);
    }
    numbers
}
