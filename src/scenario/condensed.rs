//! Condensing: the same pattern of work with as few choices as it can have, small enough for every
//! schedule of it to matter.
//!
//! What a scenario names is kept: its memories, the ends of its sizes, its number of devices, and
//! in a file of the user's the kinds of its buffers. These are then taken in turn rather than
//! drawn, so that a few operations have them all. What is left out is said: a verdict about the
//! condensed workload is none about the whole one.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::op::Op;
use super::op_stream::devices_in_turn;
use super::workload::{Memories, Sizes, Workload};
use super::{Scenario, ScenarioFile};
use crate::device::{BufferKind, Memory, Profile};
use crate::numbers::{grouped, plural};
use crate::registry::Semantics;
use crate::tracking::transport::SendMode;

/// Threads and operations where nothing else is asked for.
const SMALL: (u16, u64) = (2, 4);
/// At most so many pairs a thread, where that many are needed to have everything that is named.
const MOST_PAIRS: usize = 4;
/// So many operations of a thread have everything that it has.
const LOOKED_AT: usize = 100_000;
/// Devices of a workload that needs several, where the scenario names no number.
const SEVERAL_DEVICES: u16 = 2;

/// What a text names of its workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamedParts {
    memories: bool,
    sizes: bool,
    kinds: bool,
    devices: bool,
}

impl NamedParts {
    /// What the TOML `text` names. The kinds of a built-in workload are its pattern.
    pub(super) fn of(text: &str, is_builtin: bool) -> NamedParts {
        let table: toml::Table = text.parse().unwrap_or_default();
        let workload = table.get("workload").and_then(toml::Value::as_table);
        let has = |key: &str| workload.is_some_and(|workload| workload.contains_key(key));
        NamedParts {
            memories: has("memories"),
            sizes: has("sizes"),
            kinds: !is_builtin
                && ["mesh-percent", "circular-percent", "preallocated-percent"]
                    .into_iter()
                    .any(has),
            devices: table.contains_key("devices"),
        }
    }

    /// The number of devices was asked for.
    pub(crate) fn name_devices(&mut self) {
        self.devices = true;
    }
}

impl ScenarioFile {
    /// The same with its workload condensed: 2 threads of 4 operations where it has as many and
    /// nothing else is asked for (up to 8, where what is named needs them), and room for one frame
    /// where messages are dropped. A script is taken as it is.
    pub fn condensed(mut self, threads: Option<u16>, ops: Option<u64>) -> ScenarioFile {
        if self.workload.script.is_none() {
            if self.workload.mesh_percent > 0 || self.workload.close {
                self.devices = self.devices.or(Some(SEVERAL_DEVICES));
            }
            let pairs = self.condense_workload();
            // No more than the scenario itself has: that would be another one, too.
            let small = SMALL.1.max(2 * pairs.min(MOST_PAIRS) as u64);
            self.threads = threads.unwrap_or(SMALL.0.min(self.threads));
            self.ops = ops.unwrap_or(small.min(self.ops));
        }
        if self.transport.mode == SendMode::DontWait {
            self.transport.send_buffer_bytes = 1;
        }
        self
    }

