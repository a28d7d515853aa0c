#!/bin/bash -eu
# Builds every fuzz target into $OUT, each with its seeds as TARGET_seed_corpus.zip. Run in the image of the Dockerfile beside it.
set -o pipefail
cd "$SRC/heisenbed"

cargo fuzz build -O

for target in $(cargo fuzz list); do
    cp "fuzz/target/x86_64-unknown-linux-gnu/release/$target" "$OUT/"
    seeds=corpus/fuzz/$target
    if [ -n "$(ls -A "$seeds" 2>/dev/null)" ]; then
        zip --quiet --junk-paths --recurse-paths "$OUT/${target}_seed_corpus.zip" "$seeds"
    fi
done
