//! What a number of measurements has in common.

/// Measurements, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    /// Puts them in order. What is not a number is left out.
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value below which this share of all lies, from 0 to 1; 0 where there is none.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
        let place = (last as f64 * share).round() as usize;
        self.0.get(place).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The one in the middle.
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Between which two of them the median of what they are a sample of lies, with a probability of 95 %: as far from the
    /// middle as heads are from half of all throws of a coin.
    pub(crate) fn around_median(&self) -> (f64, f64) {
        let beside = 1.96 * 0.5 / (self.len() as f64).sqrt().max(1.0);
        (self.at(0.5 - beside), self.at(0.5 + beside))
    }
}
