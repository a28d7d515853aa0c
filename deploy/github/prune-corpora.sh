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

# As libFuzzer names what it finds.
hashed=(-type f -regextype posix-extended -regex '.*/[0-9a-f]{40}')
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

    # New edges, not other counts of old ones: a corpus that is reviewed must be small.
    pruned=$tmp/$target
    mkdir "$pruned"
    find "$grown/$target" "$seeds" -type f -exec cp {} "$pruned" \;
    cargo fuzz cmin "$@" "$target" "$pruned" -- -verbosity=0 -use_counters=0

    # The named seeds stay as they are; of the others, what is no copy of one of them.
    find "$seeds" "${hashed[@]}" -delete
    find "$seeds" -type f -exec sha1sum {} + | cut -d' ' -f1 >"$tmp/named"
    rm -rf "${grown:?}/$target"
    mkdir "$grown/$target"
    for input in "$pruned"/*; do
        [[ -f $input ]] || continue
        hash=$(sha1sum "$input" | cut -d' ' -f1)
        if ! grep -qx "$hash" "$tmp/named"; then
            cp "$input" "$seeds/$hash"
            cp "$input" "$grown/$target/$hash"
        fi
    done
    echo "$target: $(wc -l <"$tmp/named") named seeds, $(find "$seeds" "${hashed[@]}" | wc -l) others"
done

if ((${#failed[@]} > 0)); then
    echo "these crash, and were not pruned: ${failed[*]}; see fuzz/artifacts/" >&2
    exit 1
fi
