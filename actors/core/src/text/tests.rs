use super::*;

/// Every bound that a caller may want.
const BOUNDS: [usize; 6] = [0, 40, 64, MAX_NAME, MAX_ERROR, usize::MAX];

#[test]
fn what_is_not_seen_is_written_out() {
    for (text, shown) in [
        ("plain \\ \"text\" ~", "plain \\ \"text\" ~"),
        ("ä ß 日本語 नि é e\u{301} 🦀 … ─", "ä ß 日本語 नि é e\u{301} 🦀 … ─"),
        ("\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
        ("a\nb\r\tc\0\x7f", "a\\nb\\r\\tc\\u{0}\\u{7f}"),
        ("\u{80}\u{9b}31m\u{9f}", "\\u{80}\\u{9b}31m\\u{9f}"),
        (
            "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
            r"\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
        ),
        ("\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}\u{e0041}", r"\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}\u{e0041}"),
        ("\u{2028}\u{2029}\u{85}\u{a0}", r"\u{2028}\u{2029}\u{85}\u{a0}"),
        ("\u{115f}\u{3164}\u{2800}\u{e000}\u{378}", r"\u{115f}\u{3164}\u{2800}\u{e000}\u{378}"),
    ] {
        assert_eq!(line(text, MAX_ERROR), shown);
    }
    assert_eq!(lines("a\nb\tc\r\x1b", MAX_ERROR), "a\nb\tc\\r\\u{1b}");
    assert_eq!(bytes(b"a\xff\xc3\n\xc3\xa4", MAX_ERROR), "a\\xff\\xc3\\nä");
    assert_eq!(bytes_in_lines(b"a\xff\n", MAX_ERROR), "a\\xff\n");
    assert_eq!(quoted("a\"\n").to_string(), "\"a\"\\n\"");
}

#[test]
fn no_character_of_any_plane_gets_through_that_controls_something() {
    let controls = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let all: String = (0..=u32::from(char::MAX)).filter_map(char::from_u32).collect();
    let shown = line(&all, usize::MAX);
    assert!(!shown.chars().any(controls));
    assert!(shown.contains('ä') && shown.contains('語'));
}

#[test]
fn a_text_is_as_long_as_it_may_be_after_it_was_escaped_and_says_what_is_missing() {
    for text in ["x", "\x1b", "ä", "\u{202e}", "x\n", "🦀"] {
        let long = text.repeat(10_000);
        for most in BOUNDS {
            let shown = line(&long, most);
            assert!(shown.len() <= most.max(MARK), "{} of {most}", shown.len());
            let Some((head, tail)) = shown.split_once('…') else {
                assert_eq!(most, usize::MAX);
                continue;
            };
            // What is missing begins after the last character that is there, and no escape is torn.
            let missing: usize = tail[2..].split_once(' ').expect("words").0.parse().expect("a number");
            let there = long.len() - missing;
            assert_eq!(head, line(&long[..there], usize::MAX));
            assert!(head.len() + MARK + 9 > most.min(shown.len()), "{head}");
        }
    }
    let exact = "x".repeat(MAX_ERROR);
    assert_eq!(line(&exact, MAX_ERROR), exact, "it fits");
    assert_eq!(bytes(&[0xff; 100_000], 1_000).len() / 1_000, 0);
}

#[test]
fn a_writer_of_an_endless_name_is_told_to_stop() {
    let endless = fmt::from_fn(|f| {
        loop {
            f.write_str("name\n")?;
        }
    });
    let shown = name(endless);
    assert!(shown.starts_with("name\\nname") && shown.ends_with('…') && shown.len() <= MAX_NAME, "{shown}");
    assert_eq!(name("short"), "short");
}

#[test]
fn the_border_can_be_crossed_again() {
    for text in ["a\nb\x1b\\", &"\x1b\n".repeat(9_999), &"ä".repeat(9_999)] {
        let once = Text::from(text);
        assert_eq!(Text::new(&once), once);
        assert_eq!(lines(&once, MAX_ERROR), &*once);
    }
}

#[test]
fn a_text_in_pieces_is_the_same_text() {
    let text = "a\x1bä\n".repeat(5_000);
    let pieces = fmt::from_fn(|f| text.chars().try_for_each(|character| f.write_char(character)));
    assert_eq!(line(pieces, MAX_ERROR), line(&text, MAX_ERROR));
}

#[test]
fn a_character_in_two_pieces_is_whole() {
    for text in ["café", "a–b", "𝄞", "é"] {
        for cut in 0..=text.len() {
            let mut pieces = Pieces::default();
            let shown = pieces.next(&text.as_bytes()[..cut]) + &pieces.next(&text.as_bytes()[cut..]) + &pieces.end();
            assert_eq!(shown, text, "cut at {cut}");
        }
    }
    let mut pieces = Pieces::default();
    assert_eq!(pieces.next(b"a\xc3"), "a", "it may go on");
    assert_eq!(pieces.next(b"b\xff\xe2\x82"), "\\xc3b\\xff", "it did not");
    assert_eq!(pieces.end(), "\\xe2\\x82");
}
