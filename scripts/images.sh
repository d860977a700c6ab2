#!/usr/bin/env bash
# Builds images for tests out of the programs that are installed, without a base image and without a network: registry-test/etcd:VERSION of
# the etcd in PATH and of the 3.5 beside it, registry-test/redis:VERSION. Each is also tagged with the first two numbers of its version, and
# that of Redis as latest. Prints nothing when nothing has changed.
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
    local reference=$name:$version files=("$@") root old made tag
    # The programs, and the libraries and the loader that they name; the first is what the image runs.
    mapfile -t -O $# files < <(ldd "$@" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' | sort -u)
    made=$(cat "$script" "${files[@]}" | sha256sum | cut -d ' ' -f 1)
    old=$(docker image inspect --format '{{.Id}} {{.Config.Labels.made}}' "$reference" 2>/dev/null || true)
    if [ "${old#* }" != "$made" ]; then
        echo "images: building $reference"
        root=$work/root
        rm -rf "$root"
        mkdir -p "$root"/{usr/local/bin,data,etc}
        mkdir -m 1777 "$root/tmp"
        echo 'root:x:0:0::/:' >"$root/etc/passwd"
        cp -L "$@" "$root/usr/local/bin/"
        for library in "${files[@]:$#}"; do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
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

version_of_etcd() { # version_of_etcd PROGRAM
    "$1" --version | sed -n 's/^etcd Version: //p'
}

beside=${ETCD_35:-target/tools/etcd-3.5}
image etcd "$(version_of_etcd "$beside/etcd")" "" "$beside"/{etcd,etcdctl}
installed=$(command -v etcd)
if [ "$(version_of_etcd "$installed")" != "$(version_of_etcd "$beside/etcd")" ]; then
    image etcd "$(version_of_etcd "$installed")" "" "$installed" "$(command -v etcdctl)"
fi

redis=$(PATH="$PATH:/usr/sbin" command -v redis-server)
version=$("$redis" --version | grep -o 'v=[^ ]*' | cut -c 3-)
image redis "$version" latest "$redis"
