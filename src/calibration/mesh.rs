//! Mesh-shaped traffic, as a runtime sends it whose mesh buffers have a backing buffer: that one
//! owns the address and is not reported; the views on each device are, and outlive it.
//!
//! A thread takes an address, sends an ALLOC for each device, and, to release, gives the address
//! back first and then sends a FREE for each device. In between another thread may take the
//! address.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::forms::Shape;
use super::heard::HearingServer;
use crate::scenario::random::{Purpose, Random};
use crate::trace::observation::{Observation, Observed};
use crate::tracking::message::Extension;
use crate::tracking::transport::{Connection, SendMode};
use crate::tracking::{Layout, Message, MessageKind, wire};

const PID: i32 = 4242;
const SIZE_BYTES: u64 = 4096;

/// A drawn record without threads, and whether an address was taken again before all of its views
/// were released.
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

/// The same on real threads that share one connection to a server, in `layout`.
pub(super) fn on_threads(
    random: &mut Random,
    shape: Shape,
) -> io::Result<(Vec<Observation>, bool)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("server.sock");
    let server = HearingServer::start(&path, shape.semantics, Some(shape.layout))?;
    let connection = Connection::open(&path, shape.layout, None)?;
    let devices = 2 + random.below(7) as i32;
    let pairs = 20 + random.below(200);
    let threads = 2 + random.below(7);
    let pause_percent = [0, 0, 1, 10][random.below(4) as usize];
    let mesh = SharedMesh {
        connection: &connection,
        layout: shape.layout,
        backing: Mutex::default(),
        shown: Mutex::default(),
        overlapped: AtomicBool::new(false),
    };
    let seeds: Vec<u64> = (0..threads).map(|_| random.bits()).collect();
    std::thread::scope(|scope| {
        for (thread, seed) in (0..).zip(seeds) {
            let mesh = &mesh;
            let random = Random::new(seed, 0, Purpose::Calibration, 0);
            scope.spawn(move || mesh.run(thread, devices, pairs, pause_percent, random));
        }
    });
    let overlapped = mesh.overlapped.into_inner();
    connection.finish();
    drop(connection);
    Ok((server.shutdown(), overlapped))
}

/// What the threads share.
struct SharedMesh<'a> {
    connection: &'a Connection,
    layout: Layout,
    backing: Mutex<Backing>,
    /// By device and address: how many of its views were reported and not released, as the
    /// messages say. Held while a message is sent, so that it has their order.
    shown: Mutex<BTreeMap<(i32, u64), u32>>,
    /// A view was reported while another one at its place was.
    overlapped: AtomicBool,
}

/// The addresses of the buffers behind.
#[derive(Default)]
struct Backing {
    free: Vec<u64>,
    taken: u64,
    generations: u64,
}

impl SharedMesh<'_> {
    fn run(&self, thread: u32, devices: i32, pairs: u64, pause_percent: u8, mut random: Random) {
        let mut held = Vec::new();
        let mut left = pairs;
        let pause = |random: &mut Random| {
            if random.percent(pause_percent) {
                std::thread::sleep(Duration::from_micros(random.below(200)));
            }
        };
        while left > 0 || !held.is_empty() {
            if left > 0 && (held.is_empty() || random.percent(50)) {
                left -= 1;
                let buffer = self.take(devices);
                for device in 0..devices {
                    pause(&mut random);
                    self.send(MessageKind::Alloc, buffer, device, thread);
                }
                held.push(buffer);
            } else {
                let index = random.below(held.len() as u64) as usize;
                let buffer: MeshBuffer = held.swap_remove(index);
                self.backing.lock().free.push(buffer.address);
                for device in 0..devices {
                    pause(&mut random);
                    self.send(MessageKind::Free, buffer, device, thread);
                }
            }
        }
    }

    fn take(&self, devices: i32) -> MeshBuffer {
        let mut backing = self.backing.lock();
        let address = backing.free.pop().unwrap_or_else(|| {
            backing.taken += SIZE_BYTES;
            backing.taken
        });
        let generation = backing.generations + 1;
        backing.generations += devices as u64;
        MeshBuffer {
            address,
            generation,
        }
    }

    fn send(&self, kind: MessageKind, buffer: MeshBuffer, device: i32, thread: u32) {
        let frame = wire::encode(self.layout, &message(kind, buffer, device, thread));
        let mut shown = self.shown.lock();
        let views = shown.entry((device, buffer.address)).or_default();
        if kind == MessageKind::Alloc {
            *views += 1;
        } else {
            *views = views.saturating_sub(1);
        }
        if *views > 1 {
            self.overlapped.store(true, Ordering::Relaxed);
        }
        // The server is in this process and reads to the end.
        self.connection.write(frame.as_bytes(), SendMode::Blocking);
    }
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
                message: message(kind, buffer, device, thread),
                complete: true,
                server_answer: None,
            },
        });
    }
}

/// What is sent of the view on `device`.
fn message(kind: MessageKind, buffer: MeshBuffer, device: i32, thread: u32) -> Message {
    Message {
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
    }
}
