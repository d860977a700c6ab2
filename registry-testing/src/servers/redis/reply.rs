//! Requests to one Redis, and its answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::ServerError;

/// For one command.
const COMMAND: Duration = Duration::from_secs(5);

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
}

/// One command that has one answer, on a connection of its own.
pub(in super::super) async fn ask(
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
        reply(&mut BufReader::new(connection)).await
    };
    let timed_out = |_| ServerError::Timeout { what: name.clone(), within: COMMAND, log: String::new() };
    let answer = timeout(COMMAND, exchange).await.map_err(timed_out)?;
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
