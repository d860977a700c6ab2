//! Just enough of HTTP to ask a server on this machine for JSON.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ServerError;

/// Posts `body` and gives the answer. HTTP/1.0, so that the answer is not in chunks and ends with the connection.
pub(super) async fn post(
    server: SocketAddr,
    path: &str,
    token: Option<&str>,
    body: &Value,
    within: Duration,
) -> Result<Value, ServerError> {
    let body = body.to_string();
    let token = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
    let head =
        format!("POST {path} HTTP/1.0\r\nHost: {server}\r\n{token}Content-Length: {}\r\n\r\n", body.len());
    let request = format!("POST {server}{path}");
    let exchange = async {
        let mut connection = TcpStream::connect(server).await?;
        connection.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let timed_out = |_| ServerError::Timeout { what: request.clone(), within, log: String::new() };
    let answer = timeout(within, exchange).await.map_err(timed_out)?.map_err(ServerError::io(&request))?;
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) != Some("200") {
        return Err(ServerError::refused(request, content));
    }
    serde_json::from_str(content)
        .map_err(|error| ServerError::refused(request, format!("{error} in {content:?}")))
}
