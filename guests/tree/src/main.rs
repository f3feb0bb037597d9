//! A tree of three levels, from one program: pid0 builds it from its own image, and each cell learns from its first
//! argument which of the others it is.
//!
//! ```text
//! root (one-for-all)
//! ├── store                      counts the lines that were printed
//! ├── pipeline (rest-for-one)
//! │   ├── printer                prints a line, that is, answers with it, and tells the store
//! │   ├── router                 passes it on to the printer
//! │   └── parser                 cleans a line up and passes it on to the router
//! └── pool (simple-one-for-one)
//!     └── workers                work, or crash when they are told to
//! ```
//!
//! pid0 sends a line through the pipeline, lets a worker crash, which is started again, and lets workers crash until the
//! pool gives up. Then root starts everything again, and the store has forgotten what it counted.

mod pid0;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
};

use ww_guest::actor::mail;

ww_guest::cell! { main: pid0::run, handle: handle }

/// What the store counts.
static LINES: AtomicU64 = AtomicU64::new(0);

fn handle(body: Vec<u8>) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(&body);
    let pass_on = |to: &str, line: String| mail::request(to, line, None).map_err(|error| format!("{to}: {error:?}"));
    match env::args().nth(1).as_deref() {
        Some("parser") => pass_on("router", text.split_whitespace().collect::<Vec<_>>().join(" ")),
        Some("router") => pass_on("printer", format!("to the printer: {text}")),
        Some("printer") => {
            mail::send("store", "one more").map_err(|error| format!("store: {error:?}"))?;
            Ok(format!("[{text}]").into_bytes())
        }
        Some("store") if text == "count" => Ok(LINES.load(Ordering::Relaxed).to_string().into_bytes()),
        Some("store") => {
            LINES.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        }
        Some("worker") if text == "crash" => panic!("as I was told"),
        Some("worker") => Ok(b"done".to_vec()),
        other => Err(format!("no such role: {other:?}")),
    }
}
