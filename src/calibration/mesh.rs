//! Mesh-shaped traffic, as a runtime sends it whose mesh buffers have a backing buffer: that one
//! owns the address and is not reported; the views on each device are, and outlive it.
//!
//! A thread takes an address, sends an ALLOC for each device, and, to release, gives the address
//! back first and then sends a FREE for each device. In between another thread may take the
//! address.

use crate::scenario::random::Random;
use crate::trace::observation::{Observation, Observed};
use crate::tracking::message::Extension;
use crate::tracking::{Message, MessageKind};

const PID: i32 = 4242;
const SIZE_BYTES: u64 = 4096;

/// A drawn record, and whether an address was taken again before all of its views were released.
pub(super) fn record(random: &mut Random) -> (Vec<Observation>, bool) {
    let devices = 2 + random.below(7) as i32;
    let pairs = 40 + random.below(400);
    let threads = 2 + random.below(6) as usize;
    // A thread goes on for a while before another one does.
    let stays_percent = [0, 50, 90, 97][random.below(4) as usize];
    let mut mesh = Mesh::default();
    let mut programs: Vec<MeshThread> = (0..threads).map(|_| MeshThread::new(pairs)).collect();
    let mut at = 0;
    while programs.iter().any(|program| !program.is_over(devices)) {
        if programs[at].is_over(devices) || !random.percent(stays_percent) {
            at = random.below(threads as u64) as usize;
        }
        programs[at].step(at as u32, devices, &mut mesh, random);
    }
    (mesh.seen, mesh.overlapped)
}

#[derive(Debug, Default)]
struct Mesh {
    free: Vec<u64>,
    taken: u64,
    generations: u64,
    /// Addresses that were given back, with the FREEs that are still to come.
    views: Vec<(u64, i32)>,
    overlapped: bool,
    seen: Vec<Observation>,
}

#[derive(Clone, Copy, Debug)]
struct MeshBuffer {
    address: u64,
    /// Of its first view; the others follow it.
    generation: u64,
}

#[derive(Debug)]
struct MeshThread {
    left: u64,
    held: Vec<MeshBuffer>,
    /// Which views it is at, and how many were reported.
    at_work: Option<(MeshBuffer, MessageKind, i32)>,
}

impl MeshThread {
    fn new(left: u64) -> MeshThread {
        MeshThread {
            left,
            held: Vec::new(),
            at_work: None,
        }
    }

    fn is_over(&self, devices: i32) -> bool {
        let is_idle = self
            .at_work
            .is_none_or(|(_, _, reported)| reported == devices);
        is_idle && self.left == 0 && self.held.is_empty()
    }

    fn step(&mut self, thread: u32, devices: i32, mesh: &mut Mesh, random: &mut Random) {
        if let Some((buffer, kind, reported)) = self.at_work {
            if reported < devices {
                mesh.send(kind, buffer, reported, thread);
                self.at_work = Some((buffer, kind, reported + 1));
                return;
            }
            if kind == MessageKind::Alloc {
                self.held.push(buffer);
            }
            self.at_work = None;
        }
        let releases = self.left == 0 || (!self.held.is_empty() && random.percent(50));
        if releases && !self.held.is_empty() {
            let index = random.below(self.held.len() as u64) as usize;
            let buffer = self.held.swap_remove(index);
            mesh.give_back(buffer, devices);
            self.at_work = Some((buffer, MessageKind::Free, 0));
        } else if self.left > 0 {
            self.left -= 1;
            let buffer = mesh.take(devices);
            self.at_work = Some((buffer, MessageKind::Alloc, 0));
        }
    }
}

impl Mesh {
    fn take(&mut self, devices: i32) -> MeshBuffer {
        let address = self.free.pop().unwrap_or_else(|| {
            self.taken += SIZE_BYTES;
            self.taken
        });
        let waits = |(of, left): &(u64, i32)| *of == address && *left > 0;
        self.overlapped |= self.views.iter().any(waits);
        let generation = self.generations + 1;
        self.generations += devices as u64;
        MeshBuffer {
            address,
            generation,
        }
    }

    fn give_back(&mut self, buffer: MeshBuffer, devices: i32) {
        self.free.push(buffer.address);
        self.views.push((buffer.address, devices));
    }

    fn send(&mut self, kind: MessageKind, buffer: MeshBuffer, device: i32, thread: u32) {
        if kind == MessageKind::Free {
            let of = |(address, left): &&mut (u64, i32)| *address == buffer.address && *left > 0;
            if let Some((_, left)) = self.views.iter_mut().find(of) {
                *left -= 1;
            }
            self.views.retain(|(_, left)| *left > 0);
        }
        let position = self.seen.len() as u64 + 1;
        self.seen.push(Observation {
            position,
            at_ns: None,
            conn: Some(0),
            what: Observed::Message {
                message: Message {
                    size_bytes: SIZE_BYTES,
                    buffer_type: 1,
                    address: buffer.address,
                    extension: Some(Extension {
                        memory: crate::device::Memory::L1,
                        sequence: 0,
                        generation: buffer.generation + device as u64,
                        thread,
                    }),
                    ..Message::bare(kind, device, PID)
                },
                complete: true,
                server_answer: None,
            },
        });
    }
}
