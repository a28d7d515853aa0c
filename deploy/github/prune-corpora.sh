#!/usr/bin/env bash
# Fuzzes each target, and reduces its corpus to inputs that each cover something of their own.
#
#   prune-corpora.sh GROWN SECONDS [options of `cargo fuzz`]
#
# GROWN keeps what was found from one time to the next, a folder a target. corpus/fuzz/TARGET gets what is left of both.
# A seed that somebody gave a name stays, whether it covers anything of its own or not: it is there for a reason that coverage
# does not know, a regression maybe. Inputs that libFuzzer named by their hash come and go.
# Needs cargo-fuzz; stable Rust does with `--sanitizer none`.
set -euo pipefail

if (($# < 2)); then
    echo "usage: $0 GROWN SECONDS [options of \`cargo fuzz\`]" >&2
    exit 2
fi
grown=$(realpath -m "$1") seconds=$2
shift 2
cd "$(dirname "$0")/../.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

failed=()
for target in $(cargo fuzz list); do
    seeds=corpus/fuzz/$target
    mkdir -p "$grown/$target" "$seeds"
    # One target that crashes must not keep the others from being looked at; its input is in fuzz/artifacts/.
    if ! cargo fuzz run "$@" "$target" "$grown/$target" "$seeds" -- -max_total_time="$seconds" -verbosity=0; then
        failed+=("$target")
        continue
    fi

    pruned=$tmp/$target
    mkdir "$pruned"
    cp "$grown/$target/"* "$seeds/"* "$pruned/" 2>/dev/null || true
    cargo fuzz cmin "$@" "$target" "$pruned" -- -verbosity=0

    # The named seeds stay as they are; of the others, what is no copy of one of them.
    named=$(find "$seeds" -type f | grep -vE '/[0-9a-f]{40}$' || true)
    find "$seeds" -type f | grep -E '/[0-9a-f]{40}$' | xargs -r rm --
    known=$(xargs -r sha1sum <<<"$named" | cut -d' ' -f1)
    rm -rf "${grown:?}/$target"
    mkdir "$grown/$target"
    for input in "$pruned"/*; do
        [[ -f $input ]] || continue
        hash=$(sha1sum "$input" | cut -d' ' -f1)
        if ! grep -qx "$hash" <<<"$known"; then
            cp "$input" "$seeds/$hash"
            cp "$input" "$grown/$target/$hash"
        fi
    done
    echo "$target: $(find "$seeds" -type f | wc -l) inputs, $(wc -l <<<"$named") of them named"
done

if ((${#failed[@]} > 0)); then
    echo "these crash, and were not pruned: ${failed[*]}; see fuzz/artifacts/" >&2
    exit 1
fi
