//! What `/metrics` says, and what the documentation says of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::{Command, Stdio},
};

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

/// What there is to know of a metric before it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
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
            let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
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

    /// All series, by their name and labels as they are written.
    pub fn names(&self) -> BTreeSet<&str> {
        self.lines().map(|(series, _)| series).collect()
    }

    fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        // Of an exemplar nothing is wanted here.
        let lines = lines.filter_map(|line| line.split(" # ").next());
        lines.filter_map(|line| line.rsplit_once(' '))
    }

    /// The type of each metric, as a line says it.
    pub fn kinds(&self) -> BTreeMap<String, &str> {
        let said = self.0.lines().filter_map(|line| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            Some((format!("{name}{suffix}"), kind))
        });
        said.collect()
    }

    /// The metrics in it, as the official parser for Python reads them; it refuses what is not
    /// `OpenMetrics`. Labels are those of the series that are there.
    ///
    /// `python3`, or what `TOOLGATE_TEST_PYTHON` names, must have the package `prometheus_client`.
    pub fn parsed(&self) -> Result<BTreeMap<String, Metric>> {
        let python = std::env::var_os("TOOLGATE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
        let mut parser = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/metrics.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // It reads all of it before it says anything.
        let mut stdin = parser.stdin.take().context("stdin is piped")?;
        let written = stdin.write_all(self.0.as_bytes());
        drop(stdin);
        let output = parser.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{complaint}\n{}", self.0);
        written?;
        let metrics = std::str::from_utf8(&output.stdout)?.lines().map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            let (name, kind) = (words.next()?, words.next()?);
            let labels = words.collect();
            Some((name, Metric { kind, labels }))
        });
        metrics.collect::<Option<_>>().context("a name and a type")
    }

    /// The value of one series; zero for one that is not there, as a query has it.
    pub fn value(&self, series: &str) -> u64 {
        let found = self.lines().find(|(name, _)| *name == series);
        found
            .and_then(|(_, value)| whole(value))
            .unwrap_or_default()
    }

    /// The series of one metric that are not zero: their labels, as they are written.
    pub fn counted(&self, metric: &str) -> BTreeMap<&str, u64> {
        let of_metric = self.lines().filter_map(|(series, value)| {
            let labels = series.strip_prefix(metric)?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            let value = whole(value).filter(|value| *value > 0)?;
            is_it.then_some((labels, value))
        });
        of_metric.collect()
    }
}

/// What counts, counts whole things, in a histogram too.
fn whole(value: &str) -> Option<u64> {
    value.strip_suffix(".0").unwrap_or(value).parse().ok()
}

/// The rows of docs/observability.md under the heading `section`, by the name of their metric.
pub fn documented(section: &str) -> BTreeMap<String, Metric> {
    let text = include_str!("../../docs/observability.md");
    let from = text.split("\n## ").find(|part| part.starts_with(section));
    let rows = from.unwrap_or_default().lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        let (kind, labels) = (cells.next()?.to_owned(), cells.next()?);
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned());
        let labels = labels.collect();
        Some((name, Metric { kind, labels }))
    });
    rows.collect()
}
