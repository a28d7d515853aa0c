//! Cells and ledgers against the truth: what the events of a run put into them, and what the
//! allocators did.
//!
//! At every step: a count that goes below nothing, a process's slot that another takes, a region
//! that is made anew under its users, an entry that is another buffer's, a buffer that is read when
//! it is gone. At rest: every counter and every ledger against what is live.

use rustc_hash::FxHashMap;

use crate::device::{DeviceId, Memory};
use crate::lifecycle::shared::{CellKind, CellRole, CellScope};
use crate::registry::ledger::{LedgerKey, LedgerWrite, Ledgers};
use crate::scenario::Scenario;
use crate::scenario::cells::{CellId, CellRow, CellTable};
use crate::scenario::op::Op;
use crate::trace::shared_event::{
    CellAccess, LedgerAction, SharedEvent, buffer_name, has_wrapped, named_buffer,
};
use crate::tracking::sent::Handle;

use super::judge::Judge;
use super::kind::{Divergence, Kind};
use super::truth::BufferPlace;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct SharedCheck {
    cells: CellTable,
    values: Vec<u64>,
    ledgers: Ledgers,
    /// The life that each buffer's name means.
    named: FxHashMap<u64, Handle>,
    /// Of each slot, the epoch that has begun.
    epochs: Vec<u32>,
    /// Cell and process, of those who have joined a region.
    joined: Vec<(CellId, u16)>,
    dead: Vec<bool>,
    processes: u16,
    /// Whether messages are sent besides.
    pub(super) sends: bool,
    /// Steps that were compared with something, or will be.
    pub(super) checked: u64,
}

/// Who did a step, and the buffer at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doer {
    pub(crate) thread: u16,
    pub(crate) op: u64,
    pub(crate) slot: u32,
    pub(crate) handle: Option<Handle>,
    /// The device and memory of the buffer at hand, whether it has an address or not.
    pub(crate) device: DeviceId,
    pub(crate) memory: Option<Memory>,
}

impl SharedCheck {
    /// For a run of `scenario`, where its discipline shares something.
    pub(super) fn new(scenario: &Scenario) -> Option<Box<SharedCheck>> {
        if !scenario.discipline.shares() {
            return None;
        }
        let cells = scenario.cells();
        let mut values = vec![0; cells.count() as usize];
        for row in cells.rows() {
            for cell in row.ids() {
                values[cell as usize] = row.spec.initial;
            }
        }
        Some(Box::new(SharedCheck {
            ledgers: Ledgers::new(values.len()),
            cells,
            values,
            named: FxHashMap::default(),
            epochs: vec![0; scenario.objects().slots as usize],
            joined: Vec::new(),
            dead: vec![false; usize::from(scenario.processes())],
            processes: scenario.processes(),
            sends: scenario.discipline.sends(),
            checked: 0,
        }))
    }

    /// A cell's name in reports.
    pub(super) fn cell_name(&self, cell: CellId) -> String {
        self.cells.name_of(cell)
    }

    /// An operation begins.
    pub(super) fn open(&mut self, thread: u16, op: &Op) {
        self.ledgers.ended(thread);
        let Op::Allocate { slot, epoch, .. } = *op else {
            return;
        };
        self.epochs[slot.index()] = epoch;
        for row in self.cells.rows() {
            if row.spec.scope == CellScope::Buffer {
                let entries = u32::from(row.spec.entries);
                let first = row.ids().start + slot.0 * entries;
                self.values[first as usize..(first + entries) as usize].fill(row.spec.initial);
            }
        }
    }

    /// The buffer at hand got its address.
    pub(super) fn alloc(&mut self, doer: &Doer) {
        if let Some(handle) = doer.handle {
            self.named.entry(self.name(doer)).insert_entry(handle);
        }
    }

