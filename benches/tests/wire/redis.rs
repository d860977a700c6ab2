//! Redis, as `MONITOR` shows it.

use std::pin::Pin;

use benches::clients::{Ours, RawRedis};
use benches::topics::stores::lab;
use futures_util::{Stream, StreamExt};
use registry_core::RegistryExt;
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::Redis;

use crate::shape::shape;
use crate::{Tape, assert_the_same, told};

const MARK: &str = "that was all";

struct Monitored<'a> {
    redis: &'a Redis,
    lines: Pin<Box<dyn Stream<Item = String>>>,
}

impl<'a> Monitored<'a> {
    async fn start(redis: &'a Redis) -> Self {
        let monitor = redis::Client::open(redis.url()).unwrap().get_async_monitor().await.unwrap();
        Self { redis, lines: Box::pin(monitor.into_on_message()) }
    }
}

impl Tape for Monitored<'_> {
    async fn taken(&mut self) -> Vec<String> {
        self.redis.command(&["ECHO", MARK]).await.unwrap();
        let mut taken = Vec::new();
        loop {
            let line = self.lines.next().await.expect("Redis goes on");
            let (from, command) = line.split_once("] ").expect("a line of MONITOR");
            match command {
                _ if command == format!("\"ECHO\" \"{MARK}\"") => return taken,
                // What a script does follows from the script and its arguments.
                _ if from.ends_with(" lua") => {}
                // Every ten seconds, whatever is done.
                _ if ["\"INFO\"", "\"CONFIG\""].iter().any(|asked| command.starts_with(asked)) => {}
                _ => taken.push(own(command)),
            }
        }
    }
}

/// Where a call of a script says how long its caller waits: after the name, the keys, and when it is to arrive.
const PATIENCE: usize = 8;

/// The command by its shape, with a word for what is a number of any length: who writes, and how long the answer is waited for, of which the registry takes
/// off what it does not know of the server's clock.
fn own(command: &str) -> String {
    let mut words: Vec<String> = command.split(' ').map(shape).collect();
    let millis = words.get(PATIENCE).and_then(|word| word.trim_matches('"').parse().ok());
    if millis.is_some_and(|millis: u32| (1..=1_000).contains(&millis)) {
        "<patience>".clone_into(&mut words[PATIENCE]);
    }
    // Whoever writes an entry says before it who that is, and its how manieth write that is.
    if let [.., writer, _, entry] = words.as_mut_slice()
        && entry.starts_with("\"{")
    {
        "<writer>".clone_into(writer);
    }
    words.join(" ")
}

#[tokio::test]
async fn the_raw_client_of_redis_sends_what_the_registry_sends() {
    // One server for both, since each call names its process.
    let server = Redis::start(lab().redis_options()).await.unwrap();
    let mut tape = Monitored::start(&server).await;
    let raw = told(RawRedis::connect(&server.url()).await.unwrap(), &mut tape).await;
    server.flush_all().await.unwrap();
    let options = RedisOptions::standalone(server.address().to_string());
    let registry = Ours::new(RedisRegistry::new(options).unwrap().shared());
    assert_the_same(&told(registry, &mut tape).await, &raw);
}
