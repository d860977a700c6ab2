#!/usr/bin/env bash
# Runs one test target of one package: run-test.sh PACKAGE TEST [ARGUMENT...]. It is selected and compiled as `cargo test --workspace --all-features`
# does, so that nothing is compiled twice, and two may run side by side.
set -euo pipefail
cd "$(dirname "$0")/.."

package=$1 test=$2
shift 2
built=$(${CARGO:-cargo} test --workspace --all-features --no-run --test "$test" --message-format=json-render-diagnostics)
# Programs that a test runs are built with it; what is a test says so in its profile.
program=$(grep '"profile":{[^}]*"test":true}' <<<"$built" | grep -o "\"manifest_path\":\"[^\"]*/$package/Cargo.toml\".*\"executable\":\"[^\"]*\"" | sed 's/.*"executable":"\([^"]*\)".*/\1/' | tail -1)
if [ -z "$program" ]; then
    echo "run-test: $package has no test $test" >&2
    exit 1
fi
cd "$package"
exec "$program" "$@"
