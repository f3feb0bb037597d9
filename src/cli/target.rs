//! What a verb's `<CELL>` means: one cell, by its name or its id.
//!
//! A name may consist of digits, and look like an id. So a number means the cell of this name or of this id, whichever
//! there is, and nothing where it could mean two cells: the verb then wants to be told which. What is meant is never
//! guessed, because the next verb may be `kill`.

use std::{fmt, str::FromStr};

use ww_core::{registry, text};

use super::{
    Failure, code,
    node::{Node, unavailable},
};

/// Names that a message lists.
const MAX_NAMES: usize = 10;

/// What was written before a name, and before an id.
const NAME: &str = "name:";
const ID: &str = "id:";

/// How the refusal begins for a cell that there is not, here and from a node.
const NO_SUCH_CELL: &str = "no such cell: ";

/// A cell of a running node, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `name:NAME`, or a text that is no id.
    Name(String),
    /// `id:ID`.
    Id(u64),
    /// A number, which may be an id or a name.
    Either(u64),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix(NAME) {
            return Ok(Self::Name(name.to_owned()));
        }
        if let Some(number) = text.strip_prefix(ID) {
            let id = id(number).ok_or_else(|| format!("{text} is no id: expected a number of `ww ps`, as in id:7"))?;
            return Ok(Self::Id(id));
        }
        Ok(id(text).map_or_else(|| Self::Name(text.to_owned()), Self::Either))
    }
}

/// An id as `ww ps` writes it: any other number, with zeros before it for example, can only be a name.
fn id(text: &str) -> Option<u64> {
    text.parse().ok().filter(|id: &u64| id.to_string() == text)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) | Self::Either(id) => id.fmt(f),
        }
    }
}

impl Node {
    /// The id of the cell that is meant. One that has ended is found by its id.
    pub(super) async fn find(&self, target: &Target) -> Result<u64, Failure> {
        let (name, id) = match target {
            Target::Id(id) => return Ok(*id),
            Target::Name(name) => (name.clone(), None),
            Target::Either(id) => (id.to_string(), Some(*id)),
        };
        let cells = match (self.cells().await, id) {
            // To those who see no names, a number is an id.
            (Err(failure), Some(id)) if failure.code == code::NO_PERMISSION => return Ok(id),
            (cells, _) => cells?,
        };
        let named = cells.iter().find(|cell| cell.names.contains(&name)).map(|cell| cell.id);
        match (named, id) {
            (Some(named), Some(id)) if named != id && self.knows(id).await? => {
                let message = format!(
                    "{id} could mean two cells: cell {named}, whose name it is, and the cell with this id; \
                     say {NAME}{name} or {ID}{id}"
                );
                Err(Failure { code: code::USAGE, message })
            }
            (Some(named), _) => Ok(named),
            (None, Some(id)) => Ok(id),
            (None, None) => Err(no_such_cell(
                &name,
                &cells.iter().flat_map(|cell| &cell.names).map(String::as_str).collect::<Vec<_>>(),
            )),
        }
    }

    /// Whether a cell has this id, or one had that is still known: an id that was meant may have ended by now.
    async fn knows(&self, id: u64) -> Result<bool, Failure> {
        let mut inspect = self.local.admin.inspect_request();
        inspect.get().set_cell(id);
        let mut process = self.local.admin.process_request();
        process.get().set_cell(id);
        // Who may not inspect a cell may perhaps send to it.
        Ok(is_there(self.answer(inspect.send().promise).await)? || is_there(self.answer(process.send().promise).await)?)
    }
}

/// Whether a node that was asked about a cell has it. What is not known is no answer.
fn is_there<T>(answer: Result<T, Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(_) => Ok(true),
        Err(failure) if failure.code == code::NO_PERMISSION || failure.message.starts_with(NO_SUCH_CELL) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Says so of a name that no cell has, with those that some have.
fn no_such_cell(name: &str, names: &[&str]) -> Failure {
    let hint = match registry::nearest(names.iter().copied(), name) {
        Some(near) => format!("; did you mean {near}?"),
        None if names.is_empty() => "; no cell has a name: give an id of `ww ps`".to_owned(),
        None if names.len() > MAX_NAMES => {
            format!("; names are {} and {} more", names[..MAX_NAMES].join(", "), names.len() - MAX_NAMES)
        }
        None => format!("; names are {}", names.join(", ")),
    };
    unavailable(format!("{NO_SUCH_CELL}{}{hint}", text::name(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_name_an_id_or_either() {
        let name = |name: &str| Target::Name(name.to_owned());
        for (text, target) in [
            ("echo", name("echo")),
            ("7", Target::Either(7)),
            ("0", Target::Either(0)),
            ("007", name("007")),
            ("+7", name("+7")),
            ("99999999999999999999", name("99999999999999999999")),
            ("7.1", name("7.1")),
            ("name:7", name("7")),
            ("name:id:7", name("id:7")),
            ("id:7", Target::Id(7)),
        ] {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
        for text in ["id:", "id:echo", "id:007", "id:-1"] {
            let error = text.parse::<Target>().expect_err(text);
            assert!(error.contains("expected a number of `ww ps`"), "{error}");
        }
    }

    #[test]
    fn a_node_that_does_not_say_whether_it_has_a_cell_is_not_taken_to_have_none() {
        assert_eq!(is_there(Ok(())).ok(), Some(true));
        let failed = |code, message: &str| is_there::<()>(Err(Failure { code, message: message.to_owned() })).ok();
        assert_eq!(failed(code::UNAVAILABLE, "no such cell: 7 does not run"), Some(false));
        assert_eq!(failed(code::NO_PERMISSION, "denied: inspect is not granted to this peer"), Some(false));
        assert_eq!(failed(code::UNAVAILABLE, "the node does not answer within 10s"), None);
    }

    #[test]
    fn names_that_there_are_help_with_one_that_there_is_not() {
        let many: Vec<String> = (0..=MAX_NAMES).map(|number| format!("long-name-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (names, part) in [
            (&["echo", "actor"][..], "no such cell: ecko; did you mean echo?"),
            (&["actor"], "names are actor"),
            (&[], "no cell has a name"),
            (&many, "and 1 more"),
        ] {
            let Failure { code, message } = no_such_cell("ecko", names);
            assert!(code == code::UNAVAILABLE && message.contains(part), "{message}");
        }
    }
}
