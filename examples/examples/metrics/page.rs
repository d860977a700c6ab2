//! The page: fetched as a Prometheus does, and put in order for people.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Result;

/// What is served at `/metrics`.
pub(crate) async fn scrape(address: SocketAddr) -> Result<String> {
    let answer = timeout(Duration::from_secs(5), async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    });
    let answer = answer.await??;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no end of the head")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("not a page: {head}").into());
    }
    Ok(body.to_owned())
}

/// The same, the metrics in the order of their names, and of their labels.
pub(crate) fn sorted(page: &str) -> String {
    let mut families = BTreeMap::new();
    for family in page.split("\n\n").map(str::trim).filter(|family| !family.is_empty()) {
        let (comments, mut lines): (Vec<_>, Vec<_>) = family.lines().partition(|line| line.starts_with('#'));
        // Buckets stay in the order of their bounds.
        lines.sort_by_key(|line| line.split("le=").next());
        families.insert(comments.clone(), [comments, lines].concat().join("\n") + "\n");
    }
    families.into_values().collect::<Vec<_>>().join("\n")
}

/// What counts the same in every run: times do not, nor does how many changes a watch was told, since some may be in the list that it began with.
#[cfg(test)]
pub(crate) fn counts(page: &str) -> BTreeMap<String, String> {
    let varies = |metric: &str| metric.contains("_seconds") || metric.contains("change=\"put\"");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| line.rsplit_once(' ')).filter(|(metric, _)| !varies(metric));
    values.map(|(metric, value)| (metric.to_owned(), value.to_owned())).collect()
}

/// Everything but the values.
#[cfg(test)]
pub(crate) fn shape(page: &str) -> std::collections::BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.is_empty());
    let shape = lines.map(|line| match line.rsplit_once(' ') {
        Some((metric, _)) if !line.starts_with('#') => metric,
        _ => line,
    });
    shape.map(str::to_owned).collect()
}
