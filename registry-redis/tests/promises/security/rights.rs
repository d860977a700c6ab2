//! What a user must be allowed, found by taking away each right in turn.

use std::time::Duration;

use registry_core::codec::Stored;
use registry_core::{
    ErrorKind, Incarnation, OwnerToken, Registry, ResetCause, Result, ServiceName, Watch, WatchEvent,
};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::redis::{Persistence, Redis, Reply};
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, Record, admin, eventually, instance, lasting, server, ttl, user, weighing};

/// The least that a user needs, after `ACL SETUSER name` and before its password, with the prefix `registry`.
pub(super) const LEAST: &str = "on resetkeys ~registry:* resetchannels &registry:* -@all \
    +evalsha +eval +time +hmget +hget +hgetall +hlen +hscan +hexists +hset +hdel +zscore +zrange +zrangebyscore +zcard +zscan +zadd +zrem \
    +xadd +xrange +del +exists +pexpire +persist +spublish +ssubscribe +sunsubscribe +ping +info +config|get";

/// Of these, without which no operation fails, and `guarantees()` is weaker. Without `INFO` restarts are noticed less surely, so that leases may end
/// while the server is away, and a replica is taken for a primary.
const FACTS: [&str; 2] = ["info", "config|get"];

/// Of this, without which all that listens finds changes only when it looks, once in `check_interval`.
const PROMPTNESS: &str = "spublish";

/// Of these, what changes keys.
const WRITES: [&str; 9] = ["hset", "hdel", "zadd", "zrem", "xadd", "del", "pexpire", "persist", "spublish"];

/// For what is told at once, or within a scrub.
const SOON: Duration = Duration::from_secs(8);

fn commands() -> Vec<&'static str> {
    LEAST.split(' ').filter_map(|word| word.strip_prefix('+')).collect()
}

/// A user of this name with a prefix of its own, who has all the rights but these.
pub(super) async fn user_without(redis: &Redis, name: &str, without: &[&str]) -> RedisOptions {
    let rights = LEAST.replace("registry:", &format!("{name}:"));
    let rights: Vec<_> = rights.split(' ').filter(|right| !without.contains(right)).collect();
    admin(redis, &format!("ACL SETUSER {name} {} >secret", rights.join(" "))).await;
    RedisOptions::standalone(redis.address().to_string()).with_user(name, "secret").with_prefix(name)
}

/// What of all that there is to do does not work.
struct Failed(String);

/// In words, what did not work.
trait Step<T> {
    fn step(self, what: &str) -> std::result::Result<T, Failed>;
}

impl<T> Step<T> for Result<T> {
    fn step(self, what: &str) -> std::result::Result<T, Failed> {
        self.map_err(|error| Failed(format!("{what}: {error}")))
    }
}

fn holds(what: &str, holds: bool) -> std::result::Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed(what.to_owned())) }
}

/// Waits for what the watch tells.
async fn told(
    watch: &mut Watch,
    what: &str,
    mut wanted: impl FnMut(&WatchEvent) -> bool,
) -> std::result::Result<(), Failed> {
    let mut trouble = String::new();
    let search = async {
        while let Some(event) = watch.next().await {
            if let WatchEvent::Stale { error, .. } = &event {
                trouble = format!(": {error}");
            }
            if wanted(&event) {
                return true;
            }
        }
        false
    };
    let found = timeout(SOON, search).await.unwrap_or(false);
    holds(&format!("{what} is told{trouble}"), found)
}

fn puts(event: &WatchEvent, id: &str) -> bool {
    let WatchEvent::Changes(batch) = event else { return false };
    batch
        .changes
        .iter()
        .any(|change| matches!(change, registry_core::Change::Put(entry) if entry.id().as_str() == id))
}

fn deletes(event: &WatchEvent, id: &str) -> bool {
    let WatchEvent::Changes(batch) = event else { return false };
    let gone = |change: &registry_core::Change| matches!(change, registry_core::Change::Delete { id: gone, .. } if gone.as_str() == id);
    batch.changes.iter().any(gone)
}

fn resets(event: &WatchEvent) -> bool {
    matches!(event, WatchEvent::Reset { .. })
}

