use std::{
    io,
    sync::{Arc, Mutex},
};

use super::*;

#[path = "../../fuzz/mutate.rs"]
mod mutate;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(what: impl FnOnce()) -> String {
    logged_with(false, what)
}

fn logged_with(ansi: bool, what: impl FnOnce()) -> String {
    let written = Written::default();
    let writer = written.clone();
    let filter = EnvFilter::new("trace");
    tracing::subscriber::with_default(subscriber(filter, move || writer.clone(), ansi), what);
    let bytes = written.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("text")
}

const EVIL: &str = "x\n2026-01-01T00:00:00.000000Z  INFO ww::node: FORGED\x1b[2J\u{9b}31m\u{202e}\r";

#[test]
fn an_event_is_one_line_that_no_field_can_break_or_colour() {
    let error = io::Error::other(EVIL);
    let source: &(dyn std::error::Error + 'static) = &error;
    let log = logged(|| {
        tracing::info!(cell = 1, %error, text = EVIL, debug = ?EVIL, source, "a cell says {EVIL}");
        tracing::warn!(target: "ww::stderr", "{EVIL}");
        let span = tracing::info_span!("span", name = EVIL);
        span.in_scope(|| tracing::info!("inside"));
    });
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(!log.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{log:?}");
    assert!(log.lines().all(|line| line.contains("INFO") || line.contains("WARN ww::stderr: x\\n2026")), "{log}");
    assert!(log.contains(
        " INFO ww::log::tests: a cell says x\\n2026-01-01T00:00:00.000000Z  INFO ww::node: FORGED\\u{1b}[2J"
    ));
    assert!(log.contains(" cell=1 error=x\\n2026"), "{log}");
}

#[test]
fn colours_are_those_of_the_log_alone() {
    let log = logged_with(true, || tracing::info!(cell = 1, text = %EVIL, "said"));
    assert!(log.contains("\x1b[3mcell\x1b[0m\x1b[2m=\x1b[0m1"), "{log:?}");
    assert!(!log.contains("\x1b[2J"), "{log:?}");
}

#[test]
fn a_line_is_as_long_as_its_fields_may_be() {
    let long = "\x1b".repeat(3 << 20);
    let log = logged(|| tracing::info!(error = %long, debug = ?long, backtrace = %long, "{long}"));
    assert!(log.len() <= 2 * MAX_MESSAGE + 2 * MAX_FIELD + 256, "{}", log.len());
    assert!(log.contains("bytes more)"));
}

#[test]
fn a_line_is_charged_to_whom_it_is_about() {
    let flood = |owner: fn(&str)| {
        let text = "x".repeat(1_000);
        logged(|| (0..1_000).for_each(|_| owner(&text)))
    };
    for (log, owner) in [
        (flood(|text| tracing::warn!(cell = 7, "{text}")), "cell 7"),
        (flood(|text| tracing::info!(cell = 7, owner = 3, "{text}")), "cell 3"),
        (flood(|text| tracing::info!(slot = 2, peer = %"abc", "{text}")), "peer abc"),
        (flood(|text| tracing::info!(addr = %text, "an attempt")), "strangers"),
    ] {
        let most = BURST + 10 * RATE;
        assert!((BURST / 2..most).contains(&(log.len() as u64)), "{owner}: {}", log.len());
        assert!(log.contains(&format!(" of {owner} were left out")), "{owner}: {}", &log[log.len() - 300..]);
    }
    let all = flood(|text| tracing::info!("{text}"));
    assert!(!all.contains("left out"), "the node says what it has to say");
}

#[test]
fn any_bytes_are_a_text_of_others() {
    let all: String = (0..=0xffff).step_by(7).filter_map(char::from_u32).collect();
    let seeds = [EVIL.into(), "\u{1b}\u{9b}\u{202e}\u{2028}".repeat(20).into(), all.as_bytes()[..8_000].to_vec()];
    mutate::drive("text", ww_core::fuzz::text, &seeds);
}
