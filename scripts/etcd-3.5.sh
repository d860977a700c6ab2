#!/usr/bin/env bash
# Puts an etcd 3.5 beside the installed one: target/tools/etcd-3.5, from Debian's packages, unpacked and not installed.
# Prints nothing when it is there. A folder named by ETCD_35 is taken instead.
set -euo pipefail
cd "$(dirname "$0")/.."

is_there() { # is_there FOLDER
    [ -x "$1/etcdctl" ] && [[ $("$1/etcd" --version 2>/dev/null) == "etcd Version: 3.5."* ]]
}

if [ -n "${ETCD_35:-}" ]; then
    is_there "$ETCD_35" && exit 0
    echo "setup: ETCD_35 is $ETCD_35, and there is no etcd 3.5 with etcdctl that runs" >&2
    exit 1
fi

tools=target/tools/etcd-3.5
is_there "$tools" && exit 0

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
give_up() {
    {
        echo "setup: no etcd 3.5 ($1)"
        echo
        echo "The tests want one beside the installed etcd. On Debian it comes from the packages of Debian 13, by apt-get, from $mirror"
        echo "(DEBIAN_MIRROR names another). Elsewhere: put etcd, etcdctl and etcdutl of a release 3.5 into a folder, and set ETCD_35 to it."
    } >&2
    exit 1
}
command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || give_up "this is no Debian"
[ -e "$keyring" ] || give_up "$keyring is missing: apt-get install debian-archive-keyring"

echo "setup: fetching etcd 3.5 into $tools"
mkdir -p target/tools
work=$(mktemp -d "$PWD/target/tools/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{sources,none,lists/partial,cache/archives/partial,unpacked,new}

# An apt of its own, so that the machine's sources, lists and hooks are left alone. How to reach a mirror is the machine's to say.
cat >"$work/sources/trixie.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: $keyring
SOURCES
{
    apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' || true
    cat <<CONFIG
Dir::Etc::main "/dev/null";
Dir::Etc::parts "$work/none";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/sources";
Dir::State::lists "$work/lists";
Dir::State::status "/dev/null";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "";
CONFIG
} >"$work/apt.conf"
export APT_CONFIG=$work/apt.conf

log=$work/log
if ! { apt-get update && cd "$work/unpacked" && apt-get download etcd-server etcd-client; } >"$log" 2>&1; then
    cat "$log" >&2
    give_up "the packages could not be fetched"
fi
for package in *.deb; do
    dpkg -x "$package" .
done
mv usr/bin/etcd usr/bin/etcdctl "$work/new/"
[ ! -e usr/bin/etcdutl ] || mv usr/bin/etcdutl "$work/new/"
cd - >/dev/null
is_there "$work/new" || give_up "what was fetched does not run here, or is no 3.5"
rm -rf "$tools"
# Of two that run at once, either may win.
mv -T "$work/new" "$tools" 2>/dev/null || is_there "$tools"
