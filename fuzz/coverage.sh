#!/usr/bin/env bash
# How much of the module that it aims at each fuzz target covers: fuzz/coverage.sh [GROWN]
# A row a target: its module, then functions and edges of it that the seeds cover, of all that the target's program has of it; with GROWN, a folder
# of inputs for each target (a campaign's OUT/fuzz, or what cargo fuzz kept), the same once more with those.
# Needs nightly Rust, for only a sanitizer's runtime can tell where an edge is; cargo-fuzz, a C++ compiler, and llvm-symbolizer (Debian: llvm).
set -euo pipefail
cd "$(dirname "$0")/.."
grown=${1:-}
triple=$(rustc -vV | sed -n 's/^host: //p')
# Where fuzz/smoke.sh has them too.
built=fuzz/target/address

modules() {
    case $1 in
        wire_stream) echo 'src/tracking/(codec|wire|detect|message|table)' ;;
        registry) echo 'src/registry/' ;;
        allocator) echo 'src/device/' ;;
        lifecycle) echo 'src/engine/controlled/(actors|machine|observe|schedule|server|world)' ;;
        discipline_lint) echo 'src/lifecycle/' ;;
        shared_steps) echo 'src/(lifecycle/shared|engine/step/shared|oracle/shared)' ;;
        trace_file) echo 'src/trace/(codec|event|file|header|merge|recorder|records)' ;;
        import_log) echo 'src/import/server_log' ;;
        import_pickle) echo 'src/import/(torch_snapshot|pickle)' ;;
        import_debug_log) echo 'src/import/debug_log' ;;
        import_rmm) echo 'src/import/(rmm_log|csv_row|line_records)' ;;
        import_csv | import_jsonl) echo 'src/import/(generic|csv_row|line_records)' ;;
        import_graph) echo 'src/import/(graph_capture|json_elements)' ;;
        import_umpire) echo 'src/import/umpire' ;;
        import_rocprof) echo 'src/import/(rocprof|by_time)' ;;
        import_vma) echo 'src/import/vma_replay' ;;
        target) echo 'src/fuzzing/target' ;;
        import_wire) echo 'src/trace/capture' ;;
        observations) echo 'src/(diagnosis|oracle/(observation|allocation)_check)' ;;
        reproducer) echo 'src/(corpus|scenario)/' ;;
        *) echo "fuzz/coverage.sh: say which module $1 aims at" >&2; return 1 ;;
    esac
}

# covered TARGET MODULE FOLDER...: functions and edges, covered / all.
covered() {
    local target=$1 module=$2
    shift 2
    "$built/$triple/release/$target" -runs=0 -print_coverage=1 "$@" 2>&1 | awk -v module="$module" '
        / edges: / && $NF ~ module {
            split($5, edges, "/")
            all_edges += edges[2]; all_functions++
            if ($1 == "COVERED_FUNC:") { covered_edges += edges[1]; covered_functions++ }
        }
        END { printf "%4d / %4d  %6d / %6d (%2d %%)", covered_functions, all_functions, covered_edges, all_edges, all_edges ? 100 * covered_edges / all_edges : 0 }'
}

cargo +nightly fuzz build --target-dir "$built" >&2
printf '%-16s %-68s %s\n' target module "functions   edges, by the seeds${grown:+;  the same, by $grown too}"
for target in $(cargo fuzz list); do
    module=$(modules "$target")
    row=$(covered "$target" "$module" "corpus/fuzz/$target")
    if [ -n "$grown" ] && [ -d "$grown/$target" ]; then
        row+="  $(covered "$target" "$module" "corpus/fuzz/$target" "$grown/$target")"
    fi
    printf '%-16s %-68s %s\n' "$target" "$module" "$row"
done
