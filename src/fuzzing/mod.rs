//! Fuzzing: what each target generates from its bytes, and what it then demands.
//!
//! A target is one function from bytes to nothing that panics when something does not hold. The
//! crate in `fuzz/` is glue that hands libFuzzer's bytes to these functions; the corpus test hands
//! them every file in `corpus/fuzz/`, so each seed, and each input that ever failed and was kept,
//! is also an ordinary test.
//!
//! Beside it stands what a reader needs of an input: its decoding into text, which `heisenbed fuzz
//! decode` prints.
//!
//! Rooms: [`wire_stream`], [`registry`], [`allocator`], [`lifecycle`], [`discipline_lint`],
//! [`trace_file`], [`import_log`], [`import_pickle`], [`import_text`] (a target for each format),
//! [`import_wire`], [`observations`], [`reductions`], [`mod@reproducer`], [`shared_steps`],
//! [`target`] and [`unbounded`]. Nothing outside of tests, fuzz targets, `heisenbed fuzz` and
//! campaigns may use them.

pub mod allocator;
pub mod discipline_lint;
pub mod import_log;
pub mod import_pickle;
pub mod import_text;
pub mod import_wire;
pub mod lifecycle;
mod nearly_right;
pub mod observations;
pub mod reductions;
pub mod registry;
pub mod reproducer;
pub mod shared_steps;
pub mod target;
pub mod trace_file;
pub mod unbounded;
pub mod wire_stream;

use crate::lifecycle::{Discipline, lint};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct FuzzTarget {
    /// Its name, which is also its folder in `corpus/fuzz/` and its file in `fuzz/fuzz_targets/`.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub about: &'static str,
    /// Runs it; it panics when something does not hold.
    pub run: fn(&[u8]),
    /// What an input says, for people. Empty: it is too short to say anything.
    pub decode: fn(&[u8]) -> String,
}

/// Every target.
pub const TARGETS: [FuzzTarget; 23] = [
    FuzzTarget {
        name: "wire_stream",
        about: "bytes of a connection, cut anyhow, to frames and a registry",
        run: wire_stream::run,
        decode: wire_stream::decode,
    },
    FuzzTarget {
        name: "registry",
        about: "messages to the registry and to a naive model of it",
        run: registry::run,
        decode: registry::decode,
    },
    FuzzTarget {
        name: "allocator",
        about: "calls to every allocator and to a naive model",
        run: allocator::run,
        decode: allocator::decode,
    },
    FuzzTarget {
        name: "lifecycle",
        about: "workloads and schedules on disciplines that are correct",
        run: lifecycle::run,
        decode: |bytes| lifecycle::decode(bytes).map_or_else(String::new, |case| case.to_toml()),
    },
    FuzzTarget {
        name: "discipline_lint",
        about: "programs: what the lint accepts can be run, and its claims hold",
        run: discipline_lint::run,
        decode: |bytes| discipline_lint::decode(bytes).unwrap_or_default(),
    },
    FuzzTarget {
        name: "trace_file",
        about: "bytes as a trace, and events in a sound file",
        run: trace_file::run,
        decode: trace_file::decode,
    },
    FuzzTarget {
        name: "import_log",
        about: "bytes as a tracking server's log",
        run: import_log::run,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_pickle",
        about: "bytes as a PyTorch memory snapshot",
        run: import_pickle::run,
        decode: import_pickle::decode,
    },
    FuzzTarget {
        name: "import_debug_log",
        about: "bytes as the runtime's debug log",
        run: import_text::debug_log,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_rmm",
        about: "bytes as RMM's logs, of one device and of several",
        run: import_text::rmm,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_csv",
        about: "bytes as anybody's own log in CSV",
        run: import_text::csv,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_jsonl",
        about: "bytes as anybody's own log in JSON Lines",
        run: import_text::jsonl,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_graph",
        about: "bytes as a graph capture of TT-Metal",
        run: import_text::graph,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_umpire",
        about: "bytes as an Umpire replay log",
        run: import_text::umpire,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_rocprof",
        about: "bytes as allocations traced by rocprofv3",
        run: import_text::rocprof,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_vma",
        about: "bytes as a recording of the Vulkan Memory Allocator",
        run: import_text::vma,
        decode: as_text,
    },
    FuzzTarget {
        name: "import_wire",
        about: "bytes as what a client sent over its socket",
        run: import_wire::run,
        decode: import_wire::decode,
    },
    FuzzTarget {
        name: "observations",
        about: "observations to the checks without truth and to the diagnosis",
        run: observations::run,
        decode: observations::decode,
    },
    FuzzTarget {
        name: "reproducer",
        about: "text as a reproducer",
        run: reproducer::run,
        decode: as_text,
    },
    FuzzTarget {
        name: "reductions",
        about: "disciplines: a search with reductions finds what one without finds",
        run: reductions::run,
        decode: |bytes| reductions::decode(bytes).unwrap_or_default(),
    },
    FuzzTarget {
        name: "shared_steps",
        about: "programs with cells, ledgers and branches: engine, oracle and search agree",
        run: shared_steps::run,
        decode: |bytes| shared_steps::decode(bytes).unwrap_or_default(),
    },
    FuzzTarget {
        name: "target",
        about: "operations of your own allocator: HEISENBED_TARGET=lib.so",
        run: target::run,
        decode: target::decode,
    },
    FuzzTarget {
        name: "unbounded",
        about: "disciplines: what is proved for any number has no run that diverges",
        run: unbounded::run,
        decode: |bytes| unbounded::decode(bytes).unwrap_or_default(),
    },
];

/// The target of that name.
pub(crate) fn find(name: &str) -> Option<&'static FuzzTarget> {
    TARGETS.iter().find(|target| target.name == name)
}

/// A discipline as text, with what the lint says of it.
fn linted(discipline: &Discipline) -> String {
    let mut text = toml::to_string_pretty(discipline).expect("a discipline has string keys");
    for finding in lint(discipline) {
        text.push_str(&format!(
            "# {}: {}\n",
            finding.severity,
            finding.located(&discipline.name)
        ));
    }
    text
}

/// An input that is text anyway.
fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
