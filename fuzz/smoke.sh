#!/usr/bin/env bash
# Builds every fuzz target and runs each from its seeds for a number of executions: fuzz/smoke.sh [EXECUTIONS]; only builds them: fuzz/smoke.sh build
# The inputs that it makes follow from SEED (1): a gate is to say the same of the same commit; other numbers look elsewhere.
# Prints a row a target: seeds, edges that the seeds cover of all that are instrumented, executions, executions a second. Ends with 1 where an input
# fails; its path is printed, `heisenbed fuzz decode TARGET FILE` says what it is, and a copy in corpus/fuzz/TARGET/ makes it a regression test.
# With nightly Rust where there is one, and the address sanitizer; else, and with SANITIZER=none, with any Rust. Needs cargo-fuzz
# (cargo install cargo-fuzz) and a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
executions=${1:-2000} # or `build`
if [ "${SANITIZER:-address}" = address ] && cargo +nightly --version >/dev/null 2>&1; then
    toolchain=+nightly sanitizer=address
else
    toolchain="" sanitizer=none
fi
triple=$(rustc -vV | sed -n 's/^host: //p')
# A folder for each sanitizer: one is not to be taken for the other.
built=fuzz/target
if [ "$sanitizer" = address ]; then built=fuzz/target/address; fi

cargo $toolchain fuzz build --sanitizer "$sanitizer" --target-dir "$built" >&2
if [ "$executions" = build ]; then exit 0; fi
found=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$found"' EXIT

# One target from its seeds; its log and how it ended are left in $found.
run_target() {
    local target=$1
    mkdir -p "$found/$target" "fuzz/artifacts/$target"
    local ended=0
    "$built/$triple/release/$target" "$found/$target" "corpus/fuzz/$target" \
        -seed="${SEED:-1}" -runs="$executions" -max_total_time=60 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" >"$found/$target.log" 2>&1 || ended=$?
    echo "$ended" >"$found/$target.ended"
}

# As many at a time as there are cores; the rows come in the order of the list.
targets=$(cargo fuzz list)
for target in $targets; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    run_target "$target" &
done
wait

failed=0
echo "sanitizer: $sanitizer"
printf '%-16s %6s %22s %12s %10s\n' target seeds 'edges covered / all' executions 'per second'
for target in $targets; do
    log=$found/$target.log
    if [ "$(cat "$found/$target.ended")" != 0 ]; then
        failed=1
        tail -n 40 "$log" >&2
    fi
    seeds=$(find "corpus/fuzz/$target" -type f | wc -l)
    all=$(sed -n 's/.*Loaded 1 modules *(\([0-9]*\) inline.*/\1/p' "$log" | head -n 1)
    # The line that ends the reading of the seeds.
    covered=$(sed -n 's/.*INITED cov: \([0-9]*\).*/\1/p' "$log" | head -n 1)
    done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    printf '%-16s %6s %22s %12s %10s\n' "$target" "$seeds" "${covered:-?} / ${all:-?}" "${done:-?}" "${rate:-?}"
done
exit $failed