    /// Condenses the workload; says how many buffers of a thread have everything that is kept.
    fn condense_workload(&mut self) -> usize {
        let whole = self.workload.clone();
        let mut named = self.named;
        named.memories |= self.mixes_memories();
        // Mesh buffers beside plain ones: what goes wrong between the two is found by neither
        // alone. Pre-allocated ones alone send nothing, so that nothing would be checked.
        let beside_plain = [
            self.workload.mesh_percent,
            self.workload.preallocated_percent,
        ];
        named.kinds |= beside_plain
            .iter()
            .any(|percent| (1..100).contains(percent));
        let devices = match self.devices {
            Some(devices) if named.devices => devices,
            Some(_) => 1,
            None => self.profile.unwrap_or(Profile::N150).devices(),
        };
        let devices = devices_in_turn(devices).len();
        let small = &mut self.workload;
        small.condense();
        let kept = named.memories || named.sizes || named.kinds;
        if !kept && devices == 1 {
            return 1;
        }
        small.in_turn = true;
        if named.memories {
            small.memories = whole.memories;
        }
        if named.sizes {
            small.sizes = whole.sizes;
        }
        if kept {
            small.mesh_percent = whole.mesh_percent;
            small.circular_percent = whole.circular_percent;
            small.preallocated_percent = whole.preallocated_percent;
        }
        let combinations = small.kinds().len()
            * small.memories.weighted().len()
            * small.sizes.ends().len()
            * devices;
        // Of what is handed on two of a sort in a row, where there is room for that.
        match small.takes_two_in_a_row() && 2 * combinations <= MOST_PAIRS {
            true => 2 * combinations,
            false => combinations,
        }
    }

    /// Whether the server's key can take a buffer of one memory for one of another: it has no
    /// memory, and two memories that buffers are drawn from have the same addresses.
    fn mixes_memories(&self) -> bool {
        let semantics = self.semantics.unwrap_or(Semantics::Typed);
        let key_has_memory = semantics.key_has_memory(self.transport.layout);
        let geometries = self.profile.unwrap_or(Profile::N150).geometries();
        let bases: Vec<u64> = self
            .workload
            .memories
            .weighted()
            .iter()
            .map(|memory| geometries[*memory as usize].base_address)
            .collect();
        !key_has_memory && bases.iter().collect::<BTreeSet<_>>().len() < bases.len()
    }
}

impl Workload {
    /// Whether two buffers of a sort in a row are worth their states: where buffers are handed on.
    /// Mesh buffers have too many steps for that, and go wrong without it.
    pub(super) fn takes_two_in_a_row(&self) -> bool {
        self.handoff > 0 && self.mesh_percent == 0
    }

    /// One slot where there were many, one size and one memory, every buffer of the special kind.
    /// So addresses are used again at once, and a few operations show what the pattern can.
    fn condense(&mut self) {
        let all = |percent: u8| if percent > 0 { 100 } else { 0 };
        *self = Workload {
            processes: self.processes,
            private_slots: u32::from(self.handoff == 0 && self.shared == 0),
            round_ops: 0,
            handoff: self.handoff.min(1),
            shared: self.shared.min(1),
            sizes: Sizes::Fixed { bytes: 4096 },
            memories: Memories::ONLY_L1,
            mesh_percent: all(self.mesh_percent),
            circular_percent: all(self.circular_percent),
            preallocated_percent: all(self.preallocated_percent),
            leaks: self.leaks.min(1),
            throw_after: self.throw_after.map(|after| after.min(1)),
            throwing_threads: self.throwing_threads.min(1),
            close: self.close,
            in_turn: false,
            script: None,
            import: None,
            imported: None,
        };
    }
}

/// What was left out of a workload, so that a verdict can say what it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Condensed(Vec<LeftOut>);

/// One thing of which only a part was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct LeftOut {
    /// What it is.
    what: &'static str,
    /// What was kept.
    searched: String,
    /// What the scenario has.
    of: String,
}