/// All that clients do, and what operators do to them.
async fn everything(redis: &Redis, options: &RedisOptions) -> std::result::Result<(), Failed> {
    let registry = RedisRegistry::new(options.clone()).unwrap();
    registry.inspect().await.step("inspect")?;
    let mut watch = registry.watch(&user(), None);
    told(&mut watch, "an empty service", resets).await?;
    lives(&registry, options, &mut watch).await?;
    meddling(redis, &registry, options, &mut watch).await?;
    listening(redis, &registry, options).await?;
    let listed = registry.services("").await.step("services")?;
    holds("the service is listed", listed.contains(&user()))
}

/// Registers, renews, updates, leaves and expires; and resumes.
async fn lives(
    registry: &RedisRegistry,
    options: &RedisOptions,
    watch: &mut Watch,
) -> std::result::Result<(), Failed> {
    // The only one there is, so that the service is empty afterwards.
    let left = registry.register(&instance(4), &lasting()).await.step("register")?;
    registry.deregister(&left.lease).await.step("deregister")?;
    told(watch, "a leaving", |event| deletes(event, instance(4).id().as_str())).await?;
    let mut cursor = None;
    for n in 1..=3 {
        let registered = registry.register(&instance(n), &lasting()).await.step("register")?;
        told(watch, "a registration", |event| {
            cursor = cursor.or(event.cursor().filter(|_| puts(event, instance(1).id().as_str())));
            puts(event, instance(n).id().as_str())
        })
        .await?;
        registry.keepalive(&registered.lease).await.step("keepalive")?;
        registry.update(&registered.lease, &weighing(n, 7)).await.step("update")?;
    }
    for (page, found) in [(1_000, 3), (1, 3)] {
        let paged = RedisRegistry::new(options.clone().with_page(page)).unwrap();
        holds("all are found", paged.lookup(&user()).await.step("lookup")?.len() == found)?;
    }
    registry.register(&instance(5), &lasting().with_ttl(ttl(1))).await.step("register")?;
    told(watch, "an end", |event| deletes(event, instance(5).id().as_str())).await?;
    let mut resumed = registry.watch(&user(), cursor);
    let mut reset = false;
    told(&mut resumed, "what happened meanwhile", |event| {
        reset |= resets(event);
        deletes(event, instance(5).id().as_str())
    })
    .await?;
    holds("a watch resumes", !reset)
}

/// An operator writes and removes entries, and spoils the log.
async fn meddling(
    redis: &Redis,
    registry: &RedisRegistry,
    options: &RedisOptions,
    watch: &mut Watch,
) -> std::result::Result<(), Failed> {
    let key = |part: &str| format!("{}:{{{}}}:{part}", options.prefix, user());
    let stored = Stored::new(instance(6), Incarnation::default(), OwnerToken::random()).encode();
    let (instances, id) = (key("instances"), instance(6).id().to_string());
    redis.command(&[b"HSET", instances.as_bytes(), id.as_bytes(), &stored]).await.unwrap();
    told(watch, "what an operator wrote", |event| puts(event, &id)).await?;
    redis.command(&["HDEL", &instances, &id]).await.unwrap();
    told(watch, "what an operator removed", |event| deletes(event, &id)).await?;
    redis.command(&["XADD", &key("log"), "99999999-0", "what", "ever"]).await.unwrap();
    registry.register(&instance(7), &lasting()).await.step("register after the log was spoilt")?;
    Ok(())
}

