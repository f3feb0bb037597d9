//! Text of others, at the border of the node.
//!
//! A guest, a client, a peer, a file or a daemon may write anything: line breaks that forge lines of a log, sequences
//! that a terminal obeys, characters that turn the order of a line around, megabytes. Whatever of it goes on to a log,
//! a terminal, an event, an error or a client is escaped and cut here, and nowhere else. What a program prints itself
//! is no such text: it passes as it is, as with any tool.
//!
//! Escaped is what nobody sees, and what changes how its neighbours are seen: controls (C0, DEL, C1), line and
//! paragraph separators, format characters (marks of direction, zero width, the byte order mark, tags), fillers that
//! look like nothing, separators other than the space, private and unassigned characters, bytes that are no UTF-8.
//! That is the rule of [`str::escape_debug`], whose tables follow Unicode, without its quotes and backslashes, and the
//! fillers besides. Sources: Unicode Technical Report 36, section 3, and Boucher and Anderson, "Trojan Source".
//!
//! A backslash is not escaped, so that a text that has been at the border stays what it is at the next one.

use std::{
    fmt::{self, Write},
    ops::Deref,
    sync::Arc,
};

/// Bytes of an error or of an exit reason: a screen of text, and few enough that those of all cells that ended fit.
pub const MAX_ERROR: usize = 4 * 1024;

/// Bytes of a name within a sentence: twice the longest name of a file, so that an escaped one is still known by it.
pub const MAX_NAME: usize = 512;

/// Bytes of a backtrace: as many frames as the engine records, with names as long as compilers make them.
pub const MAX_BACKTRACE: usize = 16 * 1024;

/// Room for the words that say how much was left out. No bound is lower.
const MARK: usize = 40;

/// Letters in the tables of Unicode that look like nothing: the fillers of Hangul, and the blank of Braille.
const FILLERS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// A text of others of at most [`MAX_ERROR`] bytes, in one line, escaped. There is no other way to make one, so that a
/// type that holds one needs no further care. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Arc<str>);

/// A text in one line of at most `most` bytes with all that was escaped, and with the words that say how many bytes
/// were left out. A bound below 40 counts as 40.
pub fn line(text: impl fmt::Display, most: usize) -> String {
    Border::new(most, Keep::Nothing).of(text)
}

/// As [`line()`], with its line breaks and tabs left as they are: for texts whose lines the node itself has made.
pub fn lines(text: impl fmt::Display, most: usize) -> String {
    Border::new(most, Keep::Lines).of(text)
}

/// As [`line()`], of bytes. What is no UTF-8 is escaped byte by byte.
pub fn bytes(bytes: &[u8], most: usize) -> String {
    let mut border = Border::new(most, Keep::Nothing);
    border.bytes(bytes);
    border.finish()
}

/// As [`lines`], of bytes.
pub fn bytes_in_lines(bytes: &[u8], most: usize) -> String {
    let mut border = Border::new(most, Keep::Lines);
    border.bytes(bytes);
    border.finish()
}

/// Bytes at the end of a piece of a text that begin a character whose rest is to come; at most 3.
pub fn begun(piece: &[u8]) -> usize {
    let is_begun = |&len: &usize| {
        let end = piece.len().checked_sub(len).and_then(|from| str::from_utf8(&piece[from..]).err());
        end.is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=3).find(is_begun).unwrap_or(0)
}

/// A text that comes in pieces, each of which may end within a character: as [`bytes_in_lines`], without a bound.
#[derive(Debug, Default)]
pub struct Pieces {
    /// The beginning of a character.
    begun: Vec<u8>,
}

impl Pieces {
    /// What can be shown with one more piece.
    pub fn next(&mut self, piece: &[u8]) -> String {
        self.begun.extend_from_slice(piece);
        let rest = self.begun.split_off(self.begun.len() - begun(&self.begun));
        bytes_in_lines(&std::mem::replace(&mut self.begun, rest), usize::MAX)
    }

    /// What is left when nothing more comes.
    pub fn end(self) -> String {
        bytes_in_lines(&self.begun, usize::MAX)
    }
}

/// A name in one line of at most [`MAX_NAME`] bytes. A writer that has more is told to stop, so that a name that is
/// short in a program and endless in clear costs no more than what is shown of it.
pub fn name(name: impl fmt::Display) -> String {
    Border { stops: true, ..Border::new(MAX_NAME, Keep::Nothing) }.of(name)
}

/// A name in quotes, of at most [`MAX_NAME`] bytes between them.
pub fn quoted(name: impl fmt::Display) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "\"{}\"", self::name(&name)))
}

/// Whether a character is seen, and leaves its neighbours as they are.
fn is_plain(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    // After a letter, where a mark that combines with it is not escaped.
    let mut buffer = [b'x'; 5];
    let len = 1 + character.encode_utf8(&mut buffer[1..]).len();
    let shown = str::from_utf8(&buffer[..len]).is_ok_and(|text| text.escape_debug().nth(1) == Some(character));
    shown && !FILLERS.contains(&character)
}

/// Which control characters pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    Lines,
}

/// Takes a text piece by piece, escapes it, and stops taking where there is no room.
struct Border {
    out: String,
    most: usize,
    keep: Keep,
    /// Bytes that came.
    taken: usize,
    /// How much of `out` leaves room for the last words, and of how many bytes it was made.
    mark: (usize, usize),
    full: bool,
    /// Whether a writer that has more is told to stop.
    stops: bool,
}

impl Border {
    fn new(most: usize, keep: Keep) -> Self {
        Self { out: String::new(), most: most.max(MARK), keep, taken: 0, mark: (0, 0), full: false, stops: false }
    }

    fn of(mut self, text: impl fmt::Display) -> String {
        // A text that cannot be shown to its end is shown as far as it can be.
        let _ = write!(self, "{text}");
        self.finish()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            // Writing to a border cannot fail.
            let _ = self.write_str(chunk.valid());
            for byte in chunk.invalid() {
                self.taken += 1;
                self.put(format_args!("\\x{byte:02x}"));
            }
        }
    }

    /// Takes what one character became.
    fn put(&mut self, piece: fmt::Arguments<'_>) {
        if self.full {
            return;
        }
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(piece);
        self.fit();
    }

    fn fit(&mut self) {
        if self.out.len() > self.most {
            self.full = true;
            self.out.truncate(self.mark.0);
        } else if self.out.len() <= self.most - MARK {
            self.mark = (self.out.len(), self.taken);
        }
    }

    fn finish(mut self) -> String {
        if self.full && self.stops {
            self.out.push('…');
        } else if self.full {
            let left_out = self.taken - self.mark.1;
            // Writing to a string cannot fail.
            let _ = write!(self.out, "… ({left_out} bytes more)");
        }
        self.out
    }
}

impl Write for Border {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.chars();
        while !self.full
            && let Some(character) = rest.next()
        {
            self.taken += character.len_utf8();
            match character {
                '\n' | '\t' if self.keep == Keep::Lines => self.out.push(character),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                character if is_plain(character) => self.out.push(character),
                character => {
                    self.put(format_args!("\\u{{{:x}}}", u32::from(character)));
                    continue;
                }
            }
            self.fit();
        }
        self.taken += rest.as_str().len();
        if self.full && self.stops { Err(fmt::Error) } else { Ok(()) }
    }
}

impl Text {
    /// Takes a text.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(line(text, MAX_ERROR).into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self::new(text)
    }
}

impl From<Text> for Arc<str> {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests;
