use registry_core::{Material, Tls};

use super::*;
use crate::url::Secret;

fn bare(deployment: Deployment) -> RedisUrl {
    RedisUrl {
        deployment,
        database: None,
        prefix: None,
        user: None,
        sentinel_user: None,
        tls: None,
        connect_timeout: None,
        request_timeout: None,
        stall_after: None,
        check_interval: None,
        history: None,
        page: None,
        wait: None,
    }
}

fn parse(url: &str) -> Result<RedisUrl> {
    let (scheme, rest) = url.split_once("://").unwrap();
    RedisUrl::parse(scheme, rest)
}

#[test]
fn every_part_of_a_url_arrives() {
    let list = |hosts: &[&str]| hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>();
    let server = |server: &str| bare(Deployment::Standalone(server.into()));
    let one = || server("h:6379");
    let cluster = |nodes: &[&str]| bare(Deployment::Cluster(list(nodes)));
    let watched = |sentinels: &[&str], primary: &str| {
        bare(Deployment::Sentinel { sentinels: list(sentinels), primary: primary.into() })
    };
    let given = |user: &str, password: &str| Some((user.into(), Password::Given(Secret(password.into()))));
    let in_file = |user: &str, path: &str| Some((user.into(), Password::File(path.into())));
    let ms = |milliseconds| Some(Duration::from_millis(milliseconds));
    let files = || TlsFiles {
        ca: Some("ca.pem".into()),
        identity: Some(("/c".into(), "/k".into())),
        server_name: Some("redis.internal".into()),
    };
    for (url, expected) in [
        ("redis://h", one()),
        ("redis://h/", one()),
        ("redis://[::1]", server("[::1]:6379")),
        ("redis://[2001:db8::7]:1/0", RedisUrl { database: Some(0), ..server("[2001:db8::7]:1") }),
        ("redis://h/15", RedisUrl { database: Some(15), ..one() }),
        ("redis://app:p%40ss@h", RedisUrl { user: given("app", "p@ss"), ..one() }),
        ("redis://:p%3Ass@h", RedisUrl { user: given("default", "p:ss"), ..one() }),
        ("redis://app@h?password-file=/a%20b", RedisUrl { user: in_file("app", "/a b"), ..one() }),
        ("redis://h?password-file=/p", RedisUrl { user: in_file("default", "/p"), ..one() }),
        (
            "redis://h?prefix=team&history=1&page=100000&wait=2",
            RedisUrl {
                prefix: Some("team".into()),
                history: Some(1),
                page: Some(100_000),
                wait: Some((2, WAIT)),
                ..one()
            },
        ),
        (
            "redis://h?connect-timeout=250ms&request-timeout=60m&stall-after=1ms&check-interval=10ms\
             &wait=1&wait-timeout=3s",
            RedisUrl {
                connect_timeout: ms(250),
                request_timeout: ms(3_600_000),
                stall_after: ms(1),
                check_interval: ms(10),
                wait: Some((1, Duration::from_secs(3))),
                ..one()
            },
        ),
        ("rediss://h", RedisUrl { tls: Some(TlsFiles::default()), ..one() }),
        (
            "rediss://h?ca=ca.pem&key=/k&cert=/c&server-name=redis.internal",
            RedisUrl { tls: Some(files()), ..one() },
        ),
        ("redis+sentinel://h/m", watched(&["h:26379"], "m")),
        (
            "redis+sentinel://a:p@h,[::1],i:1/my%2Dmaster?db=3&sentinel-user=s&sentinel-password-file=/s",
            RedisUrl {
                database: Some(3),
                user: given("a", "p"),
                sentinel_user: in_file("s", "/s"),
                ..watched(&["h:26379", "[::1]:26379", "i:1"], "my-master")
            },
        ),
        (
            "rediss+sentinel://h/m?sentinel-password-file=/s",
            RedisUrl {
                sentinel_user: in_file("default", "/s"),
                tls: Some(TlsFiles::default()),
                ..watched(&["h:26379"], "m")
            },
        ),
        ("redis+cluster://h,i:1", cluster(&["h:6379", "i:1"])),
        ("redis+cluster://h/0", cluster(&["h:6379"])),
        (
            "rediss+cluster://h/?ca=ca.pem&key=/k&cert=/c&server-name=redis.internal",
            RedisUrl { tls: Some(files()), ..cluster(&["h:6379"]) },
        ),
    ] {
        assert_eq!(parse(url).unwrap(), expected, "{url}");
    }
}

/// All but the seed, which is drawn.
fn printed(options: &RedisOptions) -> String {
    let text = format!("{options:?}");
    text.split_once(", resume").unwrap().0.to_owned()
}

