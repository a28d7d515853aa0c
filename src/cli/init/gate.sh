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

# The worst so far: wrong input before red, red before undecided.
note() {
    case "$1:$status" in
        0:* | *:2) ;;
        2:* | 1:* | *:0) status=$1 ;;
    esac
}

mkdir -p "$reports"
"$heisenbed" disciplines lint heisenbed/protocol.toml || note $?
"$heisenbed" matrix --format "$format" --quiet --junit "$reports/matrix.xml" || note $?

if ls heisenbed/corpus/*.toml >/dev/null 2>&1; then
    "$heisenbed" corpus run --format "$format" --junit "$reports/corpus.xml" || note $?
fi

# Programs of your own, a command a line.
number=0
while read -r command; do
    case "$command" in '' | '#'*) continue ;; esac
    number=$((number + 1))
    # shellcheck disable=SC2086
    "$heisenbed" run --format "$format" --quiet --schedules "${HEISENBED_SCHEDULES:-1000}" \
        --junit "$reports/run-$number.xml" -- $command </dev/null || note $?
done <heisenbed/programs

# Allocators of your own, a library a line.
number=0
while read -r target; do
    case "$target" in '' | '#'*) continue ;; esac
    number=$((number + 1))
    # shellcheck disable=SC2086
    "$heisenbed" run --format "$format" --quiet --schedules "${HEISENBED_SCHEDULES:-1000}" \
        --junit "$reports/target-$number.xml" --target $target </dev/null || note $?
done <heisenbed/targets

exit "$status"