    /// One step. `Err`: it can't have found what it says.
    pub(super) fn step(
        &mut self,
        doer: &Doer,
        event: &SharedEvent,
        judge: &mut Judge,
    ) -> Result<(), String> {
        match *event {
            SharedEvent::Cell {
                cell,
                access,
                found,
                ..
            } => self.cell(doer, cell, access, found, judge),
            SharedEvent::Ledger {
                ledger,
                action,
                found,
                ..
            } => self.ledger(doer, ledger, action, found, judge),
            SharedEvent::Use { buffer, .. } => {
                self.checked += 1;
                let handle = self.named.get(&buffer).copied();
                if !handle.is_some_and(|handle| lives(&handle, judge)) {
                    judge.count(Divergence {
                        kind: Kind::UseAfterRelease,
                        device: handle.map_or(doer.device, |handle| handle.device),
                        memory: handle.map(|handle| handle.memory),
                        address: handle.map(|handle| handle.address),
                        thread: Some(doer.thread),
                        op: Some(doer.op),
                    });
                }
                Ok(())
            }
            SharedEvent::Kill { process } => {
                self.kill(process, judge);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn cell(
        &mut self,
        doer: &Doer,
        cell: CellId,
        access: CellAccess,
        found: u64,
        judge: &mut Judge,
    ) -> Result<(), String> {
        let value = &mut self.values[cell.index()];
        if *value != found {
            return Err(format!(
                "{} was {value} and thread {} found {found}",
                self.cells.name_of(cell),
                doer.thread
            ));
        }
        let left = access.leaves(found);
        *value = left;
        let process = doer.thread % self.processes;
        match access {
            CellAccess::Join => self.joined.push((cell, process)),
            CellAccess::Leave => self.joined.retain(|joined| *joined != (cell, process)),
            _ => {}
        }
        let Some(row) = self.cells.row_of(cell).copied() else {
            return Err(format!("there is no cell {}", cell.0));
        };
        if access == CellAccess::Tell {
            self.checked += 1;
            if found == 0 {
                judge.count(Divergence {
                    kind: Kind::LateMessage,
                    device: doer.device,
                    memory: doer.memory,
                    address: doer.handle.map(|handle| handle.address),
                    thread: Some(doer.thread),
                    op: Some(doer.op),
                });
            }
            return Ok(());
        }
        let Some(role) = row.spec.role else {
            return Ok(());
        };
        self.checked += 1;
        if !access.writes(found) {
            return Ok(());
        }
        let kind = match role {
            CellRole::Owner => self
                .takes_over(&row, cell, process, found, left)
                .then_some(Kind::SlotConflict),
            CellRole::Region => (self.joined.iter())
                .any(|(joined, user)| *joined == cell && *user != process)
                .then_some(Kind::LostRegion),
            _ if has_wrapped(found, left) => Some(Kind::Underflow),
            _ => (row.spec.most)
                .is_some_and(|most| left > most && left > found)
                .then_some(Kind::Overrun),
        };
        if let Some(kind) = kind {
            judge.count(Divergence {
                kind,
                device: doer.device,
                memory: doer.memory,
                address: None,
                thread: Some(doer.thread),
                op: Some(doer.op),
            });
        }
        Ok(())
    }

    /// Whether `process`, which writes `left` where `found` was, takes what another has, or a
    /// second one for itself.
    fn takes_over(&self, row: &CellRow, cell: CellId, process: u16, found: u64, left: u64) -> bool {
        let own = u64::from(process) + 1;
        let is_dead = |owner: u64| {
            let index = usize::try_from(owner - 1).unwrap_or(usize::MAX);
            self.dead.get(index).copied().unwrap_or(false)
        };
        let from_another = found != 0 && found != own && !is_dead(found);
        // Two of its threads that both claim one slot have claimed it twice.
        let again = found == own && left == own;
        let second = left == own
            && row
                .ids()
                .any(|other| other != cell.0 && self.values[other as usize] == own);
        from_another || again || second
    }

    fn ledger(
        &mut self,
        doer: &Doer,
        ledger: CellId,
        action: LedgerAction,
        found: u64,
        judge: &mut Judge,
    ) -> Result<(), String> {
        let (Some(handle), Some(row)) = (doer.handle, self.cells.row_of(ledger)) else {
            return Err(format!("thread {} has no buffer to look up", doer.thread));
        };
        let plain = row.spec.kind == CellKind::Ledger;
        let key = key_of(&handle);
        let own = self.name(doer);
        let is = match action {
            LedgerAction::Find => self.ledgers.find(doer.thread, ledger.index(), key, plain),
            LedgerAction::Insert => {
                let write = LedgerWrite::Insert(own);
                self.ledgers.write(doer.thread, ledger.index(), key, write)
            }
            LedgerAction::Erase => {
                let write = LedgerWrite::Erase;
                self.ledgers.write(doer.thread, ledger.index(), key, write)
            }
        };
        if is != found {
            return Err(format!(
                "{} has buffer {is} entered, and thread {} found {found}",
                self.cells.name_of(ledger),
                doer.thread
            ));
        }
        self.checked += 1;
        let elsewhere = (self.cells.device_of(ledger)).is_some_and(|of| of != handle.device);
        let kind = match (action, found) {
            (LedgerAction::Find, _) => None,
            (LedgerAction::Insert, 0) if elsewhere => Some(Kind::Misattributed),
            (LedgerAction::Insert, 0) => None,
            (LedgerAction::Erase, 0) if elsewhere => Some(Kind::Misattributed),
            (LedgerAction::Insert, _) => Some(Kind::DuplicateAlloc),
            (LedgerAction::Erase, 0) => Some(Kind::UnknownFree),
            (LedgerAction::Erase, entered) if entered == own => None,
            // Another buffer's entry is gone, and that buffer may still be there.
            (LedgerAction::Erase, entered) => {
                let other = self.named.get(&entered);
                let missing = other.is_some_and(|other| lives(other, judge));
                Some(if missing {
                    Kind::MissingLive
                } else {
                    Kind::UnknownFree
                })
            }
        };
        if let Some(kind) = kind {
            judge.count(Divergence {
                kind,
                device: handle.device,
                memory: Some(handle.memory),
                address: Some(handle.address),
                thread: Some(doer.thread),
                op: Some(doer.op),
            });
        }
        Ok(())
    }

    /// The system ended a process, and took back what its threads had allocated.
    fn kill(&mut self, process: u16, judge: &mut Judge) {
        if let Some(dead) = self.dead.get_mut(usize::from(process)) {
            *dead = true;
        }
        self.joined.retain(|(_, user)| *user != process);
        let processes = self.processes;
        judge
            .truth
            .end_lives(|origin| origin.thread % processes == process);
    }

    /// Compares counters and ledgers with what is live, now that all is over.
    pub(super) fn rest(&self, judge: &mut Judge) {
        for row in self.cells.rows() {
            for cell in row.ids().map(CellId) {
                if row.spec.kind.is_ledger() {
                    self.compare_ledger(row, cell, judge);
                } else if let Some(role) = row.spec.role.filter(|role| role.counts()) {
                    self.compare_count(row, cell, role, judge);
                }
            }
        }
    }

    fn compare_count(&self, row: &CellRow, cell: CellId, role: CellRole, judge: &mut Judge) {
        let counted: Vec<u64> = (judge.truth.lives())
            .filter(|(place, life)| self.is_in(row, cell, place, life.origin.thread))
            .map(|(_, life)| life.origin.size_bytes)
            .collect();
        let truth = match role {
            CellRole::Bytes => counted.iter().copied().fold(0, u64::wrapping_add),
            CellRole::Users => {
                let mut users: Vec<u16> = self.joined.iter().map(|(_, user)| *user).collect();
                users.sort_unstable();
                users.dedup();
                users.len() as u64
            }
            _ => counted.len() as u64,
        };
        if self.values[cell.index()] != truth {
            let (device, memory) = self.place_of(row, cell);
            judge.count(Divergence {
                kind: Kind::DriftedTotal,
                device,
                memory,
                address: None,
                thread: None,
                op: None,
            });
        }
    }

    fn compare_ledger(&self, row: &CellRow, cell: CellId, judge: &mut Judge) {
        let mut found: Vec<Divergence> = Vec::new();
        let mut add = |kind, key: LedgerKey, thread| {
            found.push(Divergence {
                kind,
                device: DeviceId(key.0),
                memory: Memory::from_index(key.1),
                address: Some(key.2),
                thread,
                op: None,
            });
        };
        let entries = self.ledgers.get(cell.index()).entries();
        for (key, name) in entries {
            let is_live = (self.named.get(name)).is_some_and(|handle| lives(handle, judge));
            let taken = Memory::from_index(key.1).is_some_and(|memory| {
                let place = BufferPlace {
                    device: key.0,
                    memory,
                    address: key.2,
                };
                judge.truth.at(place).is_some()
            });
            match (is_live, taken) {
                (true, _) => {}
                (false, true) => add(Kind::StaleMetadata, *key, None),
                (false, false) => add(Kind::PhantomLive, *key, None),
            }
        }
        let mut missing: Vec<(LedgerKey, u16)> = (judge.truth.lives())
            .filter(|(place, life)| {
                self.is_in(row, cell, place, life.origin.thread) && !life.known_missing
            })
            .map(|(place, life)| {
                let key = (place.device, place.memory as u8, place.address);
                (key, life.origin.thread)
            })
            .filter(|(key, _)| !entries.iter().any(|(entered, _)| entered == key))
            .collect();
        missing.sort_unstable();
        for (key, thread) in missing {
            add(Kind::MissingLive, key, Some(thread));
        }
        found.into_iter().for_each(|found| judge.count(found));
    }

    /// Whether a life is in the scope of a cell.
    fn is_in(&self, row: &CellRow, cell: CellId, place: &BufferPlace, thread: u16) -> bool {
        let instance = self.instance(row, cell);
        match row.spec.scope {
            CellScope::Global => true,
            CellScope::Device => u32::from(place.device) == instance,
            CellScope::Memory => {
                u32::from(place.device) * Memory::ALL.len() as u32 + place.memory as u32 == instance
            }
            CellScope::Process => u32::from(thread % self.processes) == instance,
            CellScope::Thread => u32::from(thread) == instance,
            CellScope::Buffer => false,
        }
    }

    fn instance(&self, row: &CellRow, cell: CellId) -> u32 {
        (cell.0 - row.ids().start) / u32::from(row.spec.entries)
    }

    fn place_of(&self, row: &CellRow, cell: CellId) -> (DeviceId, Option<Memory>) {
        let instance = self.instance(row, cell);
        let memories = Memory::ALL.len() as u32;
        match row.spec.scope {
            CellScope::Device => (DeviceId(instance as u16), None),
            CellScope::Memory => (
                DeviceId((instance / memories) as u16),
                Memory::from_index((instance % memories) as u8),
            ),
            _ => (DeviceId(0), None),
        }
    }

    fn name(&self, doer: &Doer) -> u64 {
        let epoch = self.epochs.get(doer.slot as usize);
        buffer_name(doer.slot, epoch.copied().unwrap_or(0))
    }
}

fn key_of(handle: &Handle) -> LedgerKey {
    (handle.device.0, handle.memory as u8, handle.address)
}

/// Whether the life that a handle means goes on.
fn lives(handle: &Handle, judge: &Judge) -> bool {
    let life = judge.truth.at(BufferPlace::of(handle));
    life.is_some_and(|life| life.generation == handle.generation)
}

/// A buffer's name as people read it: `s0#1`.
pub(crate) fn buffer_words(name: u64) -> String {
    match named_buffer(name) {
        Some((slot, epoch)) => format!("s{slot}#{epoch}"),
        None => name.to_string(),
    }
}
