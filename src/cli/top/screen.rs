//! The terminal as a screen: only lines that differ from what is there are written.

use std::io::{self, IsTerminal, stdin, stdout};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::terminal::Output;

/// Size of a terminal that does not say.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// Another screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The terminal in the mode of a live screen, until this is dropped.
pub(super) struct Screen {
    before: Termios,
    size: (usize, usize),
    lines: Vec<String>,
}

impl Screen {
    /// Whether there is a terminal.
    pub(super) fn is_there() -> bool {
        stdin().is_terminal() && stdout().is_terminal()
    }

    /// Takes the terminal.
    pub(super) fn enter() -> io::Result<Self> {
        // From here on the drop undoes it.
        let mut screen = Self { before: tcgetattr(stdin())?, size: DEFAULT_SIZE, lines: Vec::new() };
        screen.take()?;
        Ok(screen)
    }

    /// Takes the terminal again: somebody else may have had it.
    pub(super) fn take(&mut self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        self.forget();
        write(ENTER)
    }

    /// Gives the terminal back as it was.
    pub(super) fn leave(&self) -> io::Result<()> {
        let written = write(LEAVE);
        tcsetattr(stdin(), OptionalActions::Now, &self.before)?;
        written
    }

    /// Columns and rows. After a change of it everything is drawn anew.
    pub(super) fn size(&mut self) -> (usize, usize) {
        let size = match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => DEFAULT_SIZE,
        };
        if size != self.size {
            self.size = size;
            self.forget();
        }
        size
    }

    /// Forgets what is there, so that everything is drawn anew.
    pub(super) fn forget(&mut self) {
        self.lines.clear();
    }

    /// Shows lines in the place of what is there.
    pub(super) fn draw(&mut self, lines: Vec<String>) -> io::Result<()> {
        let changes = changes(&self.lines, &lines);
        self.lines = lines;
        write(&changes)
    }
}

/// What turns one screen into another.
fn changes(from: &[String], to: &[String]) -> String {
    let mut text = if from.is_empty() { "\x1b[2J".to_owned() } else { String::new() };
    for (index, line) in to.iter().enumerate() {
        if from.get(index).map_or("", String::as_str) != line {
            text += &format!("\x1b[{};1H{line}\x1b[K", index + 1);
        }
    }
    text
}

fn write(text: &str) -> io::Result<()> {
    Output::Stdout.write_all(text.as_bytes())
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn only_what_changed_is_written() {
        let first = screen(&["a", "", "c"]);
        assert_eq!(changes(&[], &first), "\x1b[2J\x1b[1;1Ha\x1b[K\x1b[3;1Hc\x1b[K");
        assert_eq!(changes(&first, &first), "");
        assert_eq!(changes(&first, &screen(&["a", "b", ""])), "\x1b[2;1Hb\x1b[K\x1b[3;1H\x1b[K");
    }
}
