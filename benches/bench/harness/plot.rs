//! Lines in a picture, as SVG. Both axes are logarithmic.
//!
//! The three pictures need lines, ticks and a legend and nothing else, which is less than a crate for plots would have to be
//! told.

use std::fmt::{self, Write as _};

/// Pixels of the picture, and of what is left around the lines.
const SIZE: (f64, f64) = (820.0, 440.0);
const MARGIN: (f64, f64) = (70.0, 50.0);

/// Pixels of the legend.
const LEGEND: f64 = 210.0;

/// Colours that can be told apart, also by those who see few of them.
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933"];

/// A picture.
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    /// Where the horizontal axis is marked, and with what.
    pub(crate) marks: Vec<(f64, String)>,
    pub(crate) lines: Vec<Line>,
}

/// A line. Lines in a row with the same colour belong together.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Whether it is a floor.
    pub(crate) floor: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What an axis spans, in powers of ten.
#[derive(Clone, Copy)]
struct Span(f64, f64);

impl Span {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let logs = values.filter(|value| *value > 0.0).map(f64::log10);
        let (low, high) = logs.fold((f64::MAX, f64::MIN), |(low, high), log| (low.min(log), high.max(log)));
        if low > high { Self(0.0, 1.0) } else { Self(low - 0.05, high + 0.05) }
    }

    /// From 0 to 1.
    fn share(self, value: f64) -> f64 {
        (value.log10() - self.0) / (self.1 - self.0)
    }
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (across, up) = (Span::of(points().map(|point| point.0)), Span::of(points().map(|point| point.1)));
        let (left, right) = (MARGIN.0, SIZE.0 - LEGEND);
        let (top, bottom) = (MARGIN.1, SIZE.1 - MARGIN.1);
        let x = |value| left + across.share(value) * (right - left);
        let y = |value| bottom - up.share(value) * (bottom - top);
        let (width, height) = SIZE;
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">"#
        )?;
        writeln!(f, r#"<rect width="100%" height="100%" fill="white"/>"#)?;
        let text = |f: &mut fmt::Formatter<'_>, x: f64, y: f64, anchor: &str, text: &str| {
            writeln!(f, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#)
        };
        let stroke = |f: &mut fmt::Formatter<'_>, from: (f64, f64), to: (f64, f64)| {
            let ((x1, y1), (x2, y2)) = (from, to);
            writeln!(f, r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#ddd"/>"##)
        };
        text(f, (left + right) / 2.0, top - 25.0, "middle", self.title)?;
        text(f, (left + right) / 2.0, height - 8.0, "middle", self.x)?;
        text(f, 8.0, top - 10.0, "start", self.y)?;
        for (value, mark) in &self.marks {
            stroke(f, (x(*value), top), (x(*value), bottom))?;
            text(f, x(*value), bottom + 16.0, "middle", mark)?;
        }
        #[expect(clippy::cast_possible_truncation, reason = "powers of ten that can be shown")]
        for power in up.0.ceil() as i32..=up.1.floor() as i32 {
            let value = 10_f64.powi(power);
            stroke(f, (left, y(value)), (right, y(value)))?;
            text(f, left - 6.0, y(value) + 4.0, "end", &super::report::number(value))?;
        }
        let mut colour = 0;
        for (place, line) in self.lines.iter().enumerate() {
            // A floor has the colour of the line that it belongs to, which is the one before.
            if place > 0 && !line.floor {
                colour += 1;
            }
            let stroke = COLOURS[colour % COLOURS.len()];
            let dash = if line.floor { r#" stroke-dasharray="5 4""# } else { "" };
            let mut path = String::new();
            for (place, point) in line.points.iter().filter(|point| point.0 > 0.0 && point.1 > 0.0).enumerate() {
                write!(path, "{}{:.1} {:.1}", if place == 0 { "M" } else { "L" }, x(point.0), y(point.1))?;
            }
            writeln!(f, r#"<path d="{path}" fill="none" stroke="{stroke}" stroke-width="1.8"{dash}/>"#)?;
            let (from, down) = (right + 12.0, top + 16.0 * place as f64);
            let to = from + 22.0;
            writeln!(
                f,
                r#"<line x1="{from}" y1="{down}" x2="{to}" y2="{down}" stroke="{stroke}" stroke-width="1.8"{dash}/>"#
            )?;
            text(f, to + 6.0, down + 4.0, "start", &line.name)?;
        }
        writeln!(f, "</svg>")
    }
}