#[test]
fn what_a_url_leaves_out_is_as_in_the_options_of_the_backend() {
    let options = |url| printed(&parse(url).unwrap().into_options());
    let default = RedisOptions::standalone("h:6379");
    assert_eq!(options("redis://h"), printed(&default));
    assert_eq!(options("rediss://h"), printed(&default.with_tls(Tls::new())));
    assert_eq!(options("redis+sentinel://h/m"), printed(&RedisOptions::sentinel(["h:26379"], "m")));
    assert_eq!(options("redis+cluster://h"), printed(&RedisOptions::cluster(["h:6379"])));
}

#[test]
fn what_a_url_says_reaches_the_options_of_the_backend() {
    let url = "rediss+sentinel://u@h/m?db=7&prefix=team&password-file=/p&sentinel-user=s&sentinel-password-file=/s\
         &ca=/ca&cert=/c&key=/k&server-name=n&page=2&history=3&wait=4&wait-timeout=1ms\
         &connect-timeout=2ms&request-timeout=3ms&stall-after=4ms&check-interval=50ms";
    let tls = Tls::new()
        .with_ca(Material::file("/ca"))
        .with_identity(Material::file("/c"), Material::file("/k"))
        .with_server_name("n");
    let expected = RedisOptions::sentinel(["h:26379"], "m")
        .with_database(7)
        .with_prefix("team")
        .with_user("u", Material::file("/p"))
        .with_sentinel_user("s", Material::file("/s"))
        .with_tls(tls)
        .with_page(2)
        .with_history(3)
        .with_wait(4, Duration::from_millis(1))
        .with_connect_timeout(Duration::from_millis(2))
        .with_request_timeout(Duration::from_millis(3))
        .with_stall_after(Duration::from_millis(4))
        .with_check_interval(Duration::from_millis(50));
    assert_eq!(printed(&parse(url).unwrap().into_options()), printed(&expected));
}

#[test]
fn what_does_not_fit_together_is_said_and_no_value_is_repeated() {
    for (url, why) in [
        ("redis://", "no host"),
        ("redis+sentinel:///m", "no host; after :// comes one, such as 127.0.0.1:26379"),
        ("redis://h,secret", "several hosts, and redis:// is one server"),
        ("redis://h/secret", "database that is no number, 0 or more"),
        ("redis://h/-1", "database that is no number"),
        ("redis://h/0/1", "database that is no number"),
        ("redis://h/99999999999", "database that is no number"),
        ("redis://h?db=1", "db, which only redis+sentinel:// has; a database is written after the host: /1"),
        ("redis://h?sentinel-user=secret", "sentinel-user, which only redis+sentinel:// has"),
        ("redis+cluster://h?sentinel-password-file=/secret", "which only redis+sentinel:// has"),
        ("redis+cluster://h/1", "database, and Redis Cluster has only 0"),
        ("redis+cluster://h/secret", "Redis Cluster has only 0"),
        ("redis+sentinel://h", "no primary"),
        ("redis+sentinel://h/", "no primary"),
        ("redis+sentinel://h/m/1", "a database is written db=1"),
        ("redis+sentinel://h/m?db=secret", "database that is no number"),
        ("redis+sentinel://h/m?sentinel-user=u", "in a file: sentinel-password-file=PATH"),
        ("redis://h?prefiks=x", "unknown parameter \"prefiks\"; there are prefix, password-file"),
        ("redis://h?prefix=secret&prefix=x", "prefix more than once"),
        ("redis://u@h", "user:password@, or in a file"),
        ("redis://u:secret@h?password-file=/p", "one of them is enough"),
        ("redis://h?ca=/secret", "ca, which needs TLS: rediss:// instead of redis://"),
        ("redis+cluster://h?key=/secret", "rediss+cluster:// instead of redis+cluster://"),
        ("rediss://h?cert=/secret", "cert without its key"),
        ("rediss://h?key=/secret", "key without its cert"),
        ("redis://h?page=0", "page that is no number of instances, from 1 to 100000"),
        ("redis://h?history=1000001", "history that is no number of changes, from 1 to 1000000"),
        ("redis://h?wait=0", "wait that is no number of replicas, 1 or more"),
        ("redis://h?wait=secret", "no number of replicas"),
        ("redis://h?wait-timeout=1s", "wait-timeout without a wait"),
        ("redis://h?wait=1&wait-timeout=0s", "wait-timeout that is no duration from 1ms to 60m"),
        ("redis://h?check-interval=2s", "check-interval that is not from 10ms to 1s"),
        ("redis://h?stall-after=1", "stall-after that is no duration"),
    ] {
        let error = parse(url).err().unwrap_or_else(|| panic!("{url} must be refused"));
        assert_eq!(error.field(), Some("url"), "{url}");
        assert!(error.message().contains(why), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{url}: {error}");
    }
}

#[test]
fn a_parsed_url_does_not_print_its_password() {
    let url = parse("redis://app:secret@h").unwrap();
    assert!(!format!("{url:?}").contains("secret"), "{url:?}");
    assert!(!format!("{:?}", url.into_options()).contains("secret"));
}
