//! What `/metrics` says, and what the documentation says of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::PATIENCE;

/// One scrape.
#[derive(Clone, Debug)]
pub struct Exposition(String);

/// A metric as its row in docs/observability.md says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documented {
    /// Counter, gauge, histogram or info.
    pub kind: String,
    /// The names of its labels.
    pub labels: BTreeSet<String>,
}

impl Exposition {
    /// What `address`, `host:port`, serves now, read by the plainest client there is.
    pub async fn scrape(address: &str) -> Result<Self> {
        let exchange = async {
            let mut connection = TcpStream::connect(address).await?;
            let request = "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
            connection.write_all(request.as_bytes()).await?;
            let mut reply = String::new();
            connection.read_to_string(&mut reply).await?;
            anyhow::Ok(reply)
        };
        let reply = timeout(PATIENCE, exchange).await??;
        let (head, body) = reply.split_once("\r\n\r\n").context("a head")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        ensure!(body.ends_with("# EOF\n"), "it is cut: {body}");
        Ok(Self(body.to_owned()))
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value of each series, by its name and labels as they are written.
    pub fn series(&self) -> BTreeMap<&str, f64> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            // Of an exemplar nothing is wanted here.
            let line = line.split(" # ").next().unwrap_or_default();
            let (series, value) = line.rsplit_once(' ')?;
            Some((series, value.parse().ok()?))
        });
        series.collect()
    }

    /// The value of one series; zero for one that is not there, as a query has it.
    pub fn value(&self, series: &str) -> f64 {
        self.series().get(series).copied().unwrap_or_default()
    }

    /// The series of one metric that are not zero: their labels, as they are written.
    pub fn counted(&self, metric: &str) -> BTreeMap<&str, f64> {
        let all = self.series().into_iter();
        let of_metric = all.filter_map(|(series, value)| {
            let labels = series.strip_prefix(metric)?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            (is_it && value != 0.0).then_some((labels, value))
        });
        of_metric.collect()
    }
}

/// The rows of docs/observability.md under the heading `section`, by the name of their metric.
pub fn documented(section: &str) -> BTreeMap<String, Documented> {
    let text = include_str!("../../docs/observability.md");
    let from = text.split("\n## ").find(|part| part.starts_with(section));
    let rows = from.unwrap_or_default().lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        let (kind, labels) = (cells.next()?.to_owned(), cells.next()?);
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned());
        let labels = labels.collect();
        Some((name, Documented { kind, labels }))
    });
    rows.collect()
}
