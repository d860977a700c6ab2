//! Just enough of HTTP to ask a server on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ServerError;

/// Gets a page, as text.
pub(super) async fn get(server: SocketAddr, path: &str, within: Duration) -> Result<String, ServerError> {
    exchange(server, &format!("GET {path}"), "", "", within).await
}

/// Posts `body` and gives the answer.
pub(super) async fn post(
    server: SocketAddr,
    path: &str,
    token: Option<&str>,
    body: &Value,
    within: Duration,
) -> Result<Value, ServerError> {
    let token = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
    let content = exchange(server, &format!("POST {path}"), &token, &body.to_string(), within).await?;
    serde_json::from_str(&content).map_err(|error| {
        ServerError::refused(format!("POST {server}{path}"), format!("{error} in {content:?}"))
    })
}

/// HTTP/1.0, so that the answer is not in chunks and ends with the connection.
async fn exchange(
    server: SocketAddr,
    request: &str,
    headers: &str,
    body: &str,
    within: Duration,
) -> Result<String, ServerError> {
    let length = body.len();
    let sent =
        format!("{request} HTTP/1.0\r\nHost: {server}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    let request = request.replacen(' ', &format!(" {server}"), 1);
    let exchange = async {
        let mut connection = TcpStream::connect(server).await?;
        connection.write_all(sent.as_bytes()).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let timed_out = |_| ServerError::Timeout { what: request.clone(), within, log: String::new() };
    let answer = timeout(within, exchange).await.map_err(timed_out)?.map_err(ServerError::io(&request))?;
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        Ok(content.to_owned())
    } else {
        Err(ServerError::refused(request, content))
    }
}
