//! What a discipline's own cells, ledgers and locks are in a controlled world, and what threads
//! remember within a program. A world whose discipline has none of these has nothing here.

use crate::engine::code::Locals;
use crate::lifecycle::shared::{CellRole, CellScope};
use crate::registry::ledger::{LedgerKey, LedgerWrite, Ledgers};
use crate::scenario::Scenario;
use crate::scenario::cells::CellId;
use crate::scenario::objects::LockId;
use crate::trace::shared_event::{CellAccess, LedgerAction, has_wrapped};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct SharedWorld {
    /// Of each cell: what is in it.
    pub(super) values: Vec<u64>,
    versions: Vec<u64>,
    initial: Vec<u64>,
    pub(super) ledgers: Ledgers,
    /// Of each thread.
    pub(super) locals: Vec<Locals>,
    /// Of each lock, who holds it together with others: a bit a thread.
    pub(super) readers: Vec<u64>,
    /// Of each lock, who waits to be notified, and who may take each notification.
    pub(super) sleepers: Vec<Sleepers>,
    /// Of each slot, the thread that allocates into it.
    pub(super) owners: Vec<u16>,
    /// Cells that begin anew with each buffer: first cell, one for each slot, entries.
    of_buffers: Vec<(u32, u32)>,
    /// What each cell must agree with.
    roles: Vec<Option<CellRole>>,
    most: Vec<u64>,
    /// Of each ledger of a device, which.
    devices: Vec<Option<u16>>,
    /// Of each cell, the processes that have joined it: a bit each.
    joined: Vec<u64>,
    /// Processes that were ended from outside: a bit each.
    pub(super) dead: u64,
    /// A step may have diverged.
    pub(super) alarmed: bool,
    /// Whether a loop came to the last round that is searched.
    pub(super) cut: bool,
    /// Whether loops are searched to a last round at all.
    pub(super) bounds_loops: bool,
    /// A process that was just ended from outside.
    pub(super) killed: Option<u16>,
    pub(super) processes: u16,
}

/// Threads that wait on a lock to be notified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sleepers {
    /// A bit a thread.
    pub(super) asleep: u64,
    /// Notifications that nobody has taken: those who slept when each was given, and may.
    pub(super) notified: Vec<u64>,
}

impl SharedWorld {
    /// Of `scenario`, unless its discipline has nothing of the sort.
    pub(super) fn new(scenario: &Scenario) -> Option<Box<SharedWorld>> {
        if !scenario.discipline.shares() {
            return None;
        }
        let objects = scenario.objects();
        let cells = scenario.cells();
        let mut initial = vec![0; cells.count() as usize];
        let mut of_buffers = Vec::new();
        let mut roles = vec![None; initial.len()];
        let mut most = vec![u64::MAX; initial.len()];
        for row in cells.rows() {
            for cell in row.ids() {
                initial[cell as usize] = row.spec.initial;
                roles[cell as usize] = row.spec.role;
                most[cell as usize] = row.spec.most.unwrap_or(u64::MAX);
            }
            if row.spec.scope == CellScope::Buffer {
                of_buffers.push((row.ids().start, u32::from(row.spec.entries)));
            }
        }
        Some(Box::new(SharedWorld {
            values: initial.clone(),
            versions: vec![0; initial.len()],
            ledgers: Ledgers::new(initial.len()),
            initial,
            locals: vec![Locals::default(); usize::from(scenario.threads)],
            readers: vec![0; usize::from(objects.locks())],
            sleepers: vec![Sleepers::default(); usize::from(objects.locks())],
            owners: vec![0; objects.slots as usize],
            of_buffers,
            joined: vec![0; roles.len()],
            devices: (0..most.len() as u32)
                .map(|cell| cells.device_of(CellId(cell)).map(|device| device.0))
                .collect(),
            roles,
            most,
            dead: 0,
            alarmed: false,
            cut: false,
            bounds_loops: true,
            killed: None,
            processes: scenario.processes(),
        }))
    }

    /// As a clone, in the memory that it has: the search clones all the time.
    pub(super) fn clone_from_other(&mut self, source: &SharedWorld) {
        self.values.clone_from(&source.values);
        self.versions.clone_from(&source.versions);
        self.ledgers.clone_from(&source.ledgers);
        self.locals.clone_from(&source.locals);
        self.readers.clone_from(&source.readers);
        self.sleepers.clone_from(&source.sleepers);
        self.owners.clone_from(&source.owners);
        self.joined.clone_from(&source.joined);
        self.dead = source.dead;
        self.alarmed = source.alarmed;
        self.cut = source.cut;
        self.bounds_loops = source.bounds_loops;
        self.killed = source.killed;
    }

    /// Back to before the first step.
    pub(super) fn reset(&mut self) {
        self.values.clone_from(&self.initial);
        self.versions.fill(0);
        self.ledgers = Ledgers::new(self.initial.len());
        self.locals.fill(Locals::default());
        self.readers.fill(0);
        self.sleepers.fill(Sleepers::default());
        self.joined.fill(0);
        self.dead = 0;
        self.alarmed = false;
        self.cut = false;
        self.killed = None;
    }

