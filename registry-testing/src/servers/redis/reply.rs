//! Requests to one Redis, and its answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::ServerError;

/// For one command.
const COMMAND: Duration = Duration::from_secs(5);
/// For asking around: long enough for a busy machine, short enough when one does not answer.
const SHORT: Duration = Duration::from_secs(1);

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing, as for a key that is not there.
    Nil,
    /// A number.
    Number(i64),
    /// A status, such as `OK`, or a value.
    Text(Vec<u8>),
    /// Several.
    List(Vec<Reply>),
}

impl Reply {
    /// As text; empty if it is none.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// As it is; empty if it is no text.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(bytes) => bytes.clone(),
            _ => Vec::new(),
        }
    }

    /// Its items; none if it is no list.
    #[must_use]
    pub fn list(&self) -> &[Reply] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// A list of names, each with its value behind it.
    pub(super) fn pairs(&self) -> HashMap<String, String> {
        self.list().chunks_exact(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
    }

    /// The lines `name:value` of an `INFO`.
    pub(super) fn info(&self) -> HashMap<String, String> {
        let text = self.text();
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// One command that has one answer, on a connection of its own.
pub(in super::super) async fn ask(
    server: SocketAddr,
    words: &[impl AsRef<[u8]>],
) -> Result<Reply, ServerError> {
    ask_within(COMMAND, server, words).await
}

/// The same, for one of several that are asked; none if it does not answer soon, or with an error.
pub(super) async fn ask_shortly(server: SocketAddr, words: &[impl AsRef<[u8]>]) -> Option<Reply> {
    ask_within(SHORT, server, words).await.ok()
}

async fn ask_within(
    within: Duration,
    server: SocketAddr,
    words: &[impl AsRef<[u8]>],
) -> Result<Reply, ServerError> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    let name =
        words.first().map(|word| String::from_utf8_lossy(word.as_ref()).into_owned()).unwrap_or_default();
    let exchange = async {
        let mut connection = TcpStream::connect(server).await?;
        connection.write_all(&request).await?;
        let mut connection = BufReader::new(connection);
        let answer = reply(&mut connection).await?;
        // Who waits for a condition asks a thousand times, and each would leave a port that is in use for another minute.
        SockRef::from(connection.get_ref()).set_linger(Some(Duration::ZERO))?;
        Ok(answer)
    };
    let timed_out = |_| ServerError::Timeout { what: name.clone(), within, log: String::new() };
    let answer = timeout(within, exchange).await.map_err(timed_out)?;
    answer.map_err(ServerError::io(&name))?.map_err(|error| ServerError::refused(name, error))
}

/// Whether it serves. While it loads its data it answers with an error; with `requirepass` it does as well, but another.
pub(in super::super) async fn answers(server: SocketAddr) -> bool {
    match ask(server, &["PING"]).await {
        Ok(_) => true,
        Err(ServerError::Refused { answer, .. }) => answer.starts_with("NOAUTH"),
        Err(_) => false,
    }
}

type Connection = BufReader<TcpStream>;

/// Reads one answer: the inner error is the server's.
async fn reply(from: &mut Connection) -> std::io::Result<Result<Reply, String>> {
    let line = line(from).await?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange(&line))?;
    let number = || rest.parse::<i64>().map_err(|_| strange(&line));
    Ok(Ok(match kind {
        "+" => Reply::Text(rest.as_bytes().to_vec()),
        "-" => return Ok(Err(rest.to_owned())),
        ":" => Reply::Number(number()?),
        "$" => match usize::try_from(number()?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Reply::Text(bytes)
            }
        },
        "*" => match usize::try_from(number()?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut list = Vec::new();
                for _ in 0..length {
                    match Box::pin(reply(from)).await? {
                        Ok(item) => list.push(item),
                        Err(error) => return Ok(Err(error)),
                    }
                }
                Reply::List(list)
            }
        },
        _ => return Err(strange(&line)),
    }))
}

async fn line(from: &mut Connection) -> std::io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    Ok(line.trim_end_matches("\r\n").to_owned())
}

fn strange(line: &str) -> std::io::Error {
    std::io::Error::other(format!("not an answer of Redis: {line:?}"))
}
