//! Scenarios: everything a run needs, as data.
//!
//! A [`ScenarioFile`] is what people write (TOML, most of it optional); resolving it gives a
//! [`Scenario`], complete and checked, which is what engines run and what a trace's header holds.
//! [`op`] are the operations, [`workload`] says which are wanted, [`op_stream`] draws them,
//! [`random`] is where all randomness comes from, [`builtin`] holds the scenarios that ship with
//! heisenbed, and `condensed` makes them small enough for every schedule to matter.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::device::{BufferKind, Memory, Policy, Profile};
use crate::lifecycle::{self, Discipline, DisciplineError, Lock, MicroStep, Order, Publication};
use crate::planted::Planted;
use crate::registry::{Limits, Registry, Semantics};
use crate::scenario::objects::Objects;
use crate::tracking::Layout;
use crate::tracking::transport::SendMode;

pub mod builtin;
pub(crate) mod cells;
mod check;
mod condensed;
pub(crate) mod imported;
pub mod objects;
pub mod op;
pub(crate) mod op_stream;
pub mod random;
pub(crate) mod toml_file;
pub(crate) mod workload;

pub(crate) use check::{MAX_DEVICES, MAX_THREADS};
pub(crate) use condensed::{Condensed, NamedParts};
pub use toml_file::TomlFileError;

use cells::CellTable;
use op::Op;
use op_stream::{OpStream, SlotLayout};
use workload::Workload;

/// The process id that messages carry when they go to a server of ours: a run must not depend on
/// the real one.
pub(crate) const SCENARIO_PID: i32 = 4242;

/// The generation of a buffer that does not own its memory, where a planted mistake tracks it: no
/// allocation has it.
pub(crate) const VIEW_GENERATION: u64 = u32::MAX as u64;

/// A message is written in at most this many writes.
pub(crate) const MAX_CHUNKS: u8 = 8;

/// A scenario, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Threads that allocate and release.
    pub threads: u16,
    /// Operations (an allocate or a release) a thread.
    pub ops: u64,
    /// Devices.
    pub devices: u16,
    /// Whose memory sizes the devices have.
    pub profile: Profile,
    /// The allocator that manages each memory.
    pub allocator: Policy,
    /// The release order that was applied to the discipline.
    pub order: Order,
    /// The publication that was applied to the discipline.
    pub publish: Publication,
    /// How the server understands messages.
    pub semantics: Semantics,
    /// Delay random micro-steps.
    pub perturb: bool,
    /// How messages get to the server.
    pub transport: Transport,
    /// The server's own pace.
    pub server: ServerPace,
    /// The runtime's debug log.
    pub debug_log: DebugLog,
    /// The discipline, its switches applied.
    pub discipline: Discipline,
    /// What the threads do.
    pub workload: Workload,
    /// A mistake that the code under test makes on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<Planted>,
}

/// How messages get to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Transport {
    /// Wait for room in the socket's buffer, or drop the message.
    pub mode: SendMode,
    /// Which connection a thread writes to.
    pub connections: Connections,
    /// How many writes a message takes; more than one lets messages tear.
    pub chunks: u8,
    /// The wire layout.
    pub layout: Layout,
    /// Size of the socket's send buffer; 0: the system's default.
    pub send_buffer_bytes: u32,
}

impl Default for Transport {
    fn default() -> Transport {
        Transport {
            mode: SendMode::Blocking,
            connections: Connections::Shared,
            chunks: 1,
            layout: Layout::Extended,
            send_buffer_bytes: 0,
        }
    }
}

/// Which connection a thread writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// One for the process, opened before the threads start.
    Shared,
    /// One for each thread.
    PerThread,
    /// One for the process, opened by whoever sends first, without a lock: two threads may open
    /// two.
    Lazy,
}

/// The server's own pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServerPace {
    /// How long it takes over each message: a deliberately slow server.
    pub delay_us: u64,
    /// Stops reading after that many messages, and leaves whoever sends waiting. Controlled runs
    /// only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stops_after: Option<u64>,
}

/// The runtime's debug log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DebugLog {
    /// Whether `debug-log` micro-steps write.
    pub enabled: bool,
    /// The least that a block costs (stack trace and file write).
    pub min_us: u64,
    /// The most that a block costs.
    pub max_us: u64,
}

impl Default for DebugLog {
    fn default() -> DebugLog {
        DebugLog {
            enabled: false,
            min_us: 10_000,
            max_us: 50_000,
        }
    }
}

