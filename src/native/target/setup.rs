//! With what a target is driven, and the files that the driver reads.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::TargetAbout;
use super::encode::encode;
use crate::device::Memory;
use crate::lifecycle::Publication;
use crate::scenario::Scenario;
use crate::scenario::op::Op;

/// Settings of glibc, which are divided by colons.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// It fills with this byte what is released, and with its complement what is allocated; what a
/// thread keeps for itself would not be filled.
const HEAP_FILLS: &str = "glibc.malloc.perturb=85:glibc.malloc.tcache_count=0";

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TargetSetup {
    /// What `--target-options` said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) options: String,
    /// How many devices.
    pub(crate) devices: u16,
    /// Bytes of each memory of each device; 0: it is not asked for.
    pub(crate) sizes: [u64; 4],
    /// The largest buffer that each has room for when it is new; 0: not known.
    pub(crate) whole: [u64; 4],
    /// What addresses are to be multiples of.
    pub(crate) alignment: u64,
    /// Buffers are published as soon as they have an address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) early: bool,
    /// Where its tracking client connects to, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<String>,
    /// What each thread does.
    #[serde(with = "as_text")]
    pub(crate) ops: Vec<Vec<Op>>,
}

/// The driver and its plan on disk, for as long as a program is run.
#[derive(Debug)]
pub(crate) struct TargetFiles {
    folder: tempfile::TempDir,
    setup: TargetSetup,
}

impl TargetSetup {
    /// `scenario`, in run `run`, for a target of which nothing is known yet.
    pub(crate) fn new(scenario: &Scenario, run: u64, options: &str) -> TargetSetup {
        let geometries = scenario.profile.geometries();
        let sizes = geometries.map(|geometry| geometry.bank_bytes * u64::from(geometry.banks));
        let alignment = geometries.iter().map(|geometry| geometry.alignment_bytes);
        let alignment = alignment.max().unwrap_or(1);
        let mut ops: Vec<Vec<Op>> = (0..scenario.threads)
            .map(|thread| scenario.ops_of(thread, run).collect())
            .collect();
        if scenario.workload.script.is_none() {
            ops.iter_mut()
                .flatten()
                .for_each(|op| uneven(op, alignment));
        }
        TargetSetup {
            options: options.to_owned(),
            devices: scenario.devices,
            sizes,
            whole: [0; 4],
            alignment,
            early: false,
            socket: None,
            ops,
        }
    }

    /// The same for a target that is known.
    pub(crate) fn for_target(mut self, about: &TargetAbout, scenario: &Scenario) -> TargetSetup {
        self.whole = Memory::ALL.map(|memory| about.whole(memory));
        self.early = about.publishes_early() && scenario.publish == Publication::Early;
        self.socket = about
            .tracks()
            .then(|| crate::native::tracked::USUAL_PATH.to_owned());
        self
    }

    /// The same with other operations.
    pub(crate) fn with_ops(&self, ops: Vec<Vec<Op>>) -> TargetSetup {
        TargetSetup {
            ops,
            ..self.clone()
        }
    }

    /// How many operations there are.
    pub(crate) fn count(&self) -> u64 {
        self.ops.iter().map(|ops| ops.len() as u64).sum()
    }

    /// A digest, by which one is known from another.
    pub(crate) fn digest(&self) -> String {
        let digest = xxhash_rust::xxh3::xxh3_64(&encode(self, false));
        format!("{digest:016x}")
    }
}

/// Every other drawn size a few bytes smaller: the sizes of scenarios are multiples of any
/// alignment, and an allocator that does not round would never show it.
fn uneven(op: &mut Op, alignment: u64) {
    if let Op::Allocate {
        slot,
        epoch,
        request,
    } = op
        && (slot.0 + *epoch).is_multiple_of(2)
        && request.size_bytes > alignment
    {
        request.size_bytes -= (7 * u64::from(slot.0) + 11 * u64::from(*epoch)) % alignment;
    }
}

impl PartialEq for TargetFiles {
    fn eq(&self, other: &TargetFiles) -> bool {
        self.setup == other.setup
    }
}

impl Eq for TargetFiles {}

impl TargetFiles {
    /// Writes them.
    pub(crate) fn write(setup: TargetSetup) -> io::Result<Arc<TargetFiles>> {
        use std::os::unix::fs::PermissionsExt;
        let files = TargetFiles {
            folder: tempfile::tempdir()?,
            setup,
        };
        std::fs::write(files.driver(), heisenbed_runtime::DRIVER)?;
        std::fs::set_permissions(files.driver(), std::fs::Permissions::from_mode(0o755))?;
        std::fs::write(files.plan(), encode(&files.setup, false))?;
        Ok(Arc::new(files))
    }

    /// What they say.
    pub(crate) fn setup(&self) -> &TargetSetup {
        &self.setup
    }

    /// The driver. What its process gives back to the system's heap is overwritten there: a target
    /// that uses its own memory after that, or before it wrote any, does not find what it left.
    pub(crate) fn driver_command(&self) -> Command {
        let mut command = Command::new(self.driver());
        let own = std::env::var(TUNABLES).unwrap_or_default();
        // Who has set the heap up has a reason.
        if !own.contains("glibc.malloc.") && std::env::var_os("MALLOC_PERTURB_").is_none() {
            let all = [own.as_str(), HEAP_FILLS].join(":");
            command.env(TUNABLES, all.trim_start_matches(':'));
        }
        command
    }

    /// The driver itself: a target that does wrong with its own memory can still say what it is.
    pub(super) fn driver(&self) -> PathBuf {
        self.folder.path().join("heisenbed_driver")
    }

    /// Its plan. Each process reads it when it begins, so another one may be written there.
    pub(crate) fn plan(&self) -> PathBuf {
        self.folder.path().join("plan")
    }

    /// Processes that begin from now on do this.
    pub(crate) fn replace_plan(&self, setup: &TargetSetup) -> io::Result<()> {
        let beside = self.folder.path().join("plan.new");
        std::fs::write(&beside, encode(setup, false))?;
        std::fs::rename(beside, self.plan())
    }

    /// A file that goes with them.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }
}

/// Operations in a file: as people read them.
mod as_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use crate::scenario::op::Op;

    pub(super) fn serialize<S: Serializer>(
        ops: &[Vec<Op>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = |ops: &Vec<Op>| ops.iter().map(Op::to_string).collect::<Vec<_>>();
        ops.iter()
            .map(text)
            .collect::<Vec<_>>()
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<Op>>, D::Error> {
        let texts: Vec<Vec<String>> = Vec::deserialize(deserializer)?;
        texts
            .iter()
            .map(|ops| ops.iter().map(|op| op.parse()).collect())
            .collect::<Result<_, _>>()
            .map_err(de::Error::custom)
    }
}
