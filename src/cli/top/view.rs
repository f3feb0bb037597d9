//! Which lines are to be seen.

use std::{collections::HashMap, time::Instant};

use ww_core::text;

use crate::cli::status::{self, Status, table};

const HEAD: [&str; 10] = ["CELL", "NAME", "STATE", "CPU", "MEMORY", "MAILBOX", "MSG/S", "MESSAGES", "RESTARTS", "AGE"];
const HELP: &str = "sort: c cpu, m memory, d depth, r rate, i id   up/down choose   k kill   q quit";

/// By what cells are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum By {
    #[default]
    Cpu,
    Memory,
    Depth,
    Rate,
    Id,
}

/// What is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Suspend,
    Kill,
    Redraw,
    Up,
    Down,
    Sort(By),
}

/// A cell between two looks.
#[derive(Clone, Debug)]
struct Row {
    status: Status,
    /// Percent of one core.
    cpu: f64,
    /// Messages per second.
    rate: f64,
}

/// What is known of the cells of a node.
#[derive(Debug, Default)]
pub(super) struct View {
    rows: Vec<Row>,
    seen: Option<Instant>,
    by: By,
    selected: Option<u64>,
    message: String,
}

/// Reads what was typed. Unknown keys are nothing.
pub(super) fn keys(mut typed: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some((&first, rest)) = typed.split_first() {
        let (key, rest) = match (first, rest) {
            (0x1b, [b'[' | b'O', b'A', rest @ ..]) => (Some(Key::Up), rest),
            (0x1b, [b'[' | b'O', b'B', rest @ ..]) => (Some(Key::Down), rest),
            (0x1b, [b'[' | b'O', _, rest @ ..]) => (None, rest),
            // Control and c, d, z: the terminal does not make signals of them now.
            (b'q' | 3 | 4, _) => (Some(Key::Quit), rest),
            (26, _) => (Some(Key::Suspend), rest),
            (b'k', _) => (Some(Key::Kill), rest),
            // Control and l.
            (12, _) => (Some(Key::Redraw), rest),
            (b'c', _) => (Some(Key::Sort(By::Cpu)), rest),
            (b'm', _) => (Some(Key::Sort(By::Memory)), rest),
            (b'd', _) => (Some(Key::Sort(By::Depth)), rest),
            (b'r', _) => (Some(Key::Sort(By::Rate)), rest),
            (b'i', _) => (Some(Key::Sort(By::Id)), rest),
            _ => (None, rest),
        };
        keys.extend(key);
        typed = rest;
    }
    keys
}

impl View {
    /// Takes what was seen at a moment.
    pub(super) fn update(&mut self, cells: Vec<Status>, now: Instant) {
        let passed = self.seen.map_or(0.0, |seen| now.saturating_duration_since(seen).as_secs_f64());
        let before: HashMap<u64, &Status> = self.rows.iter().map(|row| (row.status.id, &row.status)).collect();
        let rate = |new: u64, old: u64| if passed > 0.0 { new.saturating_sub(old) as f64 / passed } else { 0.0 };
        let rows = cells.into_iter().map(|status| {
            let (cpu, messages) =
                before.get(&status.id).map_or((status.cpu_us, status.messages), |old| (old.cpu_us, old.messages));
            let (cpu, rate) = (rate(status.cpu_us, cpu) / 10_000.0, rate(status.messages, messages));
            Row { status, cpu, rate }
        });
        self.rows = rows.collect();
        self.seen = Some(now);
        self.order();
    }

    /// Sorts by something else.
    pub(super) fn sort(&mut self, by: By) {
        self.by = by;
        self.order();
    }

    /// Chooses the cell so many lines further down.
    pub(super) fn select(&mut self, lines: isize) {
        let at = self.position().saturating_add_signed(lines).min(self.rows.len().saturating_sub(1));
        self.selected = self.rows.get(at).map(|row| row.status.id);
    }

    /// The cell that was chosen.
    pub(super) fn selected(&self) -> Option<u64> {
        self.rows.get(self.position()).map(|row| row.status.id)
    }

    /// Shows a message until the next one.
    pub(super) fn say(&mut self, message: String) {
        self.message = text::line(message, text::MAX_ERROR);
    }

