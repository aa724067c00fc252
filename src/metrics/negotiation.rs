//! Chooses the text format of a scrape.

use prometheus_client::encoding::prometheus_text;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    OpenMetrics,
    /// The older one, which every scraper reads, and curl.
    Prometheus,
}

impl TextFormat {
    /// The format that the `Accept` header prefers; [`Self::Prometheus`] if it leaves the choice.
    pub fn negotiate(accept: &str) -> Self {
        let (mut open_metrics, mut prometheus) = (0.0, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0_f32, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match media_type.as_str() {
                "application/openmetrics-text"
                    if matches!(version, None | Some("1.0.0" | "0.0.1")) =>
                {
                    open_metrics = quality.max(open_metrics);
                }
                "text/plain" | "text/*" | "*/*" => prometheus = quality.max(prometheus),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= prometheus {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_chooses_the_format() {
        use TextFormat::{OpenMetrics, Prometheus};
        for (accept, want) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            (
                "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
                Prometheus,
            ),
            ("text/plain;version=0.0.4", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=2.0.0,*/*;q=0.1",
                Prometheus,
            ),
            (
                "application/openmetrics-text;q=0,text/plain;q=0.1",
                Prometheus,
            ),
            ("application/openmetrics-text;q=0", Prometheus),
            (
                "application/openmetrics-text;q=0.4,text/plain;q=0.5",
                Prometheus,
            ),
            ("application/openmetrics-text;q=wrong", Prometheus),
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OpenMetrics,
            ),
        ] {
            assert_eq!(TextFormat::negotiate(accept), want, "{accept}");
        }
    }
}
