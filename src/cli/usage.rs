//! What is said about arguments that are wrong. They may be text of others: a shell puts names of files there.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use ww_core::text;

use super::{Failure, code};

/// Whether help or the version was asked for, or stands in for what is missing.
pub(super) fn is_help(error: &Error) -> bool {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand)
}

/// What is wrong, with arguments as they are shown of others: escaped and short.
pub(super) fn failure(mut error: Error) -> Failure {
    let of_others = |(kind, value): (ContextKind, &ContextValue)| match value {
        ContextValue::String(text) => Some((kind, ContextValue::String(text::name(text)))),
        _ => None,
    };
    for (kind, text) in error.context().filter_map(of_others).collect::<Vec<_>>() {
        error.insert(kind, text);
    }
    let message = error.render().to_string();
    Failure { code: code::USAGE, message: message.trim_start_matches("error: ").trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn arguments_are_shown_escaped_and_short_and_what_is_wrong_with_them_is_said() {
        let long = "x".repeat(100_000);
        for (args, parts) in [
            (&["\x1b[2J"][..], &["unrecognized subcommand '\\u{1b}[2J'", "Usage: ww"][..]),
            (&["ps", "--\x1b[2J"], &["unexpected argument '--\\u{1b}[2J'"]),
            (&["run", "x", "--env", "\x1b\nww: FORGED"], &["value '\\u{1b}\\nww: FORGED' for", "expected KEY=VALUE"]),
            (&["run", "x", "--control", &long], &["x…' for", "expected unix:PATH"]),
            (&["ps", "--node", &long], &["x…' for", "expected unix:PATH"]),
            (&["run", "x", "--ipfs-url", &long], &["x…' for", "expected one like"]),
            (&["run", "x", "--name", &long], &["x…' for", "1 to 63 characters"]),
            (&[&long], &["unrecognized subcommand", "x…'"]),
        ] {
            let error = Cli::try_parse_from(["ww"].iter().chain(args)).expect_err("wrong");
            assert!(!is_help(&error));
            let Failure { code, message } = failure(error);
            assert_eq!(code, code::USAGE);
            assert!(message.len() < 2 * text::MAX_ERROR, "{} bytes: {}", message.len(), text::name(&message));
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
            assert!(!message.contains(['\x1b']) && !message.starts_with("error"), "{message}");
        }
        let help = Cli::try_parse_from(["ww", "--help"]).expect_err("no verb");
        assert!(is_help(&help));
    }
}
