#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks: by apt as root, otherwise it says what to install. What is not to be installed
# beside the machine's own, it puts into target/tools.
set -euo pipefail

packages=()
need() { # need COMMAND PACKAGE...
    local command=$1
    shift
    if ! PATH="$PATH:/usr/sbin" command -v "$command" >/dev/null 2>&1; then
        packages+=("$@")
    fi
}

need cc gcc libc6-dev
need protoc protobuf-compiler
need etcd etcd-server
need etcdctl etcd-client
need redis-server redis-server
need mkfs.ext4 e2fsprogs
need mount mount
# protoc alone does not bring the protos of the well-known types.
[ -e /usr/include/google/protobuf/timestamp.proto ] || [ -e /usr/local/include/google/protobuf/timestamp.proto ] ||
    packages+=(libprotobuf-dev)

if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: cargo is missing; install Rust 1.88 or later from https://rustup.rs" >&2
    exit 1
fi
for component in fmt clippy; do
    if ! cargo "$component" --version >/dev/null 2>&1; then
        echo "setup: 'cargo $component' is missing; run: rustup component add ${component/fmt/rustfmt}" >&2
        exit 1
    fi
done

install_packages() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        {
            echo "setup: missing on this machine; these are the Debian packages that have it:"
            echo
            echo "    sudo apt-get install --no-install-recommends ${packages[*]}"
            echo
            echo "On other systems install the equivalents: a C linker, protoc with the well-known types, etcd with etcdctl, Redis."
        } >&2
        exit 1
    fi

    echo "setup: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # The servers are started by the tests, on ports of their own: the packages must not start theirs.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

[ ${#packages[@]} -eq 0 ] || install_packages
# The tests run on two versions of etcd and on three of Redis.
for beside in etcd-3.5 redis-8 valkey-8.1; do
    "$(dirname "$0")/beside.sh" "$beside"
done
