//! Reasons as other nodes write them: the inverse of [`Reason`]'s text.

use crate::CellId;

use super::{Limit, Reason, Trap};

/// Links in one text: a chain of cells that brought each other down is short, and a peer may write anything.
const MAX_LINKS: u8 = 8;

impl Reason {
    /// The reason that another node reports, with the code that it gives for it. What this version does not know, or
    /// does not believe because the two do not agree, counts as a fault of that node.
    pub fn reported(code: u8, text: &str) -> Self {
        parse(text, MAX_LINKS)
            .filter(|reason| reason.code() == code)
            .unwrap_or_else(|| Self::host_fault(format_args!("the other node reports {text:?} with code {code}")))
    }
}

fn parse(text: &str, links: u8) -> Option<Reason> {
    Some(match text {
        "normal" => Reason::Normal,
        "killed" => Reason::Killed,
        "shutdown" => Reason::Shutdown,
        "no process" => Reason::NoProcess,
        "no connection" => Reason::NoConnection,
        _ => {
            let (kind, rest) = text.split_at(text.find(['(', ':', ' '])?);
            match kind {
                "exit" => Reason::Exit(rest.strip_prefix('(')?.strip_suffix(')')?.parse().ok()?),
                "trap" => {
                    let (kind, message) = rest.strip_prefix('(')?.split_once("): ")?;
                    Reason::Trap(Trap::new(kind, message, "").into())
                }
                "limit" => Reason::Limit(limit(rest.strip_prefix(": ")?)?),
                "start" => Reason::start_failed(rest.strip_prefix(" failed: ")?),
                "host" => Reason::host_fault(rest.strip_prefix(" fault: ")?),
                "link" => {
                    let (cell, reason) = rest.strip_prefix(" to cell ")?.split_once(": ")?;
                    let reason = parse(reason, links.checked_sub(1)?)?.into();
                    Reason::Link { cell: CellId::new(cell.parse().ok()?), reason }
                }
                _ => return None,
            }
        }
    })
}

fn limit(text: &str) -> Option<Limit> {
    [Limit::Memory, Limit::Deadline, Limit::Cpu, Limit::Resources].into_iter().find(|limit| limit.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_as_it_was_written() {
        let trap = Trap::new("unreachable", "wasm: at a): b", "");
        let limits = [Limit::Memory, Limit::Deadline, Limit::Cpu, Limit::Resources];
        let reasons = [
            Reason::Normal,
            Reason::Exit(7),
            Reason::Trap(trap.clone().into()),
            Reason::Killed,
            Reason::Shutdown,
            Reason::start_failed("no room: none"),
            Reason::host_fault(""),
            Reason::NoProcess,
            Reason::NoConnection,
            Reason::Link { cell: CellId::new(9), reason: Reason::Trap(trap.into()).into() },
        ];
        for reason in reasons.into_iter().chain(limits.map(Reason::Limit)) {
            assert_eq!(Reason::reported(reason.code(), &reason.to_string()), reason);
        }
    }

    #[test]
    fn what_is_not_known_or_not_believed_is_a_fault_of_the_other_node() {
        let deep = format!("{}killed", "link to cell 1: ".repeat(1_000));
        let texts = [(0, "killed"), (7, "exit(8)"), (7, "exit(7"), (1, ""), (1, "ä"), (1, "sleepy"), (137, &*deep)];
        for (code, text) in texts {
            assert!(
                matches!(Reason::reported(code, text), Reason::HostFault(why) if why.contains("reports")),
                "{text}"
            );
        }
    }
}
