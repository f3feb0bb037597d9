//! Sizes and times as people write them.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// Units of sizes, in bytes.
const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// Units of times, in milliseconds. `ms` comes before `s`, which it ends with.
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// A size of at least one byte: `65536` or `"64KiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(u64);

/// A time of at least one millisecond: `30000` or `"30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(u64);

impl Bytes {
    /// The plain number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl Millis {
    /// The plain number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a size above 0: bytes, or a whole number with a unit, like \"64MiB\" (B, KiB, MiB, GiB)";
        deserializer.deserialize_any(Amount { units: &SIZES, expected }).map(Self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a time above 0: milliseconds, or a whole number with a unit, like \"30s\" (ms, s, m, h)";
        deserializer.deserialize_any(Amount { units: &TIMES, expected }).map(Self)
    }
}

struct Amount {
    units: &'static [(&'static str, u64)],
    expected: &'static str,
}

impl Amount {
    fn parse(&self, text: &str) -> Option<u64> {
        let (digits, factor) =
            self.units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), factor)))?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse::<u64>().ok()?.checked_mul(*factor)
    }
}

impl de::Visitor<'_> for Amount {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_i64<E: de::Error>(self, amount: i64) -> Result<u64, E> {
        match u64::try_from(amount) {
            Ok(amount) if amount > 0 => Ok(amount),
            _ => Err(E::invalid_value(de::Unexpected::Signed(amount), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, amount: u64) -> Result<u64, E> {
        if amount > 0 { Ok(amount) } else { Err(E::invalid_value(de::Unexpected::Unsigned(amount), &self)) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        match self.parse(text) {
            Some(amount) if amount > 0 => Ok(amount),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_whole_numbers_with_a_unit() {
        let size = Amount { units: &SIZES, expected: "" };
        for (text, bytes) in [("1B", 1), ("2KiB", 2_048), ("64MiB", 64 << 20), ("1 GiB", 1 << 30)] {
            assert_eq!(size.parse(text), Some(bytes), "{text}");
        }
        let time = Amount { units: &TIMES, expected: "" };
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(time.parse(text), Some(millis), "{text}");
        }
        for bad in ["", "MiB", "64", "64MB", "-1B", "+1B", "1.5GiB", "99999999999999999999B", "17179869184GiB"] {
            assert_eq!(size.parse(bad), None, "{bad}");
        }
        for bad in ["", "s", "30", "1d", "0x1s", "9999999999999999999h"] {
            assert_eq!(time.parse(bad), None, "{bad}");
        }
    }
}
