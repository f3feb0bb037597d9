//! The entry points of a cell.

use std::{
    fmt::Display,
    io::{self, BufRead, Write},
    process::ExitCode,
};

/// Makes the crate a cell whose entry points are plain functions.
///
/// | key | what the component gains | called | function |
/// |---|---|---|---|
/// | `main` | `wasi:cli/run` | once, in sync mode and by `runBytes` | `fn()` that returns `()` or `Result<(), E>` |
/// | `poll` | `wetware:cell/actor` | once per message, in async mode | the same |
/// | `handle` | `wetware:cell/handler` | once per small message, in async mode | `fn(Vec<u8>)` that returns `Vec<u8>` or `Result<Vec<u8>, E>` |
///
/// `E` is anything that can be displayed. Any subset will do; `main` must not be named `main`, because
/// that is the name of the function that the macro writes. A cell without `main` is a library of
/// `crate-type = ["cdylib"]`, a cell with `main` an ordinary program.
///
/// An error that `main` returns is printed to standard error and ends the cell with code 1. An error
/// that `poll` or `handle` returns fails that message; the cell lives on. A panic prints its message to
/// standard error and traps, which ends the cell.
///
/// Around each message the standard streams are put in order: what was printed is flushed, and what
/// [`std::io::stdin`] had buffered of the message is dropped, so that nothing of one message reaches
/// the next. Code that reads standard input around `std` has to read its message to the end itself.
#[macro_export]
macro_rules! cell {
    (@main $function:expr) => {
        fn main() -> ::std::process::ExitCode {
            $crate::entry::main($function)
        }
    };
    (@poll $function:expr) => {
        const _: () = {
            struct Actor;

            impl $crate::bindings::actor::exports::wetware::cell::actor::Guest for Actor {
                fn poll() -> ::std::result::Result<(), ::std::string::String> {
                    $crate::entry::poll($function)
                }
            }

            $crate::bindings::actor::export!(Actor with_types_in $crate::bindings::actor);
        };
    };
    (@handle $function:expr) => {
        const _: () = {
            struct Handler;

            impl $crate::bindings::handler::exports::wetware::cell::handler::Guest for Handler {
                fn handle(
                    body: ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<::std::vec::Vec<u8>, ::std::string::String> {
                    $crate::entry::handle($function, body)
                }
            }

            $crate::bindings::handler::export!(Handler with_types_in $crate::bindings::handler);
        };
    };
    ($($key:ident: $function:expr),+ $(,)?) => {
        $($crate::cell!(@$key $function);)+
    };
}

/// What an entry point may return: a value, or a value or an error.
pub trait Outcome {
    /// What it returns where nothing fails.
    type Value;

    /// The value, or the error as text.
    ///
    /// # Errors
    ///
    /// Where the entry point returned an error.
    fn into_result(self) -> Result<Self::Value, String>;
}

impl Outcome for () {
    type Value = ();

    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl Outcome for Vec<u8> {
    type Value = Self;

    fn into_result(self) -> Result<Self, String> {
        Ok(self)
    }
}

impl<T, E: Display> Outcome for Result<T, E> {
    type Value = T;

    /// The alternate form, with which errors that keep their causes show them all.
    fn into_result(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Runs `main` and turns its outcome into an exit code.
#[doc(hidden)]
pub fn main<O: Outcome<Value = ()>>(function: impl FnOnce() -> O) -> ExitCode {
    crate::log::init();
    match function().into_result() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Standard error is the last place to report to.
            let _ = writeln!(io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `poll` on one message, between two clean states of the standard streams.
#[doc(hidden)]
pub fn poll<O: Outcome<Value = ()>>(function: impl FnOnce() -> O) -> Result<(), String> {
    crate::log::init();
    let outcome = function().into_result();
    let flushed = flush();
    discard_buffered_input();
    outcome.and(flushed)
}

/// Runs `handle` on one message.
#[doc(hidden)]
pub fn handle<O: Outcome<Value = Vec<u8>>>(
    function: impl FnOnce(Vec<u8>) -> O,
    body: Vec<u8>,
) -> Result<Vec<u8>, String> {
    crate::log::init();
    let outcome = function(body).into_result();
    flush()?;
    outcome
}

/// Writes out what `print!` and its like have buffered.
pub(crate) fn flush() -> Result<(), String> {
    io::stdout().flush().map_err(|error| format!("standard output: {error}"))?;
    io::stderr().flush().map_err(|error| format!("standard error: {error}"))
}

/// Empties the buffer of [`std::io::stdin`].
///
/// One look at the buffer is enough: it shows all that is buffered, and reads from the stream only
/// where there is nothing. What the stream still holds is discarded by the node.
fn discard_buffered_input() {
    let mut stdin = io::stdin().lock();
    // A broken stream has nothing that could reach the next message.
    let buffered = stdin.fill_buf().map_or(0, <[u8]>::len);
    stdin.consume(buffered);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_a_value_or_an_error_as_text() {
        assert_eq!(().into_result(), Ok(()));
        assert_eq!(vec![1].into_result(), Ok(vec![1]));
        assert_eq!(Ok::<_, io::Error>(7).into_result(), Ok(7));
        assert_eq!(Err::<(), _>(io::Error::other("no")).into_result(), Err("no".to_owned()));
    }

    #[test]
    fn an_error_of_main_is_a_failure() {
        // `ExitCode` has no equality, its text has.
        let text = |code: ExitCode| format!("{code:?}");
        assert_eq!(text(main(|| ())), text(ExitCode::SUCCESS));
        assert_eq!(text(main(|| Err::<(), _>("expected in the output of this test"))), text(ExitCode::FAILURE));
    }
}
