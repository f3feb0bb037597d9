//! The log of a node, on standard error: the last border for text of others, and a bound for what each owner writes.
//!
//! Every value of every field is escaped and cut by [`ww_core::text`], also those of libraries, so that an event is one
//! line. What is logged about an owner, which is a cell, a slot, a client, a peer or all addresses without a peer
//! together, is charged to that owner, [`RATE`] bytes a second; and the lines of all owners together are charged to
//! one account, so that many owners are no way around it. Lines that are left out are counted, and the count is told.
//!
//! | event has the field | charged to |
//! |---|---|
//! | `peer`, `client`, `owner`, `slot` or `cell`, the first of them that is there | that one |
//! | only `addr` | the strangers, all together |
//! | none of them | the node |
//!
//! An embedder that has a subscriber of its own gets texts that are escaped and cut where they enter, and no bound
//! for the bytes of a second; [`subscriber`] has both.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tracing::{Event, Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{self, Format, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};
use ww_core::text;

mod owners;

pub use owners::{ALL_BURST, ALL_RATE, BURST, MAX_OWNERS, PEERS_BURST, PEERS_RATE, RATE};
use owners::{LeftOut, Owner, Owners};

/// Bytes of one field: a line of the log is read by people, who find the whole text where it was sent.
const MAX_FIELD: usize = 1024;

/// Bytes of what an event says, and of a backtrace: as long as the lines that guests write to the log.
const MAX_MESSAGE: usize = 4 * 1024;

/// A subscriber that writes what the filter admits, in colours if that is wanted.
pub fn subscriber<W>(filter: EnvFilter, writer: W, ansi: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .fmt_fields(format::debug_fn(field).delimited(" "))
        .event_format(Line { format: Format::default().with_ansi(ansi), owners: Mutex::default() })
        .finish()
}

/// Writes one field.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let most = if matches!(field.name(), "message" | "backtrace") { MAX_MESSAGE } else { MAX_FIELD };
    let value = text::line(format_args!("{value:?}"), most);
    match field.name() {
        "message" => writer.write_str(&value),
        // What the crate `log` knows of a place is in the head of the line.
        name if name.starts_with("log.") => Ok(()),
        name if writer.has_ansi_escapes() => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        name => write!(writer, "{name}={value}"),
    }
}

/// Writes events, as far as their owners may.
struct Line {
    format: Format<format::Full, SystemTime>,
    owners: Mutex<Owners>,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.format.format_event(ctx, Writer::new(&mut line), event)?;
        let (admitted, left_out) = {
            // Nothing panics while the lock is held.
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            owners.admit(Owner::of(event), line.len(), Instant::now())
        };
        for LeftOut { owner, lines, bytes } in left_out {
            SystemTime.format_time(&mut writer)?;
            writeln!(
                writer,
                "  WARN ww::log: {lines} lines ({bytes} bytes) of {owner} were left out: more than it may write"
            )?;
        }
        if admitted { writer.write_str(&line) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
