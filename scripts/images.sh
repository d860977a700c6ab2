#!/usr/bin/env bash
# Builds images for tests out of the programs that are installed, without a base image and without a network: registry-test/etcd:VERSION of
# the etcd in PATH and of the 3.5 beside it, registry-test/redis:VERSION of the Redis in PATH and of the 8 beside it, and
# registry-test/valkey:VERSION. Each is also tagged with the first two numbers of its version, and that of the installed Redis as latest. Prints
# nothing when nothing has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
script=$PWD/scripts/images.sh

if ! docker version >/dev/null 2>&1; then
    echo "images: no Docker engine answers; start one, or let DOCKER_HOST name it" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

image() { # image NAME VERSION MORE_TAGS PROGRAM...
    local name=registry-test/$1 version=$2 tags=$3
    shift 3
    local reference=$name:$version lib=${1%/*}/lib programs=("$@") libraries root old made tag
    # The programs, and the libraries and the loader that they name; the first is what the image runs.
    if [ -x "$lib/loader" ]; then
        # They have theirs with them, and what is installed here is not meant for them.
        programs=("${@/#*\//$lib/}")
        mapfile -t libraries < <(find "$lib" -name '*.so*' | sort; echo "$lib/loader")
    else
        mapfile -t libraries < <(ldd "$@" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' | sort -u)
    fi
    made=$(cat "$script" "${programs[@]}" "${libraries[@]}" | sha256sum | cut -d ' ' -f 1)
    old=$(docker image inspect --format '{{.Id}} {{.Config.Labels.made}}' "$reference" 2>/dev/null || true)
    if [ "${old#* }" != "$made" ]; then
        echo "images: building $reference"
        root=$work/root
        rm -rf "$root"
        mkdir -p "$root"/{usr/local/bin,lib,data,etc}
        mkdir -m 1777 "$root/tmp"
        echo 'root:x:0:0::/:' >"$root/etc/passwd"
        cp -L "${programs[@]}" "$root/usr/local/bin/"
        for library in "${libraries[@]}"; do
            install -D "$library" "$root$(place_of "$library" "${programs[0]}")"
        done
        # As in the images of Valkey itself.
        [ ! -e "$root/usr/local/bin/valkey-server" ] || ln -s valkey-server "$root/usr/local/bin/redis-server"
        tar -C "$root" -c . | docker import -c 'ENV PATH=/usr/local/bin' -c "CMD [\"$(basename "$1")\"]" \
            -c "LABEL made=$made" - "$reference" >/dev/null
    fi
    for tag in "$(cut -d . -f 1,2 <<<"$version")" $tags; do
        docker tag "$reference" "$name:$tag"
    done
    # One that has lost its last tag, and that nobody runs.
    if [ -n "$old" ] && [ "${old#* }" != "$made" ]; then
        docker image rm "${old% *}" >/dev/null 2>&1 || true
    fi
}

place_of() { # place_of LIBRARY PROGRAM
    case $1 in
    */lib/loader) "$1" --library-path "${1%/*}" --list "$2" | sed -n 's/^\t\(\/[^ ]*\) => .*/\1/p' ;;
    "${2%/*}"/*) echo "/lib/${1##*/}" ;;
    *) echo "$1" ;;
    esac
}

version_of_etcd() { # version_of_etcd PROGRAM
    "$1" --version | sed -n 's/^etcd Version: //p'
}

beside=${ETCD_35:-target/tools/etcd-3.5}
image etcd "$(version_of_etcd "$beside/etcd")" "" "$beside"/{etcd,etcdctl}
installed=$(command -v etcd)
if [ "$(version_of_etcd "$installed")" != "$(version_of_etcd "$beside/etcd")" ]; then
    image etcd "$(version_of_etcd "$installed")" "" "$installed" "$(command -v etcdctl)"
fi

version_of_redis() { # version_of_redis PROGRAM
    "$1" --version | grep -o 'v=[^ ]*' | cut -c 3-
}

redis=$(PATH="$PATH:/usr/sbin" command -v redis-server)
image redis "$(version_of_redis "$redis")" latest "$redis"
beside=${REDIS_8:-target/tools/redis-8}/redis-server
if [ "$(version_of_redis "$redis")" != "$(version_of_redis "$beside")" ]; then
    image redis "$(version_of_redis "$beside")" "" "$beside"
fi
beside=${VALKEY_81:-target/tools/valkey-8.1}/valkey-server
image valkey "$(version_of_redis "$beside")" "" "$beside"
