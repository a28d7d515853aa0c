#!/bin/sh
# What must hold here. Exit status: 0 all holds, 1 something is wrong, 2 bad usage or input, 3 not
# decided. HEISENBED is the program, HEISENBED_FORMAT=github annotates pull requests, and
# HEISENBED_SCHEDULES says how many interleavings of each program and target are tried.
set -u
cd "$(dirname "$0")/.."
heisenbed="${HEISENBED:-heisenbed}"
format="${HEISENBED_FORMAT:-human}"
reports="${HEISENBED_REPORTS:-heisenbed/reports}"
status=0

# The worst so far: wrong input before red, red before undecided. What is none of these (no such
# program, a signal) is no verdict: as wrong input.
note() {
    case "$1:$status" in
        0:*) ;;
        1:[03] | 3:0) status=$1 ;;
        1:* | 3:*) ;;
        *) status=2 ;;
    esac
}

mkdir -p "$reports"
"$heisenbed" disciplines lint heisenbed/protocol.toml || note $?
"$heisenbed" matrix --format "$format" --quiet --junit "$reports/matrix.xml" || note $?

if ls heisenbed/corpus/*.toml >/dev/null 2>&1; then
    "$heisenbed" corpus run --format "$format" --junit "$reports/corpus.xml" || note $?
fi

# Runs what each line of a list names, as the shell reads it: `run $2 LINE`, reported as $1-NUMBER.
# What fails is kept beside, for `heisenbed replay` and `heisenbed report`.
run_each() {
    kind="$1"
    option="$2"
    number=0
    rm -f "$reports/$kind"-[0-9]*.xml "$reports/$kind"-[0-9]*.toml
    return="$(printf '\r')"
    # The last line may lack its end.
    while read -r line || [ -n "$line" ]; do
        line="${line%"$return"}"
        case "$line" in '' | '#'*) continue ;; esac
        number=$((number + 1))
        eval "set -- $line"
        "$heisenbed" run --format "$format" --quiet --schedules "${HEISENBED_SCHEDULES:-1000}" \
            --junit "$reports/$kind-$number.xml" --save "$reports/$kind-$number.toml" \
            "$option" "$@" </dev/null || note $?
    done
}

run_each run -- <heisenbed/programs
run_each target --target <heisenbed/targets

exit "$status"
