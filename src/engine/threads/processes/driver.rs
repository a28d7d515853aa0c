//! The controller's part of a run by processes: it answers what threads ask for, as the system does
//! for a driver's users, takes down what they did, ends processes, and notices when nobody can go
//! on.
//!
//! What is asked is answered at once, but for the end of a process, which waits for its moment. A
//! process that was ended has no say any more: what it had begun is brought to an end
//! ([`Commons::recover`]), what it had allocated goes back, and its threads count as ended.

use std::sync::atomic::Ordering;

use rustc_hash::FxHashMap;

use crate::device::{ConfigError, Device, DeviceId, Memory};
use crate::engine::slot::SlotWord;
use crate::oracle::Leak;
use crate::oracle::rest::LiveAtRest;
use crate::registry::ledger::{LedgerWrite, Ledgers};
use crate::scenario::Scenario;
use crate::scenario::op::{Op, SlotId};
use crate::trace::event::{Event, FreeOutcome};
use crate::trace::recorder::StreamRecorder;
use crate::trace::shared_event::{LedgerAction, SharedEvent, buffer_name, named_buffer};

use super::moments::Moments;
use super::quiet::QuietWatch;
use super::shared::{Commons, Global, Of, stop};

/// What a thread may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedFor {
    /// An address for the buffer in a slot.
    Alloc = 1,
    /// Gives it back.
    Free = 2,
    /// Reads a buffer's memory.
    Use = 3,
    /// Looks into a ledger or writes it.
    Ledger = 4,
    /// Its program has ended: what it looked up is forgotten.
    Forget = 5,
    /// The end of a process.
    Kill = 6,
}

impl AskedFor {
    pub(super) fn of(word: u64) -> Option<AskedFor> {
        Some(match word {
            1 => AskedFor::Alloc,
            2 => AskedFor::Free,
            3 => AskedFor::Use,
            4 => AskedFor::Ledger,
            5 => AskedFor::Forget,
            6 => AskedFor::Kill,
            _ => return None,
        })
    }
}

/// A buffer that is live.
#[derive(Clone, Copy, Debug)]
struct LiveBuffer {
    thread: u16,
    size_bytes: u64,
    generation: u64,
}

/// See the [module](self).
pub(super) struct Driver<'run> {
    shared: &'run Commons,
    threads: u16,
    processes: u16,
    devices: Vec<Device>,
    ledgers: Ledgers,
    /// Of each cell that is a ledger.
    versions: Vec<u64>,
    live: FxHashMap<(u16, Memory, u64), LiveBuffer>,
    streams: Vec<Option<StreamRecorder>>,
    dead: Vec<bool>,
    pub(super) moments: Moments,
    quiet: QuietWatch,
    /// Operations begun.
    pub(super) ops: u64,
    /// Lock table entries out of bounds, and addresses given back that were no longer owned.
    pub(super) out_of_bounds: u64,
    pub(super) double_frees: u64,
    /// Processes that were ended, and of them those that had not come to their end.
    pub(super) kills: u64,
    pub(super) struck: u64,
}

/// What the controller has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextTask {
    /// Something was done: look again.
    Again,
    /// Nothing was to do.
    Idle,
    /// A thread asks for the end of this process, and its moment has come.
    Kill { thread: u16, process: u16 },
    /// Every thread has come to its end.
    Done,
}