    /// An allocation begins in `slot`: cells of its buffer are new.
    pub(super) fn open(&mut self, slot: u32, thread: u16) {
        self.owners[slot as usize] = thread;
        for (first, entries) in &self.of_buffers {
            let from = (first + slot * entries) as usize;
            let to = from + *entries as usize;
            self.values[from..to].copy_from_slice(&self.initial[from..to]);
        }
    }

    /// Touches a cell: what was in it, and its version.
    pub(super) fn cell(&mut self, cell: CellId, process: u16, access: CellAccess) -> (u64, u64) {
        let at = cell.index();
        let found = self.values[at];
        let left = access.leaves(found);
        self.values[at] = left;
        let bit = 1 << (process & 63);
        match access {
            CellAccess::Join => self.joined[at] |= bit,
            CellAccess::Leave => self.joined[at] &= !bit,
            CellAccess::Tell => self.alarmed |= found == 0,
            _ if access.writes(found) => {
                self.alarmed |= match self.roles[at] {
                    None => false,
                    Some(CellRole::Owner) => true,
                    Some(CellRole::Region) => self.joined[at] & !bit & !self.dead != 0,
                    Some(_) => has_wrapped(found, left) || left > self.most[at],
                };
            }
            _ => {}
        }
        (found, self.touched(cell))
    }

    fn touched(&mut self, cell: CellId) -> u64 {
        let version = &mut self.versions[cell.index()];
        *version += 1;
        *version
    }

    /// Touches a ledger: who is or was entered, and its version.
    pub(super) fn ledger(
        &mut self,
        thread: u16,
        ledger: CellId,
        plain: bool,
        action: LedgerAction,
        key: LedgerKey,
        buffer: u64,
    ) -> (u64, u64) {
        let found = match action {
            LedgerAction::Find => self.ledgers.find(thread, ledger.index(), key, plain),
            LedgerAction::Insert => {
                let write = LedgerWrite::Insert(buffer);
                self.ledgers.write(thread, ledger.index(), key, write)
            }
            LedgerAction::Erase => {
                self.ledgers
                    .write(thread, ledger.index(), key, LedgerWrite::Erase)
            }
        };
        self.alarmed |= match action {
            LedgerAction::Find => false,
            LedgerAction::Insert => {
                let device = self.devices[ledger.index()];
                found != 0 || device.is_some_and(|device| device != key.0)
            }
            LedgerAction::Erase => found != buffer,
        };
        (found, self.touched(ledger))
    }

    /// Whether the thread may go on from its sleep on a lock, notified.
    pub(super) fn is_notified(&self, lock: LockId, bit: u64) -> bool {
        let sleepers = &self.sleepers[usize::from(lock.0)];
        sleepers.notified.iter().any(|may| may & bit != 0)
    }

    /// The thread takes the oldest notification that it may. Those that it leaves are the more for
    /// the others: whoever slept at an older one slept at the newer ones, too.
    pub(super) fn take_notification(&mut self, lock: LockId, bit: u64) {
        let sleepers = &mut self.sleepers[usize::from(lock.0)];
        if let Some(at) = sleepers.notified.iter().position(|may| may & bit != 0) {
            sleepers.notified.remove(at);
        }
        sleepers.asleep &= !bit;
        for may in &mut sleepers.notified {
            *may &= !bit;
        }
        sleepers.notified.retain(|may| *may != 0);
    }

    /// Notifies one of those who sleep on a lock, or all.
    pub(super) fn notify(&mut self, lock: LockId, all: bool) {
        let sleepers = &mut self.sleepers[usize::from(lock.0)];
        let asleep = sleepers.asleep;
        let still = asleep.count_ones() as usize - sleepers.notified.len().min(64);
        let rounds = if all { still } else { still.min(1) };
        for _ in 0..rounds {
            sleepers.notified.push(asleep);
        }
    }

    /// All that decides what can still happen, for fingerprints.
    pub(crate) fn state(&self, put: &mut impl FnMut(u64)) {
        self.values.iter().for_each(|value| put(*value));
        for ledger in self.ledgers.all() {
            entries(ledger.entries(), put);
        }
        put(self.ledgers.looked().len() as u64);
        for (thread, ledger, seen) in self.ledgers.looked() {
            put(u64::from(*thread));
            put(*ledger as u64);
            entries(seen.entries(), put);
        }
        self.locals.iter().flatten().for_each(|local| put(*local));
        self.readers.iter().for_each(|readers| put(*readers));
        self.joined.iter().for_each(|joined| put(*joined));
        put(self.dead);
        for sleepers in &self.sleepers {
            put(sleepers.asleep);
            put(sleepers.notified.len() as u64);
            sleepers.notified.iter().for_each(|may| put(*may));
        }
    }
}

fn entries(entries: &[(LedgerKey, u64)], put: &mut impl FnMut(u64)) {
    put(entries.len() as u64);
    for ((device, memory, address), buffer) in entries {
        put(u64::from(*device));
        put(u64::from(*memory));
        put(*address);
        put(*buffer);
    }
}
