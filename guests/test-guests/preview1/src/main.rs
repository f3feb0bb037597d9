//! A core preview 1 module without the SDK: runs as a program, and in async mode through `ww_poll`.
//!
//! | first argument | what it does |
//! |---|---|
//! | none, `cat` | copies standard input to standard output |
//! | `args` | prints its arguments, one per line |
//! | `env` | prints its environment, sorted, as `KEY=VALUE` lines |
//! | `exit N` | `std::process::exit(N)`, which arrives as N |
//! | `panic` | panics |
//! | `spin` | computes for ever |

use std::{
    env, hint,
    io::{self, BufRead, Write},
    process,
};

fn main() -> io::Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["cat"] => copy()?,
        ["args", ref rest @ ..] => rest.iter().for_each(|arg| println!("{arg}")),
        ["env"] => {
            let mut variables: Vec<_> = env::vars().collect();
            variables.sort();
            variables.iter().for_each(|(key, value)| println!("{key}={value}"));
        }
        ["exit", code] => process::exit(code.parse().map_err(io::Error::other)?),
        ["panic"] => panic!("on purpose"),
        ["spin"] => loop {
            hint::spin_loop();
        },
        _ => return Err(io::Error::other(format!("no such test: {args:?}"))),
    }
    Ok(())
}

/// One message. There is nobody to return an error to: what cannot be copied, traps.
#[unsafe(no_mangle)]
extern "C" fn ww_poll() {
    copy().expect("the message can be copied");
}

fn copy() -> io::Result<()> {
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    io::copy(&mut stdin, &mut stdout)?;
    // Without the SDK, nobody else keeps one message from the next.
    stdout.flush()?;
    let left = stdin.fill_buf()?.len();
    stdin.consume(left);
    Ok(())
}