impl<'run> Driver<'run> {
    pub(super) fn new(
        scenario: &Scenario,
        shared: &'run Commons,
        moments: Moments,
        streams: Vec<Option<StreamRecorder>>,
    ) -> Result<Driver<'run>, ConfigError> {
        let geometries = scenario.profile.geometries();
        let devices = (0..scenario.devices)
            .map(|id| Device::new(DeviceId(id), &geometries, scenario.allocator))
            .collect::<Result<_, _>>()?;
        let cells = scenario.objects().cells as usize;
        Ok(Driver {
            shared,
            threads: scenario.threads,
            processes: scenario.processes(),
            devices,
            ledgers: Ledgers::new(cells),
            versions: vec![0; cells],
            live: FxHashMap::default(),
            streams,
            dead: vec![false; usize::from(scenario.processes())],
            moments,
            quiet: QuietWatch::default(),
            ops: 0,
            out_of_bounds: 0,
            double_frees: 0,
            kills: 0,
            struck: 0,
        })
    }

    /// Looks once at every thread.
    pub(super) fn look(&mut self) -> NextTask {
        let mut next = match self.take_all() {
            0 => NextTask::Idle,
            _ => NextTask::Again,
        };
        for thread in 0..self.threads {
            let Some(asked) = AskedFor::of(self.shared.load(thread, Of::Asked)) else {
                continue;
            };
            if asked == AskedFor::Kill {
                let process = self.shared.load(thread, Of::First) as u16;
                if self.is_dead(process) || self.moments.has_come(process, self.shared) {
                    return NextTask::Kill { thread, process };
                }
                continue;
            }
            let answer = self.answer(thread, asked);
            self.give(thread, answer);
            next = NextTask::Again;
        }
        if self.shared.unfinished().next().is_none() {
            self.take_all();
            return NextTask::Done;
        }
        if next == NextTask::Again {
            return next;
        }
        match self.quiet.is_quiet(self.shared) {
            true => self.stir(),
            false => NextTask::Idle,
        }
    }

    fn is_dead(&self, process: u16) -> bool {
        self.dead.get(usize::from(process)).copied().unwrap_or(true)
    }

    fn give(&mut self, thread: u16, (found, found_too): (u64, u64)) {
        self.quiet.let_go();
        self.shared.set(thread, Of::Found, found);
        self.shared.set(thread, Of::FoundToo, found_too);
        self.shared.set(thread, Of::Asked, 0);
    }

    /// Takes down what threads have appended; how many events.
    fn take_all(&mut self) -> u64 {
        (0..self.threads).map(|thread| self.take_of(thread)).sum()
    }

    fn take_of(&mut self, thread: u16) -> u64 {
        let mut taken = 0;
        while let Some(event) = self.shared.region.take(thread) {
            taken += 1;
            match event {
                Event::Open { op, .. } => self.ops += u64::from(op.counts()),
                Event::LockOutOfBounds { .. } => self.out_of_bounds += 1,
                Event::Free { outcome, .. } => {
                    self.double_frees += u64::from(outcome != FreeOutcome::Freed);
                }
                _ => {}
            }
            if let Some(stream) = &mut self.streams[usize::from(thread)] {
                stream.record(&event);
                if taken == 1 {
                    stream.tick();
                }
            }
        }
        taken
    }

    /// Records what was done for a thread, which waits for it.
    fn append(&mut self, thread: u16, event: &Event) {
        if !self.shared.region.has_room(thread) {
            self.take_of(thread);
        }
        self.shared.append(thread, event);
    }

    fn answer(&mut self, thread: u16, asked: AskedFor) -> (u64, u64) {
        let first = self.shared.load(thread, Of::First);
        let second = self.shared.load(thread, Of::Second);
        match asked {
            AskedFor::Alloc => self.alloc(thread, SlotId(first as u32), DeviceId(second as u16)),
            AskedFor::Free => self.free(thread, SlotId(first as u32), DeviceId(second as u16)),
            AskedFor::Use => self.use_buffer(thread, first),
            AskedFor::Ledger => self.ledger(thread, first, second),
            AskedFor::Forget => {
                self.ledgers.ended(thread);
                (0, 0)
            }
            AskedFor::Kill => (0, 0),
        }
    }

    fn alloc(&mut self, thread: u16, slot: SlotId, device: DeviceId) -> (u64, u64) {
        let buffer = self.shared.buffer(slot);
        let memories = &mut self.devices[usize::from(device.0)];
        let allocated =
            memories.allocate(buffer.memory, buffer.size_bytes, buffer.kind.direction());
        let version = memories.version();
        let (event, address) = match allocated {
            Ok(allocation) => {
                let key = (device.0, buffer.memory, allocation.address);
                let live = LiveBuffer {
                    thread,
                    size_bytes: buffer.size_bytes,
                    generation: allocation.generation,
                };
                self.live.insert(key, live);
                self.shared
                    .place(slot, allocation.address, allocation.generation);
                let event = Event::Alloc {
                    device,
                    address: allocation.address,
                    version,
                };
                (event, allocation.address + 1)
            }
            Err(_) => (Event::AllocFailed { device, version }, 0),
        };
        self.append(thread, &event);
        (address, version)
    }

    fn free(&mut self, thread: u16, slot: SlotId, device: DeviceId) -> (u64, u64) {
        let buffer = self.shared.buffer(slot);
        let address = buffer.address.unwrap_or(u64::MAX);
        let memories = &mut self.devices[usize::from(device.0)];
        let outcome = match memories.free(buffer.memory, address) {
            Ok(release) if release.generation == buffer.generation => FreeOutcome::Freed,
            Ok(_) => FreeOutcome::FreedAnother,
            Err(_) => FreeOutcome::NotAllocated,
        };
        let version = memories.version();
        if outcome != FreeOutcome::NotAllocated {
            self.live.remove(&(device.0, buffer.memory, address));
        }
        let event = Event::Free {
            device,
            outcome,
            version,
        };
        self.append(thread, &event);
        (0, version)
    }

    fn use_buffer(&mut self, thread: u16, buffer: u64) -> (u64, u64) {
        let slot = named_buffer(buffer).map(|(slot, _)| slot);
        let slot = slot.filter(|slot| *slot < self.shared.slots());
        let device = slot.map_or(DeviceId(0), |slot| self.shared.buffer(SlotId(slot)).device);
        let version = self.devices[usize::from(device.0)].touch();
        let event = Event::Shared(SharedEvent::Use {
            buffer,
            device,
            version,
        });
        self.append(thread, &event);
        (u64::from(device.0), version)
    }

    fn ledger(&mut self, thread: u16, what: u64, whose: u64) -> (u64, u64) {
        let ledger = crate::scenario::cells::CellId((what >> 8) as u32);
        let plain = what >> 4 & 1 == 1;
        let action = LedgerAction::ALL[(what & 3) as usize % LedgerAction::ALL.len()];
        let (slot, device) = (SlotId((whose >> 16) as u32), whose as u16);
        let buffer = self.shared.buffer(slot);
        let word = SlotWord(self.shared.value(self.shared.slot(slot)));
        let name = buffer_name(slot.0, u32::from(word.epoch()));
        let key = (
            device,
            buffer.memory as u8,
            buffer.address.unwrap_or(u64::MAX),
        );
        let number = ledger.index();
        let found = match action {
            LedgerAction::Find => self.ledgers.find(thread, number, key, plain),
            LedgerAction::Insert => {
                let write = LedgerWrite::Insert(name);
                self.ledgers.write(thread, number, key, write)
            }
            LedgerAction::Erase => self.ledgers.write(thread, number, key, LedgerWrite::Erase),
        };
        self.versions[number] += 1;
        let version = self.versions[number];
        let event = Event::Shared(SharedEvent::Ledger {
            ledger,
            action,
            found,
            version,
        });
        self.append(thread, &event);
        (found, version)
    }

    /// A process was ended, as `asker` wanted.
    pub(super) fn ended(&mut self, asker: u16, process: u16) {
        if !self.is_dead(process) {
            self.dead[usize::from(process)] = true;
            self.kills += 1;
            let mut is_struck = false;
            for thread in (process..self.threads).step_by(usize::from(self.processes)) {
                is_struck |= self.shared.load(thread, Of::Finished) == 0;
                self.shared.recover(thread);
                self.shared.set(thread, Of::Asked, 0);
                self.shared.set(thread, Of::Dead, 1);
                self.shared.set(thread, Of::Finished, 1);
                self.ledgers.ended(thread);
            }
            self.struck += u64::from(is_struck);
        }
        self.append(asker, &Event::Shared(SharedEvent::Kill { process }));
        let mut gone: Vec<(u16, Memory, u64)> = (self.live.iter())
            .filter(|(_, live)| live.thread % self.processes == process)
            .map(|(key, _)| *key)
            .collect();
        gone.sort_unstable_by_key(|(device, memory, address)| (*device, *memory as u8, *address));
        for key in gone {
            self.live.remove(&key);
            let memories = &mut self.devices[usize::from(key.0)];
            let _ = memories.free(key.1, key.2);
            let event = Event::Shared(SharedEvent::Reclaim {
                device: DeviceId(key.0),
                version: memories.version(),
            });
            self.append(asker, &event);
        }
        self.give(asker, (0, 0));
    }

    /// All processes were ended where they were: takes down what they did.
    pub(super) fn cut(&mut self) {
        self.take_all();
        (0..self.threads).for_each(|thread| self.shared.recover(thread));
        self.take_all();
    }

    /// Nobody can go on: a moment that was waited for has come, or never will.
    fn stir(&mut self) -> NextTask {
        self.quiet.let_go();
        let asks = |thread: &u16| self.shared.load(*thread, Of::Asked) == AskedFor::Kill as u64;
        if let Some(thread) = (0..self.threads).find(asks) {
            let process = self.shared.load(thread, Of::First) as u16;
            return NextTask::Kill { thread, process };
        }
        if self.moments.open_gates(self.shared) {
            return NextTask::Again;
        }
        let over = self.shared.global(Global::Stop);
        let not_yet = over.compare_exchange(
            stop::NOT,
            stop::DEADLOCK,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        if not_yet.is_ok() {
            log::warn!("stuck for good: every thread waits");
        }
        NextTask::Again
    }

    /// Lets threads end that were told to, once each has seen it.
    pub(super) fn let_end(&self) {
        let has_noticed = |thread: u16| self.shared.load(thread, Of::Noticed) != 0;
        if self.shared.unfinished().all(has_noticed) {
            let word = self.shared.global(Global::MayRelease);
            word.store(1, Ordering::SeqCst);
        }
    }

    /// What is live at the end.
    pub(super) fn live_buffers(&self) -> Vec<LiveAtRest> {
        let mut live: Vec<LiveAtRest> = (self.live.iter())
            .map(|((device, memory, address), live)| LiveAtRest {
                origin: Leak {
                    device: DeviceId(*device),
                    memory: *memory,
                    address: *address,
                    size_bytes: live.size_bytes,
                    thread: live.thread,
                    op: 0,
                },
                generation: live.generation,
                circular: false,
            })
            .collect();
        live.sort_unstable_by_key(|live| live.origin);
        live
    }
}

/// The processes that the threads of `scenario` end.
pub(super) fn victims(scenario: &Scenario, run: u64) -> Vec<u16> {
    let mut victims: Vec<u16> = (0..scenario.threads)
        .filter(|_| scenario.workload.script.is_some())
        .flat_map(|thread| scenario.ops_of(thread, run))
        .filter_map(|op| match op {
            Op::Kill { process } => Some(process),
            _ => None,
        })
        .collect();
    victims.sort_unstable();
    victims.dedup();
    victims
}
