//! Lines on standard error.
//!
//! The macros are those of the `log` crate, so that lines of libraries appear as well. A line has the
//! form `LEVEL message`. The environment variable `WW_LOG` sets the lowest level that is shown: `off`,
//! `error`, `warn`, `info` (the default), `debug` or `trace`.

use std::{
    env,
    io::{self, Write},
    sync::OnceLock,
};

pub use log::{LevelFilter, debug, error, info, trace, warn};
use log::{Log, Metadata, Record};

/// Names the lowest level that is shown.
pub const VARIABLE: &str = "WW_LOG";

static LOGGER: Stderr = Stderr { level: OnceLock::new() };

struct Stderr {
    /// Read when the first line is logged: most cells log nothing, and start faster for it.
    level: OnceLock<LevelFilter>,
}

impl Stderr {
    fn level(&self) -> LevelFilter {
        *self.level.get_or_init(|| {
            let (level, complaint) = parse(env::var(VARIABLE).ok().as_deref());
            if let Some(complaint) = complaint {
                let _ = writeln!(io::stderr(), "WARN {complaint}");
            }
            level
        })
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // One write for the whole line, so that lines of one cell are never torn. Nobody is left to
            // hear of a standard error that fails.
            let _ = io::stderr().write_all(format!("{} {}\n", record.level(), record.args()).as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Starts logging. [`cell!`](crate::cell) does this; it may be called any number of times.
pub fn init() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
}

/// The level for the value of [`VARIABLE`], and what is wrong with that value.
fn parse(value: Option<&str>) -> (LevelFilter, Option<String>) {
    const DEFAULT: LevelFilter = LevelFilter::Info;
    match value {
        None | Some("") => (DEFAULT, None),
        Some(value) => match value.parse() {
            Ok(level) => (level, None),
            Err(_) => {
                let expected = "expected off, error, warn, info, debug or trace";
                (DEFAULT, Some(format!("{VARIABLE}={value}: {expected}; info is used")))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_the_lowest_level_shown() {
        for (value, level) in [
            (None, LevelFilter::Info),
            (Some(""), LevelFilter::Info),
            (Some("off"), LevelFilter::Off),
            (Some("WARN"), LevelFilter::Warn),
            (Some("trace"), LevelFilter::Trace),
        ] {
            assert_eq!(parse(value), (level, None), "{value:?}");
        }
    }

    #[test]
    fn a_wrong_level_is_complained_about() {
        let (level, complaint) = parse(Some("loud"));
        assert_eq!(level, LevelFilter::Info);
        assert!(complaint.is_some_and(|complaint| complaint.starts_with("WW_LOG=loud: expected off, error")));
    }
}
