//! Why a file is no snapshot that can be read.

use std::io;

use thiserror::Error;

/// Why a pickle cannot be read, and where.
#[derive(Debug, Error)]
pub enum PickleError {
    /// The source failed.
    #[error("at byte {offset}: {source}")]
    Io {
        /// How far it was read.
        offset: u64,
        /// What it said.
        source: io::Error,
    },
    /// It is something else.
    #[error("not a pickle of protocol 2 to 5: {why}")]
    NotAPickle {
        /// What gave it away, and what to do.
        why: String,
    },
    /// It ends too early.
    #[error(
        "at byte {offset}: the file ends inside {opcode}, which is at byte {opcode_offset}: it was cut off"
    )]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// The instruction.
        opcode: &'static str,
        /// Where that begins.
        opcode_offset: u64,
    },
    /// An instruction that makes objects of a program.
    #[error(
        "at byte {offset}: {opcode} would run code of a program; a memory snapshot has none, and nothing is executed here"
    )]
    Forbidden {
        /// The instruction.
        opcode: &'static str,
        /// Where it is.
        offset: u64,
    },
    /// An instruction that is known but has no place in a snapshot.
    #[error(
        "at byte {offset}: {opcode} is not read; write the snapshot with `pickle.dump(snapshot, file, protocol=4)`"
    )]
    Unsupported {
        /// The instruction.
        opcode: &'static str,
        /// Where it is.
        offset: u64,
    },
    /// No instruction.
    #[error("at byte {offset}: {byte:#04x} is no instruction of a pickle: the file is damaged")]
    Unknown {
        /// The byte.
        byte: u8,
        /// Where it is.
        offset: u64,
    },
    /// An instruction that does not fit what was read before it.
    #[error("at byte {offset}: {opcode}: {why}: the file is damaged")]
    Misplaced {
        /// The instruction.
        opcode: &'static str,
        /// Where it is.
        offset: u64,
        /// What does not fit.
        why: &'static str,
    },
    /// More than a reader takes.
    #[error("at byte {offset}: {opcode}: more than {limit} {what}: no snapshot needs so many")]
    Limit {
        /// The instruction.
        opcode: &'static str,
        /// Where it is.
        offset: u64,
        /// Of what there is too much.
        what: &'static str,
        /// How much is taken.
        limit: u64,
    },
    /// It is a pickle of something else.
    #[error(
        "it is a pickle, but no memory snapshot: it has no `device_traces` (write it with `torch.cuda.memory._dump_snapshot`)"
    )]
    NoSnapshot,
    /// It is a pickle of something with a snapshot in it.
    #[error(
        "it is a pickle with a memory snapshot inside, at `{path}`; write that one into a file of its own: \
         `pickle.dump(pickle.load(open(FILE, 'rb')){path}, open('one.pickle', 'wb'))` (in Python, and only if you trust the file: \
         loading a pickle runs what it says)"
    )]
    SnapshotInside {
        /// Where it is, as Python says it.
        path: String,
    },
    /// It is what `torch.cuda.memory_snapshot()` returns.
    #[error(
        "it is a list of segments, as `torch.cuda.memory_snapshot()` returns: it has no history; \
         call `torch.cuda.memory._record_memory_history()` before the run and write `torch.cuda.memory._dump_snapshot(FILE)` after it"
    )]
    OnlySegments,
    /// What was read could not be written.
    #[error("{0}")]
    Sink(io::Error),
}
