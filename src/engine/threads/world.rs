//! What the threads of a run share: mutexes, allocators, slots, connections, and the means to end
//! the run.
//!
//! Every object counts its touches in its own critical section: a mutex guards its counter, a
//! slot's counter is part of its atomic word, an atomic cell's likewise. There is no counter that
//! all threads share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};

use std::time::Instant;

use parking_lot::Mutex;

use crate::device::{BufferKind, ConfigError, Device, DeviceId, Memory};
use crate::engine::backend::{BufferView, PartAt, StopReason};
use crate::engine::slot::SlotWord;
use crate::oracle::Leak;
use crate::oracle::rest::LiveAtRest;
use crate::planted::Planted;
use crate::scenario::objects::{ConnId, Objects};
use crate::scenario::op::{MAX_PARTS, Request, SlotId};
use crate::scenario::{Scenario, VIEW_GENERATION};
use crate::tracking::sent::Handle;

use super::client::SendingClient;
use super::debug_log::DebugLogFile;
use super::shared::SharedThreads;
use super::watch::Waiting;

/// Everything that threads share.
#[derive(Debug)]
pub(super) struct ThreadsWorld {
    pub(crate) objects: Objects,
    pub(crate) locks: Vec<Mutex<u64>>,
    pub(crate) devices: Vec<Mutex<Device>>,
    /// Of each device, the last sequence number given out.
    pub(crate) counters: Vec<AtomicU64>,
    pub(crate) slots: Vec<SlotCell>,
    pub(crate) cell: SharedConnection,
    pub(crate) client: SendingClient,
    pub(crate) debug_log: Option<DebugLogFile>,
    pub(crate) waiting: Waiting,
    pub(crate) finished: AtomicU16,
    /// Operations begun, for progress; each thread adds in batches.
    pub(crate) ops: AtomicU64,
    /// Messages that were sent, and that were dropped or failed; each thread adds at its end.
    pub(crate) sent: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Lock table entries out of bounds, and double frees; each thread adds at its end.
    pub(crate) out_of_bounds: AtomicU64,
    pub(crate) double_frees: AtomicU64,
    /// When the last thread ended.
    pub(crate) ended: OnceLock<Instant>,
    pub(crate) planted: Option<Planted>,
    pub(crate) view_address: Option<u64>,
    /// Cells, ledgers and the like, where the discipline has any.
    pub(crate) shared: Option<SharedThreads>,
    server_lost: AtomicBool,
    stop: AtomicU8,
}

impl ThreadsWorld {
    pub(crate) fn new(
        scenario: &Scenario,
        client: SendingClient,
        debug_log: Option<DebugLogFile>,
    ) -> Result<ThreadsWorld, ConfigError> {
        let objects = scenario.objects();
        let geometries = scenario.profile.geometries();
        let parts = if scenario.has_mesh() { MAX_PARTS } else { 1 };
        let devices = (0..scenario.devices)
            .map(|id| {
                Device::new(DeviceId(id), &geometries, scenario.allocator)
                    .map(|device| Mutex::new(device.with_planted(scenario.planted)))
            })
            .collect::<Result<_, _>>()?;
        Ok(ThreadsWorld {
            objects,
            locks: (0..objects.locks()).map(|_| Mutex::new(0)).collect(),
            devices,
            counters: (0..scenario.devices).map(|_| AtomicU64::new(0)).collect(),
            slots: (0..objects.slots).map(|_| SlotCell::new(parts)).collect(),
            cell: SharedConnection(AtomicU64::new(0)),
            client,
            debug_log,
            waiting: Waiting::new(scenario.threads, objects.locks()),
            finished: AtomicU16::new(0),
            ops: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            out_of_bounds: AtomicU64::new(0),
            double_frees: AtomicU64::new(0),
            ended: OnceLock::new(),
            planted: scenario.planted,
            view_address: scenario.view_address(),
            shared: SharedThreads::new(scenario),
            server_lost: AtomicBool::new(false),
            stop: AtomicU8::new(0),
        })
    }

    /// The server has closed a connection: the run cannot go on.
    pub(crate) fn lose_server(&self) {
        self.server_lost.store(true, Ordering::Relaxed);
        self.stop(StopReason::Interrupted);
    }

    /// Whether the server has closed a connection.
    pub(crate) fn lost_server(&self) -> bool {
        self.server_lost.load(Ordering::Relaxed)
    }

