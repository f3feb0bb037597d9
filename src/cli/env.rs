//! `--env` of the verbs that start a program.

/// Reads a variable. Of two with the same name the last one counts.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        for bad in ["", "A", "=b"] {
            assert!(variable(bad).is_err_and(|why| why.contains("KEY=VALUE")), "{bad:?}");
        }
    }
}