/// A scenario as people write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScenarioFile {
    /// See [`Scenario`] for this and the other fields.
    pub name: String,
    /// What it shows.
    #[serde(default)]
    pub about: String,
    /// Default 0.
    #[serde(default)]
    pub seed: u64,
    /// Default 4.
    #[serde(default = "default_threads")]
    pub threads: u16,
    /// Default 32,000.
    #[serde(default = "default_ops")]
    pub ops: u64,
    /// Default: as many as the profile has.
    #[serde(default)]
    pub devices: Option<u16>,
    /// Default n150.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// Default best-fit.
    #[serde(default)]
    pub allocator: Policy,
    /// A built-in discipline's name, or a file; default `lifecycle-wide`.
    #[serde(default = "default_discipline")]
    pub discipline: String,
    /// Default: as the discipline is written.
    #[serde(default)]
    pub order: Option<Order>,
    /// Default: as the discipline is written.
    #[serde(default)]
    pub publish: Option<Publication>,
    /// Default: what the discipline counts on, or `typed`.
    #[serde(default)]
    pub semantics: Option<Semantics>,
    /// Default false.
    #[serde(default)]
    pub perturb: bool,
    /// Default: blocking, one shared connection.
    #[serde(default)]
    pub transport: Transport,
    /// Default: as fast as it can.
    #[serde(default)]
    pub server: ServerPace,
    /// Default: off.
    #[serde(default)]
    pub debug_log: DebugLog,
    /// Default: private buffers.
    #[serde(default)]
    pub workload: Workload,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<Planted>,
    /// What of its workload the text names.
    #[serde(skip)]
    pub named: NamedParts,
}

fn default_threads() -> u16 {
    4
}

fn default_ops() -> u64 {
    32_000
}

fn default_discipline() -> String {
    "lifecycle-wide".to_owned()
}

