#!/usr/bin/env bash
# Puts another version beside an installed server: target/tools/NAME, from Debian's packages, unpacked and not installed. Prints nothing when it is
# there. A folder named by a variable is taken instead. NAME is one of those below.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${1:-} libraries=()
case $name in
etcd-3.5)
    title="etcd 3.5" variable=ETCD_35 says="etcd Version: 3.5."
    programs=(etcd etcdctl) more=(etcdutl) packages=(etcd-server etcd-client)
    ;;
redis-8)
    title="Redis 8" variable=REDIS_8 says="Redis server v=8."
    programs=(redis-server redis-cli) more=() packages=(redis-server redis-tools)
    ;;
valkey-8.1)
    title="Valkey 8.1" variable=VALKEY_81 says="Valkey server v=8.1."
    programs=(valkey-server valkey-cli) more=() packages=(valkey-server valkey-tools)
    ;;
*)
    echo "setup: no '$name' is known that could stand beside what is installed" >&2
    exit 1
    ;;
esac
# Programs that are not linked statically take their libraries with them, down to the C library: the machine's may be older.
[ "$name" = etcd-3.5 ] ||
    libraries=(libatomic1 libc6 libcap2 libgcc-s1 libjemalloc2 liblzf1 libssl3t64 libstdc++6 libsystemd0 libzstd1 zlib1g)

is_there() { # is_there FOLDER
    local program
    for program in "${programs[@]}"; do
        [ -x "$1/$program" ] || return
    done
    [[ $("$1/${programs[0]}" --version 2>/dev/null) == "$says"* ]]
}
list() { # list WORD... LAST
    local words=("$@")
    printf '%s' "${words[0]}"
    [ $# -eq 2 ] || printf ', %s' "${words[@]:1:$#-2}"
    printf ' and %s' "${words[-1]}"
}

if [ -n "${!variable:-}" ]; then
    is_there "${!variable}" && exit 0
    echo "setup: $variable is ${!variable}, and there is no $title with ${programs[1]} that runs" >&2
    exit 1
fi

tools=target/tools/$name
is_there "$tools" && exit 0

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
give_up() {
    {
        echo "setup: no $title ($1)"
        echo
        echo "The tests want one beside what is installed. On Debian it comes from the packages of Debian 13, by apt-get, from $mirror"
        echo "(DEBIAN_MIRROR names another). Elsewhere: put $(list "${programs[@]}" "${more[@]}") of a release ${title#* } into a folder, and set" \
            "$variable to it."
    } >&2
    exit 1
}
command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || give_up "this is no Debian"
[ -e "$keyring" ] || give_up "$keyring is missing: apt-get install debian-archive-keyring"

echo "setup: fetching $title into $tools"
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
if ! { apt-get update && cd "$work/unpacked" && apt-get download "${packages[@]}" "${libraries[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    give_up "the packages could not be fetched"
fi
for package in *.deb; do
    dpkg -x "$package" .
done
if [ ${#libraries[@]} -eq 0 ]; then
    for program in "${programs[@]}" "${more[@]}"; do
        [ ! -e "usr/bin/$program" ] || mv "usr/bin/$program" "$work/new/"
    done
else
    # The loader, the programs and the libraries that they name, in one folder; beside it, what starts one by the other.
    loader=$(find . -name 'ld-linux*.so*' -type f)
    mkdir "$work/new/lib"
    cp "$loader" "$work/new/lib/loader"
    for program in "${programs[@]}"; do
        cp -L "usr/bin/$program" "$work/new/lib/"
        needed=$("$loader" --library-path "$(dirname "$loader")" --list "usr/bin/$program") || give_up "$program lacks a library: $needed"
        xargs cp -Lt "$work/new/lib" < <(grep -o '=> [^ ]*/lib[^ /]*\.so[^ ]*' <<<"$needed" | cut -c 4-)
        cat >"$work/new/$program" <<'START'
#!/bin/sh
lib=${0%/*}/lib
exec "$lib/loader" --argv0 "$0" --library-path "$lib" "$lib/${0##*/}" "$@"
START
        chmod +x "$work/new/$program"
    done
fi
cd - >/dev/null
is_there "$work/new" || give_up "what was fetched does not run here, or is no ${title#* }"
rm -rf "$tools"
# Of two that run at once, either may win.
mv -T "$work/new" "$tools" 2>/dev/null || is_there "$tools"
