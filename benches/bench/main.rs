//! What the node costs, each row against a floor that is measured in the same run.
//!
//! `cargo bench --workspace --bench bench` runs every row, `… -- spawn ask` runs two of them, `make bench` and
//! `make bench BENCH=spawn` do the same. As a test, that is without `--bench`, each row runs for a moment only and nothing
//! is written: what is shown then is that it works.
//!
//! The harness is the project's own. A ratio on a shared machine means something only if both sides see the same machine,
//! so that short batches of the floor and of the node alternate; neither criterion nor divan interleaves two functions.
//!
//! | file | what it holds |
//! |---|---|
//! | `harness` | one operation, timed in batches beside another; records, the table and `summary.json` |
//! | `floor` | the bare engine: the same guests without the node |
//! | `node` | the node's side of the rows: programs and cells |
//! | `rows` | one file per row |

mod floor;
mod harness;
mod node;
mod rows;

use std::process::ExitCode;

use harness::{Only, Plan, process, report};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if let [part, name, rest @ ..] = arguments
        && part == process::PART
    {
        match name.as_str() {
            rows::density::PART => rows::density::part(rest)?,
            rows::boot::PART => rows::boot::part()?,
            other => anyhow::bail!("no such part: {other}"),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with('-')).collect();
    // Cargo says `--bench` when it benches, and nothing when it tests.
    let test = !flag("--bench");
    if flag("--list") {
        rows::ALL.iter().for_each(|row| println!("{}: {}", row.name, if test { "test" } else { "benchmark" }));
        return Ok(ExitCode::SUCCESS);
    }
    if flag("--check") {
        return report::check();
    }
    if flag("--docs") {
        return report::print_markdown();
    }
    let few = flag("--few-places");
    if few {
        node::have_few();
    }
    let only = match (flag("--only-node"), flag("--only-floor")) {
        (true, _) => Some(Only::Node),
        (_, true) => Some(Only::Floor),
        _ => None,
    };
    let plan = if test || flag("--smoke") { Plan::smoke() } else { Plan::full() }.only(only);
    let plan = plan.cases(arguments.iter().find_map(|argument| argument.strip_prefix("--cases=")).map(str::to_owned));
    let is_wanted = |row: &&rows::Row| wanted.is_empty() || wanted.contains(&row.name);
    let chosen: Vec<&rows::Row> = rows::ALL.iter().filter(is_wanted).collect();
    // A test run that looks for other tests finds none here.
    if chosen.is_empty() && !test {
        let known: Vec<&str> = rows::ALL.iter().map(|row| row.name).collect();
        anyhow::bail!("no such benchmark: {}; there are {}", wanted.join(" "), known.join(" "));
    }
    if test {
        return Ok(run_as_test(&chosen, &plan));
    }
    let mut records = Vec::new();
    for row in chosen {
        eprintln!("{}: {}", row.name, row.about);
        let measured = (row.run)(&plan).map_err(|error| error.context(row.name))?;
        // What is measured for a profile is no figure.
        if !plan.is_smoke() && only.is_none() && !few {
            report::write(&measured)?;
        }
        records.extend(measured);
    }
    report::print(&records);
    Ok(ExitCode::SUCCESS)
}

/// Runs rows for a moment, and says what other tests say. The figures mean nothing.
fn run_as_test(chosen: &[&rows::Row], plan: &Plan) -> ExitCode {
    let mut failed = 0;
    for row in chosen {
        match (row.run)(plan) {
            Ok(_) => println!("test {} ... ok", row.name),
            Err(error) => {
                failed += 1;
                println!("test {} ... FAILED\n{error:#}", row.name);
            }
        }
    }
    let (passed, verdict) = (chosen.len() - failed, if failed == 0 { "ok" } else { "FAILED" });
    let filtered = rows::ALL.len() - chosen.len();
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