/// Why a scenario cannot be run.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// There is neither a built-in scenario nor a file of that name.
    #[error("{name}: no such scenario or file (built in: {known})")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The built-in names.
        known: String,
    },
    /// The file cannot be read, or does not parse.
    #[error(transparent)]
    File(#[from] TomlFileError),
    /// The discipline is unknown or wrong.
    #[error(transparent)]
    Discipline(#[from] Box<DisciplineError>),
    /// A figure is out of its range.
    #[error("scenario {scenario}: {field}: {problem}")]
    Range {
        /// The scenario.
        scenario: String,
        /// The field.
        field: &'static str,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

impl ScenarioFile {
    /// The built-in scenario of that name, or the one in that file.
    pub fn load(name_or_path: &str) -> Result<ScenarioFile, ScenarioError> {
        if let Some(text) = builtin::text(name_or_path) {
            return ScenarioFile::from_toml(name_or_path, text);
        }
        let path = Path::new(name_or_path);
        if !path.exists() {
            let known = builtin::NAMES.join(", ");
            return Err(ScenarioError::Unknown {
                name: name_or_path.to_owned(),
                known,
            });
        }
        let text = toml_file::read(path)?;
        ScenarioFile::from_toml(name_or_path, &text)
    }

    /// The scenario in this text; `file` is what errors call it.
    pub(crate) fn from_toml(file: &str, text: &str) -> Result<ScenarioFile, ScenarioError> {
        let mut parsed: ScenarioFile = toml_file::parse(file, text)?;
        parsed.named = NamedParts::of(text, builtin::text(file) == Some(text));
        Ok(parsed)
    }

    /// Completes and checks it.
    pub fn resolve(self) -> Result<Scenario, ScenarioError> {
        let written = lifecycle::load(&self.discipline).map_err(Box::new)?;
        self.resolve_under(&written)
    }

    /// As [`ScenarioFile::resolve`], under the discipline `written` in place of the one that it
    /// names.
    pub(crate) fn resolve_under(self, written: &Discipline) -> Result<Scenario, ScenarioError> {
        let order = self.order.unwrap_or(written.order());
        let publish = self.publish.unwrap_or(written.publication());
        let discipline = written.with(order, publish);
        let profile = self.profile.unwrap_or(Profile::N150);
        let scenario = Scenario {
            semantics: self
                .semantics
                .or(discipline.semantics)
                .unwrap_or(Semantics::Typed),
            devices: self.devices.unwrap_or_else(|| profile.devices()),
            name: self.name,
            about: self.about,
            seed: self.seed,
            threads: self.threads,
            ops: self.ops,
            profile,
            allocator: self.allocator,
            order,
            publish,
            perturb: self.perturb,
            transport: self.transport,
            server: self.server,
            debug_log: self.debug_log,
            discipline,
            workload: self.workload,
            planted: self.planted,
        };
        scenario.check()?;
        Ok(scenario)
    }
}

impl Scenario {
    /// The shared objects of a run.
    pub fn objects(&self) -> Objects {
        let table = self
            .discipline
            .every_program()
            .flat_map(|program| program.steps())
            .filter_map(|step| match step {
                MicroStep::Lock(Lock::LifecycleTable(entries)) => Some(*entries),
                _ => None,
            })
            .max()
            .unwrap_or(0);
        let conns = match self.transport.connections {
            Connections::Shared => 1,
            Connections::PerThread => self.threads,
            Connections::Lazy => self.threads,
        };
        Objects {
            devices: self.devices,
            table: table.min(self.devices),
            slots: self.slots(),
            conns,
            cells: self.cells().count(),
        }
    }

    /// The cells and ledgers of a run.
    pub(crate) fn cells(&self) -> CellTable {
        if self.discipline.cells.is_empty() {
            return CellTable::default();
        }
        CellTable::new(
            &self.discipline,
            self.devices,
            self.processes(),
            self.threads,
            self.slots(),
        )
    }

    /// How many processes the threads are of: thread i is of process i modulo their number.
    pub(crate) fn processes(&self) -> u16 {
        self.workload.processes.max(1)
    }

    /// The registry of a server of this scenario, before the first message.
    pub(crate) fn registry(&self) -> Registry {
        Registry::new(self.semantics, self.registry_limits()).with_planted(self.planted)
    }

    /// Where buffers that do not own their memory are, where a planted mistake tracks them: they
    /// are views of the first L1 buffer.
    pub(crate) fn view_address(&self) -> Option<u64> {
        (self.planted == Some(Planted::PreallocatedTracked))
            .then(|| self.profile.geometries()[Memory::L1 as usize].base_address)
    }

    /// How many writes make a frame, as the server takes it.
    pub(crate) fn writes_per_frame(&self) -> u8 {
        let layout = self.transport.layout;
        let server = Planted::server_layout(self.planted, layout);
        let frames = server.frame_bytes().div_ceil(layout.frame_bytes()).max(1);
        self.transport.chunks.saturating_mul(frames as u8)
    }

    /// The bounds of a server of this scenario, in runs and in checks alike.
    pub(crate) fn registry_limits(&self) -> Limits {
        Limits {
            devices: u32::from(self.devices),
            ..Limits::default()
        }
    }

    /// The operations of `thread` in run `run`.
    pub fn ops_of(&self, thread: u16, run: u64) -> Box<dyn Iterator<Item = Op> + Send> {
        match &self.workload.script {
            Some(script) => Box::new(
                script
                    .get(usize::from(thread))
                    .map(|ops| parse_ops(ops))
                    .unwrap_or_default()
                    .into_iter(),
            ),
            None => Box::new(OpStream::new(
                &self.workload,
                self.ops,
                self.threads,
                self.devices,
                self.seed,
                run,
                thread,
            )),
        }
    }

    /// Whether any buffer may have several parts.
    pub(crate) fn has_mesh(&self) -> bool {
        let scripted = |op: &Op| matches!(op, Op::Allocate { request, .. } if request.parts > 1);
        match self.script() {
            Some(script) => script.iter().flatten().any(scripted),
            None => self.workload.mesh_percent > 0,
        }
    }

    /// Whether any buffer may have several parts, or not own its memory.
    fn has_views_or_mesh(&self) -> bool {
        let is_one = |op: &Op| match op {
            Op::Allocate { request, .. } => {
                matches!(request.kind, BufferKind::Mesh | BufferKind::Preallocated)
            }
            _ => false,
        };
        match &self.workload.script {
            // What does not parse is refused elsewhere.
            Some(script) => (script.iter().flatten())
                .filter_map(|text| text.parse().ok())
                .any(|op: Op| is_one(&op)),
            None => self.workload.mesh_percent > 0 || self.workload.preallocated_percent > 0,
        }
    }

    /// The scripted operations, where the workload is a script.
    fn script(&self) -> Option<Vec<Vec<Op>>> {
        let script = self.workload.script.as_ref()?;
        Some(script.iter().map(|thread| parse_ops(thread)).collect())
    }

    fn slots(&self) -> u32 {
        match self.script() {
            None => {
                SlotLayout::new(&self.workload, self.threads).per_thread() * u32::from(self.threads)
            }
            Some(script) => script
                .iter()
                .flatten()
                .filter_map(|op| match op {
                    Op::Allocate { slot, .. } | Op::Release { slot, .. } => Some(slot.0 + 1),
                    Op::Run { on, .. } => on.map(|(slot, _)| slot.0 + 1),
                    _ => None,
                })
                .max()
                .unwrap_or(0),
        }
    }
}

/// The operations of one thread of a script.
fn parse_ops(texts: &[String]) -> Vec<Op> {
    texts
        .iter()
        .map(|text| text.parse().expect("checked by Scenario::check"))
        .collect()
}