    /// The lines of a screen of this size, none of them wider.
    pub(super) fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let room = height.saturating_sub(4);
        let position = self.position();
        let first = (position + 1).saturating_sub(room);
        let rows: Vec<_> = self.rows.iter().map(cells).collect();
        let table = table(HEAD, &["NAME", "STATE"], &rows);
        let mut table = table.lines().map(|line| cut(line, width));
        let memory: u64 = self.rows.iter().map(|row| row.status.memory).sum();
        let cpu: f64 = self.rows.iter().map(|row| row.cpu).sum();
        let sum = format!("{} cells   cpu {cpu:.0}%   memory {}", self.rows.len(), status::bytes(memory));
        let mut lines = vec![cut(&sum, width), table.next().unwrap_or_default()];
        for (index, line) in table.enumerate().skip(first).take(room) {
            // The chosen one is inverse over the whole width.
            lines.push(if index == position { format!("\x1b[7m{line:<width$}\x1b[27m") } else { line });
        }
        lines.resize(height.saturating_sub(2), String::new());
        lines.push(cut(&self.message, width));
        lines.push(cut(HELP, width));
        lines.truncate(height);
        lines
    }

    fn position(&self) -> usize {
        self.rows.iter().position(|row| Some(row.status.id) == self.selected).unwrap_or(0)
    }

    fn order(&mut self) {
        // Equal ones in the order of their start, so that lines do not jump.
        self.rows.sort_by_key(|row| row.status.id);
        match self.by {
            By::Cpu => self.rows.sort_by(|a, b| b.cpu.total_cmp(&a.cpu)),
            By::Rate => self.rows.sort_by(|a, b| b.rate.total_cmp(&a.rate)),
            By::Memory => self.rows.sort_by_key(|row| std::cmp::Reverse(row.status.memory)),
            By::Depth => self.rows.sort_by_key(|row| std::cmp::Reverse(row.status.mailbox)),
            By::Id => {}
        }
    }
}

fn cells(row: &Row) -> [String; 10] {
    let Row { status, cpu, rate } = row;
    [
        status.id.to_string(),
        status.name(),
        status.state.word().to_owned(),
        format!("{cpu:.0}%"),
        status::bytes(status.memory),
        status.mailbox.to_string(),
        format!("{rate:.1}"),
        status.messages.to_string(),
        status.restarts.to_string(),
        status::duration(status.age()),
    ]
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cell(id: u64, cpu_us: u64, memory: u64, messages: u64) -> Status {
        Status { id, names: vec![format!("cell{id}")], cpu_us, memory, messages, ..Status::default() }
    }

    fn order(view: &View) -> Vec<u64> {
        view.rows.iter().map(|row| row.status.id).collect()
    }

    #[test]
    fn rates_are_those_between_two_looks() {
        let (mut view, start) = (View::default(), Instant::now());
        view.update(vec![cell(1, 500_000, 10, 3), cell(2, 0, 30, 0)], start);
        assert!(view.rows.iter().all(|row| (row.cpu, row.rate) == (0.0, 0.0)), "nothing is known yet");
        let later = start + Duration::from_secs(2);
        view.update(vec![cell(1, 500_000, 10, 23), cell(2, 1_000_000, 30, 0), cell(3, 9_000_000, 20, 9)], later);
        let rates: Vec<_> = view.rows.iter().map(|row| (row.status.id, row.cpu, row.rate)).collect();
        assert_eq!(rates, [(2, 50.0, 0.0), (1, 0.0, 10.0), (3, 0.0, 0.0)]);
        for (by, expected) in
            [(By::Rate, [1, 2, 3]), (By::Memory, [2, 3, 1]), (By::Depth, [1, 2, 3]), (By::Id, [1, 2, 3])]
        {
            view.sort(by);
            assert_eq!(order(&view), expected, "{by:?}");
        }
    }

    #[test]
    fn the_chosen_cell_stays_chosen_and_in_sight() {
        let (mut view, now) = (View::default(), Instant::now());
        view.update((1..=20).map(|id| cell(id, 0, 0, 0)).collect(), now);
        view.sort(By::Id);
        assert_eq!(view.selected(), Some(1));
        (0..14).for_each(|_| view.select(1));
        assert_eq!(view.selected(), Some(15));
        let lines = view.lines(80, 10);
        assert_eq!(lines.len(), 10);
        assert!(lines.iter().any(|line| line.contains("\x1b[7m") && line.contains("cell15")), "{lines:#?}");
        view.update((10..=20).map(|id| cell(id, 0, 0, 0)).collect(), now);
        assert_eq!(view.selected(), Some(15));
        view.select(-100);
        assert_eq!(view.selected(), Some(10));
        view.update(Vec::new(), now);
        assert_eq!(view.selected(), None);
    }

    #[test]
    fn no_screen_is_too_small() {
        let mut view = View::default();
        view.update((1..=20).map(|id| cell(id, 0, 0, 0)).collect(), Instant::now());
        for height in 0..8 {
            for width in [0, 1, 7] {
                let lines = view.lines(width, height);
                assert_eq!(lines.len(), height);
                let plain = |line: &String| line.replace("\x1b[7m", "").replace("\x1b[27m", "").chars().count();
                assert!(lines.iter().map(plain).all(|chars| chars <= width), "{lines:?}");
            }
        }
    }

    #[test]
    fn keys_are_read_wherever_they_are() {
        assert_eq!(keys(b"\x1b[A\x1bOBzk"), [Key::Up, Key::Down, Key::Kill]);
        assert_eq!(
            keys(b"cmdri\x0cq"),
            [
                Key::Sort(By::Cpu),
                Key::Sort(By::Memory),
                Key::Sort(By::Depth),
                Key::Sort(By::Rate),
                Key::Sort(By::Id),
                Key::Redraw,
                Key::Quit
            ]
        );
        assert_eq!(keys(b"\x1b[C\x1b\x1a\x03"), [Key::Suspend, Key::Quit]);
    }
}
