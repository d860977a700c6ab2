#!/usr/bin/env bash
# Runs all tests of the workspace as `cargo test --workspace --all-features` does, but some programs side by side, since most of them wait for servers:
# test-programs.sh [PROGRAMS AT A TIME]. What a program prints is shown when it has ended, and the whole fails if one of them does.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO=${CARGO:-cargo}
built=$($CARGO test --workspace --all-features --no-run --message-format=json-render-diagnostics)
# One line each: the folder of its package, and the program. What is built to be tested says so in its profile.
programs=$(grep '"profile":{[^}]*"test":true}' <<<"$built" | sed -n 's|.*"manifest_path":"\([^"]*\)/Cargo.toml".*"executable":"\([^"]*\)".*|\1 \2|p')
if [ -z "$programs" ]; then
    echo "test-programs: cargo built no tests" >&2
    exit 1
fi

run() {
    local folder=$1 program=$2 began=$SECONDS output status=0
    cd "$folder"
    output=$(CARGO_MANIFEST_DIR=$folder "$program" 2>&1) || status=$?
    # At once, so that the output of two is not mixed.
    printf '     Running %s (%s) %s s\n%s\n' "${folder##*/}" "${program##*/}" $((SECONDS - began)) "$output"
    return $status
}
export -f run

# The longest first, so that it is not the last that all wait for.
{ grep '/servers-' <<<"$programs" || true; grep -v '/servers-' <<<"$programs"; } |
    xargs -P "${1:-2}" -L 1 bash -c 'run "$@" || exit 1' run
exec $CARGO test --workspace --all-features --doc
