//! Pictures of what was measured, and a page that holds them and the table.

use std::{fs, path::Path};

use anyhow::Result;

use super::{
    plot::{Chart, Line},
    record::Record,
    report,
};

/// Draws everything anew from the records.
pub(crate) fn write(directory: &Path, records: &[Record]) -> Result<()> {
    let charts = [
        ("throughput", throughput(records)),
        ("latency", latency(records)),
        ("memory", memory(records)),
        ("in-flight", in_flight(records)),
    ];
    let mut pictures = String::new();
    for (name, chart) in charts {
        fs::write(directory.join(format!("{name}.svg")), chart.to_string())?;
        pictures += &format!("<p><img src=\"{name}.svg\" alt=\"{}\" width=\"820\"></p>\n", chart.title);
    }
    let rows: String =
        report::table(records).iter().map(|line| format!("<tr><td>{}</td></tr>\n", line.join("</td><td>"))).collect();
    let conditions = report::conditions(records).replace('<', "&lt;");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Benchmarks</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em }} td {{ padding: 0 .7em; text-align: right }} \
         td:first-child {{ text-align: left }}</style>\n\
         <h1>Benchmarks</h1>\n<p>{conditions}</p>\n<p>Dashed: the floor. <a href=\"summary.json\">summary.json</a></p>\n\
         {pictures}<table>\n{rows}</table>\n</html>\n"
    );
    Ok(fs::write(directory.join("index.html"), page)?)
}

/// Two lines from records whose names begin like this, with the number after it: the value's and the floor's.
fn lines(
    records: &[Record],
    name: &str,
    label: &str,
    number: impl Fn(&str) -> Option<f64>,
    figure: impl Fn(f64, f64) -> f64,
) -> Vec<Line> {
    let of = |floor: bool| {
        let points = records.iter().filter_map(|record| {
            let at = number(record.name.strip_prefix(name)?)?;
            let value = if floor { record.floor? } else { record.value };
            Some((at, figure(at, value)))
        });
        let name = if floor { format!("{label}, floor") } else { label.to_owned() };
        Line { name, floor, points: points.collect() }
    };
    vec![of(false), of(true)]
}

/// Bytes in a second, there and back, over the bytes of a message.
fn throughput(records: &[Record]) -> Chart<'static> {
    let mebibytes = |bytes: f64, micros: f64| bytes / micros * 1e6 / f64::from(1 << 20);
    let mut all = lines(records, "growth/handle/", "handle", bytes, mebibytes);
    all.extend(lines(records, "growth/stream/", "poll, streams", bytes, mebibytes));
    for transport in ["tcp", "quic"] {
        let name = format!("stream/{transport}/framed/");
        let at = |rest: &str| bytes(rest.strip_suffix("/1")?);
        all.extend(lines(records, &name, &format!("{transport}, framed"), at, mebibytes));
    }
    let marks = ["1B", "16B", "256B", "4KiB", "64KiB", "1MiB", "16MiB", "64MiB"];
    let marks = marks.iter().filter_map(|mark| Some((bytes(mark)?, (*mark).to_owned()))).collect();
    Chart {
        title: "Throughput of one sender, one message at a time",
        x: "bytes of a message",
        y: "MiB/s",
        marks,
        lines: all,
    }
}

/// Microseconds over the share of operations that took no longer.
fn latency(records: &[Record]) -> Chart<'static> {
    let nines = |share: f64| 1.0 / (1.0 - share);
    let shown =
        ["spawn", "spawn-cell", "ask/16B/1", "poll/16B/1", "restart", "rpc/unix/send/1", "stream/tcp/framed/64B/1"];
    let mut all = Vec::new();
    for record in shown.iter().filter_map(|name| records.iter().find(|record| record.name == *name)) {
        let Some(distribution) = &record.distribution else { continue };
        for (floor, latencies) in [(false, &distribution.value), (true, &distribution.floor)] {
            let points = distribution.shares.iter().zip(latencies).map(|(share, micros)| (nines(*share), *micros));
            let name = if floor { format!("{}, floor", record.name) } else { record.name.clone() };
            all.push(Line { name, floor, points: points.collect() });
        }
    }
    let marks = [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];
    let marks = marks.map(|(share, mark)| (nines(share), mark.to_owned())).into();
    Chart { title: "How long single operations take", x: "share of operations", y: "µs", marks, lines: all }
}

/// Memory of an idle cell over the number of cells.
fn memory(records: &[Record]) -> Chart<'static> {
    let at = |rest: &str| rest.strip_suffix("/memory")?.parse().ok();
    let marks = [1, 10, 100, 1_000, 10_000, 30_000].map(|cells: u32| (f64::from(cells), cells.to_string())).into();
    let lines = lines(records, "density/", "cells", at, |_, kib| kib);
    Chart { title: "Resident memory of an idle cell", x: "live cells", y: "KiB each", marks, lines }
}

/// Messages in a second over those in flight.
fn in_flight(records: &[Record]) -> Chart<'static> {
    let lines = lines(records, "growth/in-flight/", "handle, 16 B", |rest| rest.parse().ok(), |_, micros| 1e6 / micros);
    let marks = [1, 2, 4, 8, 16, 32, 64].map(|number: u32| (f64::from(number), number.to_string())).into();
    Chart { title: "Messages of one live cell", x: "messages in flight", y: "messages/s", marks, lines }
}

/// A size as the table writes it.
fn bytes(text: &str) -> Option<f64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        _ => return None,
    };
    Some(text[..digits].parse::<f64>().ok()? * unit)
}
