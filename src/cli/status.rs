//! What a cell is doing, for people and for programs.

use std::time::{Duration, SystemTime};

use serde::Serialize;

/// How far a cell is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Its program is being compiled, or waits for that.
    Compiling,
    /// Its instance is on its way.
    Starting,
    #[default]
    Running,
    Ended,
}

/// The status of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Status {
    #[serde(rename = "cell")]
    pub(super) id: u64,
    pub(super) names: Vec<String>,
    pub(super) state: State,
    /// One live instance, and not one per message or one `main`.
    #[serde(rename = "async")]
    pub(super) live: bool,
    /// When its start was asked for, since the Unix epoch.
    pub(super) started_ms: u64,
    pub(super) memory: u64,
    pub(super) mailbox: u32,
    pub(super) messages: u64,
    pub(super) dropped: u64,
    pub(super) cpu_us: u64,
    pub(super) restarts: u32,
    /// The exit code, once it has ended.
    pub(super) code: Option<u8>,
    /// The reason in words, once it has ended.
    pub(super) ended: Option<String>,
}

impl State {
    /// In one word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Compiling => "compiling",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}

impl Status {
    /// Its names, or a dash.
    pub(super) fn name(&self) -> String {
        if self.names.is_empty() { "-".to_owned() } else { self.names.join(",") }
    }

    /// How long ago its start was asked for.
    pub(super) fn age(&self) -> Duration {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        now.saturating_sub(Duration::from_millis(self.started_ms))
    }
}

/// A duration in two units at most: `5s`, `3m07s`, `2h05m`, `4d02h`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Computing time, in milliseconds while it is short.
pub(super) fn computing(micros: u64) -> String {
    if micros < 10_000_000 { format!("{}ms", micros / 1_000) } else { duration(Duration::from_micros(micros)) }
}

/// Bytes in the largest unit of which there is at least one.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1}{name}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

/// A table whose columns are as wide as what is in them. Numbers, which are all but the named columns, go to the right.
pub(super) fn table<const N: usize>(head: [&str; N], left: &[&str], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let (width, gap) = (widths[column], if column == 0 { "" } else { "  " });
            line += &if left.contains(&head[column]) {
                format!("{gap}{cell:<width$}")
            } else {
                format!("{gap}{cell:>width$}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short() {
        let seconds = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!([0, 59, 187, 7_500, 353_000].map(seconds), ["0s", "59s", "3m07s", "2h05m", "4d02h"]);
        assert_eq!([0, 1_023, 65_536, 3 << 19, 5 << 30].map(bytes), ["0B", "1023B", "64.0KiB", "1.5MiB", "5.0GiB"]);
        assert_eq!([999, 1_500_000, 70_000_000].map(computing), ["0ms", "1500ms", "1m10s"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["1".to_owned(), "pid0".to_owned()], ["10".to_owned(), "-".to_owned()]];
        assert_eq!(table(["CELL", "NAME"], &["NAME"], &rows), "CELL  NAME\n   1  pid0\n  10  -\n");
    }
}
