//! Writes families of metrics.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use forgewatch_core::measurements::Histogram;

pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    /// The format adds `_info` to the name.
    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &impl EncodeLabelSet,
    ) -> fmt::Result {
        let mut family = (self.0).encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(labels)
    }

    pub(super) fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, values, |metric, value| {
            metric.encode_gauge(&value)
        })
    }

    /// A gauge without labels.
    pub(super) fn value(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let no_labels: [(&str, &str); 0] = [];
        self.gauge(name, help, [(no_labels, value)])
    }

    /// The format adds `_total` to the name.
    pub(super) fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, values, |metric, value| {
            metric.encode_counter::<NoLabelSet, f64, f64>(&value, None)
        })
    }

    pub(super) fn histogram<'h, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, &'h Histogram)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Histogram,
            values,
            |metric, value| {
                let buckets: Vec<(f64, u64)> = value.buckets().collect();
                metric.encode_histogram::<NoLabelSet>(value.sum(), value.count(), &buckets, None)
            },
        )
    }

    fn family<L: EncodeLabelSet, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (L, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let seconds = name.strip_suffix("_seconds");
        let (name, unit) = match seconds {
            Some(name) => (name, Some(&Unit::Seconds)),
            None => (name, None),
        };
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in values {
            write(&mut family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}
