//! The table, for people and documents, and `target/bench/summary.json`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};

use super::record::{Better, Of, Record, Verdict};

/// Columns of the table.
const COLUMNS: usize = 10;

/// Where the results are kept.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench")
}

/// Prints what was measured.
pub(crate) fn print(records: &[Record]) {
    let table = table(records);
    let mut widths = [0; COLUMNS];
    for line in &table {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for line in table {
        let cells = line.iter().zip(widths).enumerate();
        let text: Vec<String> = cells
            .map(|(at, (cell, width))| if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
            .collect();
        println!("{}", text.join("  ").trim_end());
    }
}

/// Prints the table of the last runs for a document.
pub(crate) fn print_markdown() -> Result<ExitCode> {
    let records = read()?;
    println!("{}\n", conditions(&records));
    for (place, line) in table(&records).iter().enumerate() {
        println!("| {} |", line.join(" | "));
        if place == 0 {
            println!("|---|{}", "--:|".repeat(COLUMNS - 1));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was measured, with what, and where.
pub(crate) fn conditions(records: &[Record]) -> String {
    let versions = records.iter().flat_map(|record| &record.versions);
    let versions = distinct(versions.map(|(name, version)| format!("{name} {version}")));
    let commits = distinct(records.iter().map(|record| record.commit.clone()));
    format!("Commit {}. {}.", commits.join(", "), versions.join(", "))
}

fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// The table, with its head.
pub(crate) fn table(records: &[Record]) -> Vec<[String; COLUMNS]> {
    let head = ["name", "value", "unit", "floor", "ratio", "spread", "p50 µs", "p99 µs", "target", "verdict"];
    std::iter::once(head.map(str::to_owned)).chain(records.iter().map(line)).collect()
}

fn line(record: &Record) -> [String; COLUMNS] {
    let target = record.target.zip(record.target_of).map(|(limit, of)| target(record, limit, of));
    [
        record.name.clone(),
        number(record.value),
        record.unit.clone(),
        record.floor.map(number).unwrap_or_default(),
        record.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        record.spread.map(|(low, high)| format!("{low:.2}–{high:.2}")).unwrap_or_default(),
        record.p50.map(number).unwrap_or_default(),
        record.p99.map(number).unwrap_or_default(),
        target.clone().unwrap_or_default(),
        target.map_or("", |_| if record.verdict == Verdict::Pass { "pass" } else { "miss" }).to_owned(),
    ]
}

fn target(record: &Record, limit: f64, of: Of) -> String {
    match (of, record.better) {
        (Of::Ratio, _) => format!("ratio ≤ {limit}"),
        (Of::Aim, _) => format!("aim: ratio ≤ {limit}"),
        (Of::Value, Better::Lower) => format!("≤ {}", number(limit)),
        (Of::Value, Better::Higher) => format!("≥ {}", number(limit)),
    }
}

/// Three digits that count, and thousands set apart.
pub(crate) fn number(value: f64) -> String {
    let decimals = if value.abs() < 10.0 {
        2
    } else if value.abs() < 100.0 {
        1
    } else {
        0
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

/// Puts the records in the place of older ones of the same rows.
pub(crate) fn write(records: &[Record]) -> Result<()> {
    let directory = directory();
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let mut all = read().unwrap_or_default();
    all.retain(|old| !records.iter().any(|new| new.row() == old.row()));
    all.extend_from_slice(records);
    let order = |record: &Record| crate::rows::ALL.iter().position(|row| row.name == record.row());
    all.sort_by_key(order);
    let path = directory.join("summary.json");
    fs::write(&path, serde_json::to_string_pretty(&all)?).with_context(|| path.display().to_string())?;
    super::page::write(&directory, &all)
}

fn read() -> Result<Vec<Record>> {
    let path = directory().join("summary.json");
    let text = fs::read_to_string(&path).with_context(|| format!("{}: run `make bench` first", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Fails if the last run of a row missed a target for its ratio. Targets for values hold on quiet machines only.
pub(crate) fn check() -> Result<ExitCode> {
    let missed: Vec<Record> = read()?
        .into_iter()
        .filter(|record| record.verdict == Verdict::Miss && record.target_of == Some(Of::Ratio))
        .collect();
    if missed.is_empty() {
        println!("every ratio is within its target");
        return Ok(ExitCode::SUCCESS);
    }
    print(&missed);
    Ok(ExitCode::FAILURE)
}
