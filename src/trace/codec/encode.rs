//! Writing: events to bytes.

use crate::scenario::op::{Op, SlotId};

use super::super::event::Event;
use super::super::records::put;
use super::{History, tag};
use crate::device::DeviceId;
use crate::scenario::objects::{ObjectId, Objects};

/// Writes the events of one stream.
#[derive(Clone, Debug)]
pub struct Encoder {
    pub(super) history: History,
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(objects: Objects) -> Encoder {
        Encoder {
            history: History::new(objects),
        }
    }

    /// Appends `event` to `out`.
    #[inline]
    pub fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        match *event {
            Event::Open { op, version } => self.open(&op, version, out),
            Event::Part { part, version } => {
                out.extend_from_slice(&[tag::PART, part]);
                self.slot_version(version, out);
            }
            Event::CloseBuffer {
                slot,
                part,
                version,
            } => {
                out.extend_from_slice(&[tag::CLOSE_BUFFER, part]);
                put(out, u64::from(slot));
                self.history.slot = slot;
                self.slot_version(version, out);
            }
            Event::Vacate { version } => self.on_slot(tag::VACATE, version, out),
            Event::Lock { lock, version } => {
                out.push(tag::LOCK);
                put(out, u64::from(lock.0));
                self.version(self.history.objects.lock_object(lock), version, out);
            }
            Event::Unlock { lock } => {
                out.push(tag::UNLOCK);
                put(out, u64::from(lock.0));
                self.history.versions[self.history.objects.lock_object(lock).index()] += 1;
            }
            Event::LockOutOfBounds { device } => {
                out.push(tag::LOCK_OUT_OF_BOUNDS);
                put(out, u64::from(device.0));
            }
            Event::Alloc {
                device,
                address,
                version,
            } => {
                self.on_device(tag::ALLOC, device, version, out);
                put(out, address);
            }
            Event::AllocFailed { device, version } => {
                self.on_device(tag::ALLOC_FAILED, device, version, out)
            }
            Event::Free {
                device,
                outcome,
                version,
            } => {
                self.on_device(tag::FREE + outcome as u8, device, version, out);
            }
            Event::Stamp { device, sequence } => {
                out.push(tag::STAMP);
                put(out, u64::from(device.0));
                self.version(self.history.objects.counter(device), sequence, out);
            }
            Event::Check { live, version } => {
                self.on_slot(
                    if live {
                        tag::CHECK_LIVE
                    } else {
                        tag::CHECK_DEAD
                    },
                    version,
                    out,
                );
            }
            Event::Claim { won, version } => {
                self.on_slot(
                    if won { tag::CLAIM_WON } else { tag::CLAIM_LOST },
                    version,
                    out,
                );
            }
            Event::MarkLive { version } => self.on_slot(tag::MARK_LIVE, version, out),
            Event::MarkDead { version } => self.on_slot(tag::MARK_DEAD, version, out),
            Event::Publish { version } => self.on_slot(tag::PUBLISH, version, out),
            Event::ConnRead { found, version } => {
                match found {
                    Some(conn) => {
                        out.push(tag::CONN_FOUND);
                        put(out, u64::from(conn.0));
                    }
                    None => out.push(tag::CONN_NONE),
                }
                self.version(self.history.objects.cell(), version, out);
            }
            Event::Connect { conn } => {
                out.push(tag::CONNECT);
                put(out, u64::from(conn.0));
            }
            Event::ConnStore { conn, version } => {
                out.push(tag::CONN_STORE);
                put(out, u64::from(conn.0));
                self.version(self.history.objects.cell(), version, out);
            }
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                version,
            } => {
                let detail = kind as u8 * 3 + outcome as u8;
                if chunk == 0 && conn.0 == 0 {
                    out.push(tag::SEND + detail);
                } else {
                    out.extend_from_slice(&[tag::SEND_ELSEWHERE + detail, chunk]);
                    put(out, u64::from(conn.0));
                }
                self.version(self.history.objects.conn(conn), version, out);
            }
            Event::DebugLog => out.push(tag::DEBUG_LOG),
            Event::Shared(ref event) => self.shared(event, out),
            Event::BlockedOnLock { lock } => {
                out.push(tag::BLOCKED_ON_LOCK);
                put(out, u64::from(lock.0));
            }
            Event::BlockedOnOp { op } => {
                out.push(tag::BLOCKED_ON_OP);
                let version = self
                    .op_slot(&op)
                    .map_or(0, |slot| self.history.versions[slot.index()]);
                self.open(&op, version, out);
            }
            Event::BlockedOnSend { conn } => {
                out.push(tag::BLOCKED_ON_SEND);
                put(out, u64::from(conn.0));
            }
            Event::Stopped => out.push(tag::STOPPED),
            Event::Finish => out.push(tag::FINISH),
            Event::Accept { conn } => {
                out.push(tag::ACCEPT);
                put(out, u64::from(conn.0));
            }
            Event::Receive { conn, code } => {
                if conn.0 == 0 {
                    out.push(tag::RECEIVE + code as u8);
                } else {
                    out.push(tag::RECEIVE_ELSEWHERE + code as u8);
                    put(out, u64::from(conn.0));
                }
            }
        }
    }

    fn op_slot(&self, op: &Op) -> Option<ObjectId> {
        match op {
            Op::Allocate { slot, .. }
            | Op::Release { slot, .. }
            | Op::Run {
                on: Some((slot, _)),
                ..
            } => Some(self.history.objects.slot(slot.0)),
            _ => None,
        }
    }

    fn open(&mut self, op: &Op, version: u64, out: &mut Vec<u8>) {
        match *op {
            Op::Allocate {
                slot,
                epoch,
                request,
            } => {
                out.push(tag::OPEN_ALLOCATE);
                self.slot_and_epoch(slot, epoch, out);
                self.slot_version(version, out);
                out.push(request.memory as u8 | (request.kind as u8) << 2 | request.parts << 4);
                out.push(request.releases);
                put(out, u64::from(request.device.0));
                put(out, request.size_bytes);
            }
            Op::Release { slot, epoch } => {
                out.push(tag::OPEN_RELEASE);
                self.slot_and_epoch(slot, epoch, out);
                self.slot_version(version, out);
            }
            Op::AwaitOthers => out.push(tag::OPEN_AWAIT),
            Op::Close { device } => {
                out.push(tag::OPEN_CLOSE);
                put(out, u64::from(device.0));
            }
            Op::Throw => out.push(tag::OPEN_THROW),
            Op::Run { program, on } => {
                let name = program.as_str().as_bytes();
                out.extend_from_slice(&[tag::OPEN_RUN, name.len() as u8]);
                out.extend_from_slice(name);
                out.push(u8::from(on.is_some()));
                if let Some((slot, epoch)) = on {
                    self.slot_and_epoch(slot, epoch, out);
                    self.slot_version(version, out);
                }
            }
            Op::Kill { process } => {
                out.push(tag::OPEN_KILL);
                put(out, u64::from(process));
            }
        }
    }

    fn slot_and_epoch(&mut self, slot: SlotId, epoch: u32, out: &mut Vec<u8>) {
        put(out, u64::from(slot.0));
        let last = std::mem::replace(&mut self.history.epochs[slot.index()], epoch);
        put(out, u64::from(epoch.wrapping_sub(last)));
        self.history.slot = slot.0;
    }

    #[inline]
    fn on_slot(&mut self, tag: u8, version: u64, out: &mut Vec<u8>) {
        out.push(tag);
        self.slot_version(version, out);
    }

    #[inline]
    fn slot_version(&mut self, version: u64, out: &mut Vec<u8>) {
        self.version(self.history.slot_object(), version, out);
    }

    #[inline]
    fn on_device(&mut self, tag: u8, device: DeviceId, version: u64, out: &mut Vec<u8>) {
        out.push(tag);
        put(out, u64::from(device.0));
        self.version(self.history.objects.device(device), version, out);
    }

    #[inline]
    pub(super) fn version(&mut self, object: ObjectId, version: u64, out: &mut Vec<u8>) {
        let last = std::mem::replace(&mut self.history.versions[object.index()], version);
        put(out, version.wrapping_sub(last));
    }
}
