//! A histogram with fixed buckets.

/// How many observed values fall into each bucket, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The upper bounds, rising.
    bounds: &'static [f64],
    /// One per bound, and one for the values above all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, which rise.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Counts a time in milliseconds, as seconds.
    pub fn observe_ms(&mut self, ms: u64) {
        self.observe(ms as f64 / 1_000.0);
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The upper bound of each bucket, the last of which is infinite, and the number of values in it alone.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let mut histogram = Histogram::new(&[1.0, 5.0]);
        for value in [0.0, 1.0, 1.1, 5.0, 5.1, 1e9] {
            histogram.observe(value);
        }
        let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
        assert_eq!(buckets, [(1.0, 2), (5.0, 2), (f64::INFINITY, 2)]);
        assert_eq!(histogram.count(), 6);
        assert!((histogram.sum() - (1e9 + 12.2)).abs() < 1e-3);
    }

    #[test]
    fn milliseconds_count_as_seconds() {
        let mut histogram = Histogram::new(&[0.25]);
        histogram.observe_ms(250);
        histogram.observe_ms(251);
        assert_eq!(
            histogram
                .buckets()
                .map(|(_, count)| count)
                .collect::<Vec<_>>(),
            [1, 1]
        );
        assert!((histogram.sum() - 0.501).abs() < 1e-9);
    }
}