impl Condensed {
    /// What `small` has not of `whole`, of which it was made.
    pub(crate) fn of(whole: &ScenarioFile, small: &Scenario) -> Condensed {
        let mut condensed = Condensed::default();
        if let Some(imported) = &small.workload.imported {
            let (some, all) = (imported.allocations, imported.allocations_in_source);
            condensed.add("imported allocations", grouped(some), grouped(all));
        }
        if whole.workload.script.is_some() || small.workload.script.is_some() {
            return condensed;
        }
        let used = UsedParts::of(small);
        let (from, to) = (&whole.workload, &small.workload);
        let mut number = |what, searched: u64, of: u64| {
            condensed.add(what, grouped(searched), grouped(of));
        };
        number("threads", small.threads.into(), whole.threads.into());
        number("operations a thread", small.ops, whole.ops);
        number(
            "slots a thread",
            to.private_slots.into(),
            from.private_slots.into(),
        );
        number(
            "handed-on buffers a round",
            to.handoff.into(),
            from.handoff.into(),
        );
        number(
            "twice-released buffers a round",
            to.shared.into(),
            from.shared.into(),
        );
        number("leaks", to.leaks.into(), from.leaks.into());
        number(
            "throwing threads",
            to.throwing_threads.into(),
            from.throwing_threads.into(),
        );
        let devices = whole
            .devices
            .unwrap_or(whole.profile.unwrap_or(Profile::N150).devices());
        number("devices", used.devices.len() as u64, devices.into());
        condensed.add("sizes", sizes_in_words(&used.sizes), from.sizes.to_string());
        let names = |memories: &[Memory]| join(memories.iter().map(|memory| memory.name()));
        let of_memories: Vec<Memory> = used.memories.iter().copied().collect();
        condensed.add(
            "memories",
            names(&of_memories),
            names(&from.reached_memories()),
        );
        let kinds: BTreeSet<&str> = from.kinds().into_iter().map(kind_name).collect();
        let names = |kinds: &BTreeSet<&str>| join(kinds.iter().copied());
        condensed.add("kinds of buffer", names(&used.kinds), names(&kinds));
        let (from, to) = (
            whole.transport.send_buffer_bytes,
            small.transport.send_buffer_bytes,
        );
        if from != to {
            let of = match from {
                0 => "the system's".to_owned(),
                bytes => plural(bytes.into(), "byte"),
            };
            condensed.add("room in the socket", "one message".to_owned(), of);
        }
        condensed
    }

    /// Whether nothing was left out.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, what: &'static str, searched: String, of: String) {
        if searched != of {
            self.0.push(LeftOut { what, searched, of });
        }
    }
}

/// As `1 of 16 slots a thread, sizes 4096 of 4096 to 131072`.
impl fmt::Display for Condensed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        for (index, LeftOut { what, searched, of }) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            if counts(searched) && *what != "sizes" {
                write!(f, "{searched} of {of} {what}")?;
            } else {
                write!(f, "{what} {searched} (of {of})")?;
            }
        }
        Ok(())
    }
}

/// What the operations of a scenario have.
#[derive(Default)]
struct UsedParts {
    sizes: BTreeSet<u64>,
    memories: BTreeSet<Memory>,
    kinds: BTreeSet<&'static str>,
    devices: BTreeSet<u16>,
}

impl UsedParts {
    fn of(scenario: &Scenario) -> UsedParts {
        let mut used = UsedParts::default();
        let looked_at = |thread| scenario.ops_of(thread, 0).take(LOOKED_AT);
        for op in (0..scenario.threads).flat_map(looked_at) {
            let Op::Allocate { request, .. } = op else {
                continue;
            };
            used.sizes.insert(request.size_bytes);
            used.memories.insert(request.memory);
            used.kinds.insert(kind_name(request.kind));
            for part in 0..u16::from(request.parts) {
                used.devices
                    .insert((request.device.0 + part) % scenario.devices);
            }
        }
        used
    }
}

fn kind_name(kind: BufferKind) -> &'static str {
    match kind {
        BufferKind::Owned => "plain",
        BufferKind::Preallocated => "preallocated",
        BufferKind::Circular => "circular",
        BufferKind::Mesh => "mesh",
    }
}

fn sizes_in_words(sizes: &BTreeSet<u64>) -> String {
    match (sizes.first(), sizes.last()) {
        (None, _) | (_, None) => "none".to_owned(),
        _ => join(sizes.iter().map(|size| grouped(*size))),
    }
}

