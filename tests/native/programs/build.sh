#!/bin/sh
# Builds the programs of the tables into a folder, and the twins of those that have one.
#
#     tests/native/programs/build.sh OUT [TABLE [NAME…]]
#
# Without TABLE: both of them, this folder's and benches/native/programs'. With names: only those
# programs, and their twins. What is newer than its folder's files isn't built again.
#
# From the environment: CC, CXX and RUSTC, the compilers; CFLAGS, more flags for C and C++ (as
# -DATOMIC_SHARED); LDLIBS, behind the sources. A build with instrumented loads and stores has
# another compiler, and belongs into a folder of its own.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "usage: build.sh OUT [TABLE [NAME...]]" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
tables="$here/programs.toml $here/../../../benches/native/programs/programs.toml"
if [ $# -ge 1 ]; then
    tables=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
    shift
fi
names=" $* "

# One line a program, "name|file|twin|flags", of the plain TOML that the tables are written in:
# one key a line, arrays of strings without commas in them.
programs() {
    awk '
        function flush() {
            if (name != "") print name "|" file "|" twin "|" defines " " flags
            name = file = twin = defines = flags = ""
        }
        /^\[\[program\]\]/ { flush() }
        /^(name|file|twin) = "/ {
            value = $0; sub(/^[a-z]+ = "/, "", value); sub(/"$/, "", value)
            if ($1 == "name") name = value
            if ($1 == "file") file = value
            if ($1 == "twin") twin = value
        }
        /^(defines|flags) = \[/ {
            value = $0; sub(/^[a-z]+ = \[/, "", value); sub(/\]$/, "", value)
            count = split(value, parts, ", *"); value = ""
            for (i = 1; i <= count; i++) {
                gsub(/"/, "", parts[i])
                value = value " " ($1 == "defines" ? "-D" : "") parts[i]
            }
            if ($1 == "defines") defines = value; else flags = value
        }
        END { flush() }
    ' "$1"
}

# build FOLDER FILE OUTPUT FLAGS…
build() {
    source=$1/$2
    output=$3
    shift 3
    if [ -e "$output" ] && [ -z "$(find "$source" "${source%/*}"/*.h "${source%/*}"/../*.h \
        -newer "$output" 2>/dev/null)" ]; then
        return
    fi
    # shellcheck disable=SC2086 # compilers and flags are several words
    case $source in
    *.c) ${CC:-gcc} -O1 -g -Wall -Wextra -pthread ${CFLAGS:-} "$@" "$source" -o "$output" \
        ${LDLIBS:-} ;;
    *.cpp) ${CXX:-g++} -std=c++20 -O1 -g -Wall -Wextra -pthread ${CFLAGS:-} "$@" "$source" \
        -o "$output" ${LDLIBS:-} ;;
    *.rs) ${RUSTC:-rustc} --edition 2024 -O -g "$source" -o "$output" ;;
    *.py) cp "$source" "$output" ;;
    *) echo "build.sh: $source: no compiler for it" >&2; return 1 ;;
    esac
}

for name in $names; do
    # shellcheck disable=SC2086 # one table where there are names
    programs $tables | grep -q "^$name|" || { echo "build.sh: no program $name" >&2; exit 2; }
done

for table in $tables; do
    folder=$(cd "$(dirname "$table")" && pwd)
    programs "$table" | while IFS='|' read -r name file twin flags; do
        case $names in
        "  " | *" $name "*) ;;
        *) continue ;;
        esac
        # shellcheck disable=SC2086 # flags are several words
        build "$folder" "$file" "$out/$name" $flags
        if [ -n "$twin" ]; then
            # shellcheck disable=SC2086
            build "$folder" "$file" "$out/$twin" $flags -DFIXED
        fi
    done
done