    /// Tells every thread to end.
    pub(crate) fn stop(&self, reason: StopReason) {
        let value = match reason {
            StopReason::Deadlock => 1,
            StopReason::Interrupted => 2,
        };
        let _ = self
            .stop
            .compare_exchange(0, value, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Whether and why the threads should end.
    pub(crate) fn stopped(&self) -> Option<StopReason> {
        match self.stop.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(StopReason::Deadlock),
            _ => Some(StopReason::Interrupted),
        }
    }

    /// What the handle of a part says.
    pub(crate) fn handle(&self, at: PartAt, device: DeviceId) -> Handle {
        let slot = &self.slots[at.slot.index()];
        let part = &slot.parts[usize::from(at.part)];
        Handle {
            device,
            memory: slot.memory(),
            address: part.address.load(Ordering::Relaxed),
            size_bytes: slot.size_bytes.load(Ordering::Relaxed),
            generation: part.generation.load(Ordering::Relaxed),
        }
    }
}

/// A slot: its word, and what the buffer in it is. All but the word is written only by the
/// allocating thread before it publishes, and read by others only after they saw that.
#[derive(Debug)]
pub(super) struct SlotCell {
    pub(crate) word: AtomicU64,
    request: AtomicU64,
    pub(crate) size_bytes: AtomicU64,
    pub(crate) parts: Box<[PartCell]>,
}

/// Where one part of a buffer is. Address 2⁶⁴−1: nowhere yet.
#[derive(Debug)]
pub(super) struct PartCell {
    pub(crate) address: AtomicU64,
    pub(crate) generation: AtomicU64,
}

pub(super) const NO_ADDRESS: u64 = u64::MAX;

impl SlotCell {
    fn new(parts: u8) -> SlotCell {
        let part = || PartCell {
            address: AtomicU64::new(NO_ADDRESS),
            generation: AtomicU64::new(0),
        };
        SlotCell {
            word: AtomicU64::new(0),
            request: AtomicU64::new(0),
            size_bytes: AtomicU64::new(0),
            parts: (0..parts).map(|_| part()).collect(),
        }
    }

    /// Applies `change` atomically; returns the words before and after.
    #[inline]
    pub(crate) fn update(
        &self,
        mut change: impl FnMut(SlotWord) -> SlotWord,
    ) -> (SlotWord, SlotWord) {
        let mut before = self.word.load(Ordering::Acquire);
        loop {
            let after = change(SlotWord(before)).touched();
            match self.word.compare_exchange_weak(
                before,
                after.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return (SlotWord(before), after),
                Err(now) => before = now,
            }
        }
    }

    pub(super) fn load(&self) -> SlotWord {
        SlotWord(self.word.load(Ordering::Acquire))
    }

    /// Writes down what the buffer will be; only the thread that opened the epoch does.
    pub(crate) fn describe(&self, request: &Request, view_address: Option<u64>) {
        let packed = u64::from(request.device.0)
            | u64::from(request.parts) << 16
            | (request.memory as u64) << 24
            | (request.kind as u64) << 32;
        self.request.store(packed, Ordering::Relaxed);
        self.size_bytes.store(request.size_bytes, Ordering::Relaxed);
        for part in &self.parts {
            part.address.store(NO_ADDRESS, Ordering::Relaxed);
        }
        if let Some(address) = view_address
            && !request.kind.owns_memory()
        {
            self.parts[0].address.store(address, Ordering::Relaxed);
            self.parts[0]
                .generation
                .store(VIEW_GENERATION, Ordering::Relaxed);
        }
    }

    pub(crate) fn buffer(&self) -> BufferView {
        let packed = self.request.load(Ordering::Relaxed);
        BufferView {
            kind: BufferKind::ALL[(packed >> 32) as usize & 3],
            parts: (packed >> 16) as u8,
            device: DeviceId(packed as u16),
        }
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory::ALL[(self.request.load(Ordering::Relaxed) >> 24) as usize & 3]
    }
}

/// The cell that holds the shared connection under lazy connect: version, then connection number
/// plus one.
#[derive(Debug)]
pub(super) struct SharedConnection(AtomicU64);

impl SharedConnection {
    const VERSION: u64 = 1 << 16;

    pub(crate) fn read(&self) -> (Option<ConnId>, u64) {
        let before = self
            .0
            .fetch_add(SharedConnection::VERSION, Ordering::AcqRel);
        (
            (before as u16).checked_sub(1).map(ConnId),
            (before >> 16) + 1,
        )
    }

    pub(crate) fn store(&self, conn: ConnId) -> u64 {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            let after = (before & !0xffff).wrapping_add(SharedConnection::VERSION)
                | (u64::from(conn.0) + 1);
            match self
                .0
                .compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return after >> 16,
                Err(now) => before = now,
            }
        }
    }
}

impl ThreadsWorld {
    /// Every buffer that is live now, by its handle; call it when no thread runs.
    pub(super) fn live_buffers(&self) -> Vec<LiveAtRest> {
        let mut live = Vec::new();
        for (slot, cell) in (0u32..).zip(&self.slots) {
            let buffer = cell.buffer();
            for part in 0..(cell.parts.len() as u8).min(buffer.parts) {
                let device = self.objects.device_of(buffer.device, part);
                let handle = self.handle(
                    PartAt {
                        slot: SlotId(slot),
                        part,
                    },
                    device,
                );
                let generation = self.devices[usize::from(device.0)]
                    .lock()
                    .generation(handle.memory, handle.address);
                if handle.address != NO_ADDRESS && generation == Some(handle.generation) {
                    let origin = Leak {
                        device,
                        memory: handle.memory,
                        address: handle.address,
                        size_bytes: handle.size_bytes,
                        thread: 0,
                        op: 0,
                    };
                    live.push(LiveAtRest {
                        origin,
                        generation: handle.generation,
                        circular: buffer.kind == BufferKind::Circular,
                    });
                }
            }
        }
        live
    }
}