fn join<T: Into<String>>(words: impl Iterator<Item = T>) -> String {
    let words: Vec<String> = words.map(Into::into).collect();
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(text: &str) -> (ScenarioFile, Scenario) {
        let file = ScenarioFile::from_toml("test.toml", text).expect("it parses");
        let small = file.clone().condensed(None, None).resolve();
        (file, small.expect("it resolves"))
    }

    /// Memory, size and device of each buffer of a thread.
    fn buffers(scenario: &Scenario, thread: u16) -> Vec<(Memory, u64, u16)> {
        let ops = scenario.ops_of(thread, 0);
        ops.filter_map(|op| match op {
            Op::Allocate { request, .. } => {
                Some((request.memory, request.size_bytes, request.device.0))
            }
            _ => None,
        })
        .collect()
    }

    #[test]
    fn every_thread_has_every_combination_of_what_is_named() {
        let text = "name = 'a'\n[workload]\nmemories = { dram = 1, l1 = 0, trace = 9 }\n\
                    sizes = { draw = 'uniform', min-bytes = 64, max-bytes = 256 }\n";
        let (file, small) = small(text);
        for thread in 0..2 {
            let mut buffers = buffers(&small, thread);
            buffers.sort();
            let both = [Memory::Dram, Memory::Trace];
            let all: Vec<_> = both
                .into_iter()
                .flat_map(|memory| [(memory, 64, 0), (memory, 256, 0)])
                .collect();
            assert_eq!(buffers, all);
        }
        let said = Condensed::of(&file, &small).to_string();
        assert!(!said.contains("memories"), "{said}");
        assert!(said.contains("sizes 64 and 256 (of 64 to 256)"), "{said}");
    }

    #[test]
    fn named_devices_are_shared_by_the_threads() {
        let (_, small) = small("name = 'a'\ndevices = 2\n");
        for thread in 0..2 {
            let devices: BTreeSet<u16> = buffers(&small, thread)
                .into_iter()
                .map(|(_, _, device)| device)
                .collect();
            assert_eq!(devices.len(), 2, "thread {thread}");
        }
    }

    /// Two buffers that are never on one device cannot meet: a proof would be about nothing.
    #[test]
    fn of_many_devices_every_thread_takes_the_first_and_the_last() {
        for text in [
            "name = 'a'\ndevices = 32\n",
            "name = 'a'\ndevices = 5\n[workload]\nhandoff = 2\n",
            "name = 'a'\nprofile = 't3k'\n",
            "name = 'a'\nprofile = 'galaxy'\n[workload]\nmemories = { l1 = 1, dram = 1 }\n",
        ] {
            let (file, small) = small(text);
            let both = BTreeSet::from([0, small.devices - 1]);
            for thread in 0..2 {
                let buffers = buffers(&small, thread);
                let devices: BTreeSet<u16> = buffers.iter().map(|buffer| buffer.2).collect();
                assert_eq!(devices, both, "{text}: thread {thread}: {buffers:?}");
            }
            let said = Condensed::of(&file, &small).to_string();
            let devices = format!("2 of {} devices", small.devices);
            assert!(said.contains(&devices), "{said}");
        }
    }

    #[test]
    fn what_names_nothing_is_drawn_as_before() {
        let (_, small) = small("name = 'a'\n[workload]\nprivate-slots = 3\n");
        assert!(!small.workload.in_turn);
        let (_, small) = {
            let text = super::super::builtin::text("circular").expect("built in");
            let file = ScenarioFile::from_toml("circular", text).expect("it parses");
            let small = file.clone().condensed(None, None).resolve();
            (file, small.expect("it resolves"))
        };
        assert!(!small.workload.in_turn && small.workload.circular_percent == 100);
    }

    #[test]
    fn what_is_kept_whole_is_not_called_condensed() {
        let text = "name = 'a'\nthreads = 2\nops = 4\n[workload]\nprivate-slots = 1\n\
                    memories = { l1 = 1, dram = 0 }\nsizes = { draw = 'fixed', bytes = 64 }\n";
        let (file, small) = small(text);
        let condensed = Condensed::of(&file, &small);
        assert!(condensed.is_whole(), "{condensed}");
    }
}
