//! What a page shows of one file: its parts, as plain data.
//!
//! Whoever reads a file fills them; `html` writes them down. Texts in them may be from anywhere:
//! they are made harmless where they are written, not here.

use serde::Serialize;

use super::columns::Column;
use super::events::PackedEvents;
use super::memory::PackedMemory;

/// What is shown of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct PagePart {
    /// The file.
    pub(crate) name: String,
    /// What it is, in words.
    pub(crate) what: String,
    /// The verdict in a word, which is also how it is marked: `clean`, `diverged`, `inconclusive`,
    /// `proved`, or how a program failed.
    pub(crate) verdict: String,
    /// The verdict in a sentence.
    pub(crate) sentence: String,
    /// What else should be known, before all else.
    pub(crate) notes: Vec<String>,
    /// What was run, name by name.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// How to get to the same: command lines.
    pub(crate) commands: Vec<String>,
    /// Divergences by kind.
    pub(crate) kinds: Vec<KindRow>,
    /// What went wrong, told step by step.
    pub(crate) explanation: Option<String>,
    /// The same as a text, to be pasted elsewhere.
    pub(crate) text: Option<String>,
    /// Suspected causes, the likeliest first.
    pub(crate) diagnosis: Option<DiagnosisShown>,
    pub(crate) divergences: Vec<DivergenceRow>,
    /// What was never released.
    pub(crate) leaks: Option<LeaksShown>,
    pub(crate) matrix: Option<MatrixShown>,
    pub(crate) campaign: Option<CampaignShown>,
    pub(crate) picture: Option<Picture>,
    /// It is there for a cell of a matrix, or another part: it has no tab of its own.
    pub(crate) is_hidden: bool,
}

/// How often a kind of divergence shows.
#[derive(Clone, Debug)]
pub(crate) struct KindRow {
    pub(crate) kind: String,
    pub(crate) count: u64,
    pub(crate) says: String,
}

/// One divergence.
#[derive(Clone, Debug)]
pub(crate) struct DivergenceRow {
    pub(crate) kind: String,
    /// What that means; who reads the file knows it.
    pub(crate) says: String,
    /// The index of the event that shows it; none: it shows at rest.
    pub(crate) event: Option<u32>,
    /// Where that is, in words: `step 18`, `line 5`, `at rest`.
    pub(crate) at: String,
    pub(crate) space: String,
    pub(crate) address: Option<String>,
    pub(crate) lane: Option<String>,
    pub(crate) op: Option<u64>,
}

/// What a diagnosis says.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiagnosisShown {
    pub(crate) causes: Vec<CauseShown>,
    pub(crate) notes: Vec<String>,
}

/// A suspected cause.
#[derive(Clone, Debug)]
pub(crate) struct CauseShown {
    pub(crate) name: String,
    pub(crate) score: f64,
    pub(crate) says: String,
    /// How many pieces of evidence there are.
    pub(crate) count: u64,
    pub(crate) exhibits: Vec<ExhibitShown>,
}

/// A piece of evidence: what is to be seen, and at which positions.
#[derive(Clone, Debug)]
pub(crate) struct ExhibitShown {
    pub(crate) says: String,
    pub(crate) positions: Vec<u64>,
}

/// What was never released, by where it was allocated.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaksShown {
    pub(crate) buffers: u64,
    pub(crate) bytes: u128,
    /// Whether the record ends with its program: else it is what was live at the end.
    pub(crate) ended: bool,
    pub(crate) places: Vec<LeakRow>,
}

/// Buffers from one place that were never released.
#[derive(Clone, Debug)]
pub(crate) struct LeakRow {
    pub(crate) buffers: u64,
    pub(crate) bytes: u128,
    /// Where the first of them was allocated, as a position of the record.
    pub(crate) position: Option<u64>,
    /// In which memory, and by whom.
    pub(crate) place: String,
    /// All frames, innermost first.
    pub(crate) frames: Vec<String>,
    /// How many of the innermost frames are the allocator's own.
    pub(crate) not_users: usize,
}

/// A verdict table.
#[derive(Clone, Debug, Default)]
pub(crate) struct MatrixShown {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<MatrixRow>,
    pub(crate) answers: Vec<String>,
}

/// A discipline in its form.
#[derive(Clone, Debug)]
pub(crate) struct MatrixRow {
    pub(crate) name: String,
    pub(crate) cells: Vec<Option<MatrixCell>>,
}

/// What came of one workload.
#[derive(Clone, Debug)]
pub(crate) struct MatrixCell {
    pub(crate) verdict: String,
    pub(crate) says: String,
    /// The part that shows its smallest run.
    pub(crate) opens: Option<usize>,
}

/// A campaign.
#[derive(Clone, Debug, Default)]
pub(crate) struct CampaignShown {
    /// Those before, and this one.
    pub(crate) nights: Vec<NightRow>,
    pub(crate) causes: Vec<CauseRow>,
    pub(crate) canaries: Vec<CanaryRow>,
}

/// A night.
#[derive(Clone, Debug)]
pub(crate) struct NightRow {
    pub(crate) name: String,
    pub(crate) schedules: u64,
    pub(crate) causes: u64,
    pub(crate) new_causes: u64,
    /// How likely the next schedule shows something new.
    pub(crate) chance_of_news: Option<f64>,
    pub(crate) blind: bool,
    pub(crate) complete: bool,
}

/// A cause that was found.
#[derive(Clone, Debug)]
pub(crate) struct CauseRow {
    pub(crate) kind: String,
    pub(crate) discipline: String,
    pub(crate) deciding: String,
    pub(crate) size: String,
    pub(crate) diverged: u64,
    pub(crate) known: Option<String>,
    /// The part that shows its run.
    pub(crate) opens: Option<usize>,
}

/// What came of a canary.
#[derive(Clone, Debug)]
pub(crate) struct CanaryRow {
    pub(crate) name: String,
    pub(crate) engine: String,
    pub(crate) found: bool,
    pub(crate) tries: u64,
}

/// Events and memory of one record.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Picture {
    /// What positions count: `event`, `line`, `entry`.
    pub(crate) position: &'static str,
    pub(crate) lanes: Vec<LaneShown>,
    pub(crate) locks: Vec<String>,
    /// Texts of events that have one of their own, each once.
    pub(crate) texts: Vec<String>,
    /// By row, the number of its text from 1.
    pub(crate) text: Option<Column>,
    /// Call stacks, each as one line, innermost frame first.
    pub(crate) stacks: Vec<String>,
    /// The event that runs because of the preemption that decides.
    pub(crate) deciding: Option<u32>,
    /// Events without a row.
    pub(crate) left_out: u64,
    pub(crate) events: PackedEvents,
    pub(crate) memory: PackedMemory,
}

/// A lane.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LaneShown {
    pub(crate) name: String,
    pub(crate) is_server: bool,
}

impl LaneShown {
    /// Of a thread, a process, a connection.
    pub(crate) fn thread(name: impl Into<String>) -> LaneShown {
        LaneShown {
            name: name.into(),
            is_server: false,
        }
    }

    /// Of the server.
    pub(crate) fn server() -> LaneShown {
        LaneShown {
            name: "server".to_owned(),
            is_server: true,
        }
    }
}
