use super::*;

fn target(text: &str) -> Target {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn of_registry(url: &str, service: &str) -> Target {
    Target::Registry { url: RegistryUrl::new(url), service: service.parse().unwrap() }
}

#[test]
fn every_form_means_what_its_documentation_says() {
    for (text, url, service) in [
        ("discov://h/user.rpc", "etcd://h?layout=go-zero", "user.rpc"),
        ("DISCOV://h1:2379,h2:2379/user.rpc/", "etcd://h1:2379,h2:2379?layout=go-zero", "user.rpc"),
        ("discov://h,,[::1]:1/team/a/user.rpc", "etcd://h,[::1]:1/team/a?layout=go-zero", "user.rpc"),
        ("discov://u:p%40@h/team%20b/a", "etcd://u:p%40@h/team%20b?layout=go-zero", "a"),
        ("discov://h/a?request-timeout=2s&page=5", "etcd://h?layout=go-zero&request-timeout=2s&page=5", "a"),
        ("etcd:///h1:2379,h2:2379?key=user.rpc", "etcd://h1:2379,h2:2379?layout=go-zero", "user.rpc"),
        ("etcd:///h/?page=5&key=team%2Fuser.rpc", "etcd://h/team?layout=go-zero&page=5", "user.rpc"),
        ("etcd:///h?key=%2Fteam%2Fuser.rpc", "etcd://h//team?layout=go-zero", "user.rpc"),
        ("etcd:///h?key=a+b%2Fuser.rpc", "etcd://h/a%20b?layout=go-zero", "user.rpc"),
        ("etcd://h1,h2/root?service=user.rpc", "etcd://h1,h2/root", "user.rpc"),
        ("etcd://h?layout=go-zero&service=a&page=5", "etcd://h?layout=go-zero&page=5", "a"),
        ("etcds://u@h/root?service=a&password-file=/p", "etcds://u@h/root?password-file=/p", "a"),
        ("redis://:p@h:6379/1?service=user%2Erpc", "redis://:p@h:6379/1", "user.rpc"),
        ("rediss+sentinel://h1,h2/mymaster?wait=1&service=a", "rediss+sentinel://h1,h2/mymaster?wait=1", "a"),
        ("redis+cluster://h1,h2?service=a", "redis+cluster://h1,h2", "a"),
        ("memory://orders?service=a", "memory://orders", "a"),
    ] {
        assert_eq!(target(text), of_registry(url, service), "{text}");
    }
}

#[test]
fn fixed_endpoints_are_taken_once_each() {
    for (text, expected) in [
        ("direct:///10.0.0.7:8080", &["10.0.0.7:8080"][..]),
        ("direct:///h1:1,h2:2,,h1:1/", &["h1:1", "h2:2"]),
        ("Direct:///[::1]:80,user-svc.internal:81", &["[::1]:80", "user-svc.internal:81"]),
    ] {
        let expected = expected.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(target(text), Target::Direct(expected), "{text}");
    }
}

#[test]
fn what_is_wrong_or_missing_is_said_and_nothing_of_it_is_repeated() {
    for (text, why) in [
        ("", "no scheme; there are direct:///"),
        ("user.rpc", "no scheme"),
        ("127.0.0.1:8080", "no scheme"),
        ("k8s://ns/user-svc:8080", "the scheme k8s, which is not known here; there are direct:///"),
        ("consul://h/user.rpc", "the scheme consul"),
        ("u:s3cret@h://x", "has no scheme"),
        ("direct://h:80", "three slashes"),
        ("direct:///", "no endpoint"),
        ("direct:///h", "has no port"),
        ("direct:///h:1,h:0", "(endpoint 2)"),
        ("direct:///grpc://h:1", "not host:port"),
        ("direct:///h:1?key=a", "takes nothing else"),
        ("discov:///user.rpc", "no host"),
        ("discov://,/user.rpc", "no host"),
        ("discov://h", "no key"),
        ("discov://h/", "no key"),
        ("discov://h/user/*", "no service name after its last '/'"),
        ("discov://h/a//b", "nothing in front of its last '/'"),
        ("discov://h/%ff/b", "key that is not UTF-8"),
        ("discov://h/a~b/c", "'~'"),
        ("discov://h h/a", "no host has (host 1)"),
        ("discov://u:s3/cret@h/a", "'@' after its hosts"),
        ("etcd:///?key=a", "no host"),
        ("etcd:///h", "no key; it is written etcd:///"),
        ("etcd:///h?key=", "no key"),
        ("etcd:///h?key=a&key=b", "key more than once"),
        ("etcd:///h?key=%2Fa", "nothing in front of its last '/'"),
        ("etcd:///h/root?key=a", "no host has (host 1)"),
        ("etcd:///h?service=a", "hosts after three slashes; that is etcd://host"),
        ("etcd:///u:s3cret@h?key=a", "'@' after its hosts"),
        (
            "etcd://h/user.rpc",
            "no service; it is a parameter: service=NAME; with go-zero's key it is discov://",
        ),
        ("etcd://h?key=a", "hosts after two slashes; that is etcd:///host"),
        ("etcd://h?service=", "no service"),
        ("etcd://h?service", "no service"),
        ("etcd://h?service=a&service=b", "service more than once"),
        ("etcd://h?service=a/b", "no service name: '/' is not allowed"),
        ("redis://h/1", "no service; it is a parameter"),
        ("redis://?service=a", "no host; it is written redis://host:port"),
        ("redis://:s3cret@?service=a", "no host"),
        ("redis://u:s3?cret@h?service=a", "'@' after its hosts"),
        ("memory://?service=a", "no name"),
        ("memory:///?service=a", "no name"),
    ] {
        let error = text.parse::<Target>().err().unwrap_or_else(|| panic!("{text} must be refused"));
        assert_eq!(error.field(), Some("target"), "{text}");
        assert!(error.message().contains(why), "{text}: {error}");
        assert!(!format!("{error} {error:?}").contains("s3"), "{text}: {error}");
    }
}

#[test]
fn a_target_survives_being_written_out_and_a_password_is_left_out() {
    for text in [
        "direct:///h1:1,[::1]:2",
        "discov://h1,h2/team/user.rpc",
        "etcd:///h?key=a+b%2Fuser.rpc&page=5",
        "etcd://h/root?service=a",
        "redis+cluster://h1,h2?prefix=x&service=a",
        "memory://orders?service=a",
    ] {
        let parsed = target(text);
        assert_eq!(target(&parsed.to_string()), parsed, "{text}");
    }
    let secret = target("discov://root:s3cret@h/user.rpc");
    assert_eq!(secret.to_string(), "etcd://root:***@h?layout=go-zero&service=user.rpc");
    assert!(!format!("{secret:?}").contains("s3cret"), "{secret:?}");
}