/// What is not listened to any more is not told any more, and names that nobody uses are forgotten.
async fn listening(
    redis: &Redis,
    registry: &RedisRegistry,
    options: &RedisOptions,
) -> std::result::Result<(), Failed> {
    let channel = format!("{}:{{one.rpc}}:log", options.prefix);
    let index = format!("{}:services", options.prefix);
    let another = async |name: String| {
        told(&mut registry.watch(&ServiceName::new(name).unwrap(), None), "another service", resets).await
    };
    another("one.rpc".into()).await?;
    redis.command(&["ZADD", &index, "1", "gone.rpc"]).await.unwrap();
    registry.services("").await.step("services")?;
    for n in 0..40 {
        // What is listened to next shows what is not listened to any more.
        another(format!("other-{n}.rpc")).await?;
        let heard = redis.command(&["PUBSUB", "SHARDNUMSUB", &channel]).await.unwrap();
        let silent = matches!(heard, Reply::List(parts) if parts.last() == Some(&Reply::Number(0)));
        let forgotten = redis.command(&["ZSCORE", &index, "gone.rpc"]).await.unwrap() == Reply::Nil;
        if silent && forgotten {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err(Failed("a deserted name or channel is not given up".into()))
}

/// Each in turn is taken away from a user, and something fails that should.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_rights_is_enough_and_nothing_of_it_is_too_much() {
    let options = server().with_persistence(Persistence::EveryWrite);
    let redis = Redis::start(options).await.unwrap();
    let all = user_without(&redis, "all", &[]).await;
    if let Err(Failed(what)) = everything(&redis, &all).await {
        panic!("with all rights: {what}; {:?}", admin(&redis, "ACL LOG").await);
    }
    assert_eq!(admin(&redis, "ACL LOG").await, Reply::List(Vec::new()), "nothing was denied");
    let whole = RedisRegistry::new(all.clone()).unwrap().inspect().await.unwrap();
    let mut superfluous = Vec::new();
    for commands in commands().chunks(8) {
        let tried = commands.iter().map(|command| {
            let redis = &redis;
            async move {
                let name = format!("no-{}", command.replace('|', "-"));
                let options = user_without(redis, &name, &[&format!("+{command}")]).await;
                let outcome = everything(redis, &options).await;
                let claimed = RedisRegistry::new(options).unwrap().inspect().await.ok();
                (*command, outcome, claimed)
            }
        });
        for (command, outcome, claimed) in futures_util::future::join_all(tried).await {
            match outcome {
                Ok(()) if FACTS.contains(&command) && claimed.as_ref() != Some(&whole) => {
                    eprintln!("without {command}: weaker guarantees");
                }
                Ok(()) if command == PROMPTNESS => eprintln!("without {command}: told later"),
                Ok(()) => superfluous.push(command),
                Err(Failed(what)) if FACTS.contains(&command) => panic!("without {command}: {what}"),
                Err(Failed(what)) => eprintln!("without {command}: {what}"),
            }
        }
    }
    assert!(superfluous.is_empty(), "nothing needs {superfluous:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_ask_nothing_is_claimed_that_is_not_known() {
    let primary = Redis::start(server()).await.unwrap();
    let of = ["--replicaof", "127.0.0.1", &primary.address().port().to_string()].map(str::to_owned);
    let replica = Redis::start(server().with_args(of)).await.unwrap();
    let registry = RedisRegistry::new(user_without(&replica, "blind", &["+info"]).await).unwrap();
    let claimed = registry.inspect().await.unwrap_or_else(|_| registry.guarantees());
    assert!(!claimed.linearizable_reads, "it may be a replica, and is one: {claimed:?}");
}

/// And a right that is granted later is used without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_replicas_and_another_database_need_a_right_each() {
    let redis = Redis::start(server()).await.unwrap();
    for (name, right, options) in [
        (
            "waiting",
            "+wait",
            &(|options: RedisOptions| options.with_wait(0, Duration::from_secs(1))) as &dyn Fn(_) -> _,
        ),
        ("selecting", "+select", &|options: RedisOptions| options.with_database(1)),
    ] {
        let options: RedisOptions = options(user_without(&redis, name, &[]).await);
        let registry = RedisRegistry::new(options).unwrap();
        let error = registry.register(&instance(1), &lasting()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "without {right}: {error}");
        admin(&redis, &format!("ACL SETUSER {name} {right}")).await;
        let granted = async || registry.register(&instance(1), &lasting()).await.ok();
        eventually("the right is used", PATIENCE, granted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_may_not_do_is_permission_denied_and_says_what() {
    let redis = Redis::start(server()).await.unwrap();
    // Each time the first thing that is missing is another one: a command, a command in a script, a key.
    for (name, without) in [("no-zadd", "+zadd"), ("no-evalsha", "+evalsha"), ("no-xadd", "+xadd")] {
        let registry = RedisRegistry::new(user_without(&redis, name, &[without]).await).unwrap();
        let error = registry.register(&instance(1), &lasting()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "without {without}: {error}");
        let says = ["no permissions", "can't run"].iter().any(|why| error.message().contains(why));
        assert!(says, "without {without}: {error}");
    }
    let elsewhere = user_without(&redis, "some", &[]).await.with_prefix("elsewhere");
    let registry = RedisRegistry::new(elsewhere).unwrap();
    for error in [
        registry.register(&instance(1), &lasting()).await.unwrap_err(),
        registry.lookup(&user()).await.unwrap_err(),
        registry.services("").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
}

/// Who may write and not publish has written, and is told so; who may not listen is told that.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_channels_what_is_written_is_written_and_a_watch_says_what_it_may_not() {
    let redis = Redis::start(server()).await.unwrap();
    let all = RedisRegistry::new(user_without(&redis, "mute", &[]).await).unwrap();
    let mute = RedisRegistry::new(user_without(&redis, "mute", &["&mute:*"]).await).unwrap();
    admin(&redis, "ACL SETUSER mute resetchannels").await;
    let registered = mute.register(&instance(1), &lasting()).await.unwrap();
    assert_eq!(mute.lookup(&user()).await.unwrap().len(), 1);
    mute.keepalive(&registered.lease).await.unwrap();
    let mut watch = mute.watch(&user(), None);
    let first = timeout(SOON, watch.next()).await.unwrap().unwrap();
    let WatchEvent::Stale { error, .. } = first else { panic!("{first:?}") };
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    admin(&redis, "ACL SETUSER mute &mute:*").await;
    let mut watch = all.watch(&user(), None);
    let first = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    let WatchEvent::Reset { snapshot, .. } = first else { panic!("{first:?}") };
    assert_eq!(snapshot.revision(), registered.revision);
}

/// With the commands that change keys taken away. (Taking away the right to write the keys is too much: Redis takes `EVALSHA` for writing.)
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_read_can_look_and_is_told_that_writing_is_denied() {
    let (_redis, writer, reader) = written_and_read().await;
    let registered = writer.register(&instance(1), &lasting()).await.unwrap();
    assert_eq!(reader.lookup(&user()).await.unwrap().len(), 1);
    assert_eq!(reader.services("").await.unwrap(), [user()]);
    for error in [
        reader.register(&instance(2), &lasting()).await.unwrap_err(),
        reader.update(&registered.lease, &weighing(1, 2)).await.unwrap_err(),
        reader.keepalive(&registered.lease).await.unwrap_err(),
        reader.deregister(&registered.lease).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    assert_eq!(writer.lookup(&user()).await.unwrap().len(), 1, "what was denied has not happened");
}

/// What is overdue it leaves to others, as well as looking for what operators wrote.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_read_can_watch() {
    let (_redis, writer, reader) = written_and_read().await;
    let registered = writer.register(&instance(1), &lasting()).await.unwrap();
    writer.register(&instance(2), &lasting().with_ttl(ttl(1))).await.unwrap();
    let record = Record::start(&reader).await;
    for weight in 2..=6 {
        let revision = writer.update(&registered.lease, &weighing(1, weight)).await.unwrap();
        record.until_revision(revision, SOON).await;
        sleep(Duration::from_secs(1)).await;
        assert!(!record.told(|told| told.stale), "the watch of a reader is live");
    }
    record.told(|told| assert_eq!((&told.resets[..], told.deletions), (&[ResetCause::First][..], 1)));
}

async fn written_and_read() -> (Redis, RedisRegistry, RedisRegistry) {
    let redis = Redis::start(server()).await.unwrap();
    let options = RedisOptions::standalone(redis.address().to_string());
    let writer = RedisRegistry::new(options.clone()).unwrap();
    let reads = |right: &&str| !WRITES.iter().any(|write| right.strip_prefix('+') == Some(write));
    let rights: Vec<_> = LEAST.split(' ').filter(reads).collect();
    admin(&redis, &format!("ACL SETUSER reader {} >secret", rights.join(" "))).await;
    let reader = RedisRegistry::new(options.with_user("reader", "secret")).unwrap();
    (redis, writer, reader)
}
