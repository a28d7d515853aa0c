#!/bin/sh
# What the disciplines say, and what the code does: the table of docs/reported.md, on stdout.
#
#     examples/reported/table.sh [HEISENBED]
#
# It builds the program twice, plainly and by `heisenbed c++`, and asks for each variant and
# workload: is the discipline proved or refuted (`explore`, every schedule); does a search of the
# code find a divergence (SCHEDULES of `run`, 300); is there none in any schedule (`run --strategy
# exhaustive`, at most EXHAUSTIVE, 2000, of the smallest case); how many of RUNS (100) runs on
# parallel threads diverge; and does `extract` give the discipline back.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
heisenbed=$(command -v "${1:-heisenbed}")
schedules=${SCHEDULES:-300} exhaustive=${EXHAUSTIVE:-2000} runs=${RUNS:-100}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir "$out/plain" "$out/seen"
make -s -C "$here" OUT="$out/plain" "$out/plain/reported"
make -s -C "$here" OUT="$out/seen" CXX="$heisenbed c++" "$out/seen/reported"

# key NAME < JSON: a string or a number, the first of that name.
key() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" | head -n 1; }

ask() { "$heisenbed" -q --format json "$@" 2>/dev/null || true; }

# The smallest case with a race in it: two threads, an allocation each.
code() { # STRATEGY OPTIONS -- PROGRAM …
    ask run --tracking --no-shrink --data-races ignore --strategy "$@"
}

cell() { # DISCIPLINE ORDER PUBLISH WORKLOAD MODEL
    model=$(ask explore --strategy exhaustive --semantics refcount \
        --discipline "$1" --order "$2" --publish "$3" --workload "$5" | key verdict)
    words="--discipline $1 --order $2 --publish $3 --workload $4"
    devices=1
    [ "$4" = mesh ] && devices=2
    # shellcheck disable=SC2086 # several words
    said=$(code mix --schedules "$schedules" -- "$out/plain/reported" $words --devices $devices)
    found=$(echo "$said" | key verdict)
    if [ "$found" = diverged ]; then
        at=$(echo "$said" | sed -n 's/.*"schedule":\([0-9]*\).*/\1/p')
        found="diverged, schedule $((at + 1))"
    else
        # shellcheck disable=SC2086
        all=$(code exhaustive --schedules "$exhaustive" -- "$out/seen/reported" $words \
            --devices $devices --ops 1)
        case $(echo "$all" | key verdict) in
        proved) found="proved: all $(echo "$all" | key runs)" ;;
        diverged) found="diverged, exhaustive" ;;
        *) found="none of $schedules" ;;
        esac
    fi
    # shellcheck disable=SC2086
    parallel=$(code observe --schedules "$runs" --keep-going -- "$out/plain/reported" $words \
        --devices $devices --ops 100 | key failures)
    case "$model/$found" in
    proved/diverged* | diverged/none* | diverged/proved*) mark=" **differs**" ;;
    *) mark="" ;;
    esac
    echo "| $1 | $2 | $3 | $4 | $model | $found | ${parallel:-?} of $runs |$mark"
}

echo "| discipline | order | publication | workload | discipline is | code | real threads |"
echo "|---|---|---|---|---|---|---|"
for discipline in ${DISCIPLINES:-unlocked tracker-mutex lifecycle-narrow lifecycle-wide \
    lifecycle-array8 global-wide claimed-wide views-first}; do
    for form in ${FORMS:-track-first/late free-first/late track-first/early}; do
        for workload in ${WORKLOADS:-own/own-buffers handoff/handoff mesh/mesh \
            shared/shared-free circular/circular preallocated/preallocated \
            close/device-close}; do
            cell "$discipline" "${form%/*}" "${form#*/}" "${workload%/*}" "${workload#*/}"
        done
    done
done

echo
echo "| discipline | order | publication | \`extract\` gives back |"
echo "|---|---|---|---|"
for discipline in ${DISCIPLINES:-unlocked tracker-mutex lifecycle-narrow lifecycle-wide \
    lifecycle-array8 global-wide claimed-wide views-first}; do
    for form in ${FORMS:-track-first/late free-first/late track-first/early}; do
        order=${form%/*} publish=${form#*/}
        "$heisenbed" -q extract --schedules 8 -o "$out/extracted.toml" -- "$out/seen/reported" \
            --workload mixed --devices 2 --discipline "$discipline" --order "$order" \
            --publish "$publish" --debug-log "$out/log" >/dev/null 2>&1 || true
        if "$heisenbed" disciplines compare "$out/extracted.toml" "$discipline" --order "$order" \
            --publish "$publish" >/dev/null 2>&1; then same=yes; else same=no; fi
        echo "| $discipline | $order | $publish | $same |"
    done
done
