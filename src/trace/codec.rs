//! The encoding of events: one tag byte, then varints.
//!
//! Versions are stored as the distance to the last version of the same object in the same stream,
//! epochs likewise, so that most events are two bytes and repeat themselves for the compressor.
//! Encoder and decoder carry that history from block to block: a stream is readable up to its first
//! damaged block, and the merge could not go past that anyway.

use thiserror::Error;

use crate::device::{BufferKind, DeviceId, Memory};
use crate::scenario::MAX_CHUNKS;
use crate::scenario::op::{Op, Request, SlotId};

use super::event::{ConnId, Event, FreeOutcome, LockId, ReceiveCode, SendOutcome, SentKind};
use super::objects::{ObjectId, Objects};

/// No event is longer than this many bytes.
pub const MAX_EVENT_BYTES: usize = 64;

mod tag {
    pub const OPEN_ALLOCATE: u8 = 1;
    pub const OPEN_RELEASE: u8 = 2;
    pub const OPEN_AWAIT: u8 = 3;
    pub const OPEN_CLOSE: u8 = 4;
    pub const OPEN_THROW: u8 = 5;
    pub const PART: u8 = 6;
    pub const CLOSE_BUFFER: u8 = 7;
    pub const VACATE: u8 = 8;
    pub const LOCK: u8 = 9;
    pub const UNLOCK: u8 = 10;
    pub const LOCK_OUT_OF_BOUNDS: u8 = 11;
    pub const ALLOC: u8 = 12;
    pub const ALLOC_FAILED: u8 = 13;
    /// … plus the outcome.
    pub const FREE: u8 = 14;
    pub const STAMP: u8 = 17;
    pub const CHECK_DEAD: u8 = 18;
    pub const CHECK_LIVE: u8 = 19;
    pub const CLAIM_LOST: u8 = 20;
    pub const CLAIM_WON: u8 = 21;
    pub const MARK_LIVE: u8 = 22;
    pub const MARK_DEAD: u8 = 23;
    pub const PUBLISH: u8 = 24;
    pub const CONN_NONE: u8 = 25;
    pub const CONN_FOUND: u8 = 26;
    pub const CONNECT: u8 = 27;
    pub const CONN_STORE: u8 = 28;
    pub const DEBUG_LOG: u8 = 30;
    pub const BLOCKED_ON_LOCK: u8 = 31;
    /// … plus kind × 3 + outcome: chunk 0 on connection 0.
    pub const SEND: u8 = 32;
    /// … plus kind × 3 + outcome, then chunk and connection.
    pub const SEND_ELSEWHERE: u8 = 44;
    pub const BLOCKED_ON_OP: u8 = 56;
    pub const FINISH: u8 = 57;
    pub const STOPPED: u8 = 59;
    pub const ACCEPT: u8 = 58;
    /// … plus the code: on connection 0.
    pub const RECEIVE: u8 = 64;
    /// … plus the code, then the connection.
    pub const RECEIVE_ELSEWHERE: u8 = 80;
}

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end within an event.
    #[error("the block ends within an event")]
    Cut,
    /// No event has this tag.
    #[error("no event has the tag {0}")]
    UnknownTag(u8),
    /// A field is outside what the scenario allows.
    #[error("{0} is outside the scenario")]
    OutOfRange(&'static str),
}

/// What both directions remember of a stream: the last version of each object, the last epoch of each
/// slot, and the slot of the operation at hand.
#[derive(Clone, Debug)]
struct History {
    objects: Objects,
    /// The object of slot 0; the other slots' follow.
    first_slot: ObjectId,
    versions: Box<[u64]>,
    epochs: Box<[u32]>,
    slot: u32,
}

impl History {
    fn new(objects: Objects) -> History {
        History {
            objects,
            first_slot: objects.slot(0),
            versions: vec![0; objects.count()].into_boxed_slice(),
            epochs: vec![0; objects.slots as usize].into_boxed_slice(),
            slot: 0,
        }
    }

    /// The slot of the operation at hand.
    #[inline]
    fn slot_object(&self) -> ObjectId {
        ObjectId(self.first_slot.0 + self.slot)
    }
}

/// Writes the events of one stream.
#[derive(Clone, Debug)]
pub struct Encoder {
    history: History,
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
            Op::Allocate { slot, .. } | Op::Release { slot, .. } => {
                Some(self.history.objects.slot(slot.0))
            }
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
    fn version(&mut self, object: ObjectId, version: u64, out: &mut Vec<u8>) {
        let last = std::mem::replace(&mut self.history.versions[object.index()], version);
        put(out, version.wrapping_sub(last));
    }
}

/// Reads the events of one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    history: History,
    touch: Touch,
}

/// A touch of a shared object: which, and the version that the object got by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The object; [`Touch::NONE`]'s where nothing was touched.
    pub object: ObjectId,
    /// Its version.
    pub version: u64,
}

impl Touch {
    /// No object was touched.
    pub const NONE: Touch = Touch {
        object: ObjectId(u32::MAX),
        version: 0,
    };

    /// Whether an object was touched.
    #[inline]
    pub fn is_some(&self) -> bool {
        self.object != Touch::NONE.object
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(objects: Objects) -> Decoder {
        Decoder {
            history: History::new(objects),
            touch: Touch::NONE,
        }
    }

    /// The touch that the last event was. Of an [`Unlock`](Event::Unlock), which does not say its version, it is
    /// the one after the last in this stream: nobody else touches a lock that is held.
    #[inline]
    pub fn touch(&self) -> Touch {
        self.touch
    }

    /// Takes one event off the front of `bytes`, which holds at least one byte.
    #[inline]
    pub fn decode(&mut self, bytes: &mut &[u8]) -> Result<Event, DecodeError> {
        self.touch = Touch::NONE;
        let tag = byte(bytes)?;
        let event = match tag {
            tag::OPEN_ALLOCATE..=tag::OPEN_THROW => {
                let (op, version) = self.open(tag, bytes)?;
                Event::Open { op, version }
            }
            tag::PART => Event::Part {
                part: byte(bytes)?,
                version: self.slot_version(bytes)?,
            },
            tag::CLOSE_BUFFER => {
                let part = byte(bytes)?;
                let slot = self.slot(bytes)?;
                self.history.slot = slot;
                Event::CloseBuffer {
                    slot,
                    part,
                    version: self.slot_version(bytes)?,
                }
            }
            tag::VACATE => Event::Vacate {
                version: self.slot_version(bytes)?,
            },
            tag::LOCK => {
                let lock = self.lock(bytes)?;
                Event::Lock {
                    lock,
                    version: self.version(self.history.objects.lock_object(lock), bytes)?,
                }
            }
            tag::UNLOCK => {
                let lock = self.lock(bytes)?;
                let object = self.history.objects.lock_object(lock);
                let version = &mut self.history.versions[object.index()];
                *version = version.wrapping_add(1);
                self.touch = Touch {
                    object,
                    version: *version,
                };
                Event::Unlock { lock }
            }
            tag::LOCK_OUT_OF_BOUNDS => Event::LockOutOfBounds {
                device: self.device(bytes)?,
            },
            tag::ALLOC => {
                let device = self.device(bytes)?;
                let version = self.version(self.history.objects.device(device), bytes)?;
                Event::Alloc {
                    device,
                    address: get(bytes)?,
                    version,
                }
            }
            tag::ALLOC_FAILED => {
                let device = self.device(bytes)?;
                Event::AllocFailed {
                    device,
                    version: self.version(self.history.objects.device(device), bytes)?,
                }
            }
            tag::FREE..tag::STAMP => {
                let device = self.device(bytes)?;
                let outcome = [
                    FreeOutcome::Freed,
                    FreeOutcome::NotAllocated,
                    FreeOutcome::FreedAnother,
                ][usize::from(tag - tag::FREE)];
                Event::Free {
                    device,
                    outcome,
                    version: self.version(self.history.objects.device(device), bytes)?,
                }
            }
            tag::STAMP => {
                let device = self.device(bytes)?;
                Event::Stamp {
                    device,
                    sequence: self.version(self.history.objects.counter(device), bytes)?,
                }
            }
            tag::CHECK_DEAD | tag::CHECK_LIVE => Event::Check {
                live: tag == tag::CHECK_LIVE,
                version: self.slot_version(bytes)?,
            },
            tag::CLAIM_LOST | tag::CLAIM_WON => Event::Claim {
                won: tag == tag::CLAIM_WON,
                version: self.slot_version(bytes)?,
            },
            tag::MARK_LIVE => Event::MarkLive {
                version: self.slot_version(bytes)?,
            },
            tag::MARK_DEAD => Event::MarkDead {
                version: self.slot_version(bytes)?,
            },
            tag::PUBLISH => Event::Publish {
                version: self.slot_version(bytes)?,
            },
            tag::CONN_NONE => Event::ConnRead {
                found: None,
                version: self.cell_version(bytes)?,
            },
            tag::CONN_FOUND => {
                let found = Some(self.conn(bytes)?);
                Event::ConnRead {
                    found,
                    version: self.cell_version(bytes)?,
                }
            }
            tag::CONNECT => Event::Connect {
                conn: self.conn(bytes)?,
            },
            tag::CONN_STORE => {
                let conn = self.conn(bytes)?;
                Event::ConnStore {
                    conn,
                    version: self.cell_version(bytes)?,
                }
            }
            tag::SEND..tag::BLOCKED_ON_OP => {
                let (detail, chunk, conn) = if tag < tag::SEND_ELSEWHERE {
                    (tag - tag::SEND, 0, ConnId(0))
                } else {
                    (tag - tag::SEND_ELSEWHERE, chunk(bytes)?, self.conn(bytes)?)
                };
                let kind = [
                    SentKind::Alloc,
                    SentKind::Free,
                    SentKind::CbAlloc,
                    SentKind::CbFree,
                ][usize::from(detail / 3)];
                let outcome = [SendOutcome::Sent, SendOutcome::Dropped, SendOutcome::Failed]
                    [usize::from(detail % 3)];
                let version = self.version(self.history.objects.conn(conn), bytes)?;
                Event::Send {
                    kind,
                    chunk,
                    conn,
                    outcome,
                    version,
                }
            }
            tag::DEBUG_LOG => Event::DebugLog,
            tag::BLOCKED_ON_LOCK => Event::BlockedOnLock {
                lock: self.lock(bytes)?,
            },
            tag::BLOCKED_ON_OP => {
                let tag = byte(bytes)?;
                let (op, _) = self.open(tag, bytes)?;
                // It could not begin, so it touched nothing.
                self.touch = Touch::NONE;
                Event::BlockedOnOp { op }
            }
            tag::STOPPED => Event::Stopped,
            tag::FINISH => Event::Finish,
            tag::ACCEPT => Event::Accept {
                conn: self.conn(bytes)?,
            },
            tag::RECEIVE..tag::RECEIVE_ELSEWHERE => Event::Receive {
                conn: ConnId(0),
                code: receive_code(tag, tag::RECEIVE)?,
            },
            tag::RECEIVE_ELSEWHERE..=u8::MAX => {
                let code = receive_code(tag, tag::RECEIVE_ELSEWHERE)?;
                Event::Receive {
                    conn: self.conn(bytes)?,
                    code,
                }
            }
            _ => return Err(DecodeError::UnknownTag(tag)),
        };
        Ok(event)
    }

    fn open(&mut self, tag: u8, bytes: &mut &[u8]) -> Result<(Op, u64), DecodeError> {
        Ok(match tag {
            tag::OPEN_ALLOCATE => {
                let (slot, epoch) = self.slot_and_epoch(bytes)?;
                let version = self.slot_version(bytes)?;
                let packed = byte(bytes)?;
                let request = Request {
                    memory: Memory::ALL[usize::from(packed & 3)],
                    kind: [
                        BufferKind::Owned,
                        BufferKind::Preallocated,
                        BufferKind::Circular,
                        BufferKind::Mesh,
                    ][usize::from(packed >> 2 & 3)],
                    parts: packed >> 4,
                    releases: byte(bytes)?,
                    device: self.device(bytes)?,
                    size_bytes: get(bytes)?,
                };
                if request.parts == 0 || request.parts > crate::scenario::op::MAX_PARTS {
                    return Err(DecodeError::OutOfRange("the number of parts"));
                }
                (
                    Op::Allocate {
                        slot,
                        epoch,
                        request,
                    },
                    version,
                )
            }
            tag::OPEN_RELEASE => {
                let (slot, epoch) = self.slot_and_epoch(bytes)?;
                (Op::Release { slot, epoch }, self.slot_version(bytes)?)
            }
            tag::OPEN_AWAIT => (Op::AwaitOthers, 0),
            tag::OPEN_CLOSE => (
                Op::Close {
                    device: self.device(bytes)?,
                },
                0,
            ),
            tag::OPEN_THROW => (Op::Throw, 0),
            other => return Err(DecodeError::UnknownTag(other)),
        })
    }

    fn slot_and_epoch(&mut self, bytes: &mut &[u8]) -> Result<(SlotId, u32), DecodeError> {
        let slot = self.slot(bytes)?;
        let epoch = &mut self.history.epochs[slot as usize];
        *epoch = epoch.wrapping_add(get(bytes)? as u32);
        self.history.slot = slot;
        Ok((SlotId(slot), *epoch))
    }

    #[inline(always)]
    fn slot_version(&mut self, bytes: &mut &[u8]) -> Result<u64, DecodeError> {
        self.version(self.history.slot_object(), bytes)
    }

    fn cell_version(&mut self, bytes: &mut &[u8]) -> Result<u64, DecodeError> {
        self.version(self.history.objects.cell(), bytes)
    }

    #[inline(always)]
    fn version(&mut self, object: ObjectId, bytes: &mut &[u8]) -> Result<u64, DecodeError> {
        let distance = get(bytes)?;
        let version = self
            .history
            .versions
            .get_mut(object.index())
            .ok_or(DecodeError::OutOfRange("an object"))?;
        *version = version.wrapping_add(distance);
        self.touch = Touch {
            object,
            version: *version,
        };
        Ok(*version)
    }

    fn slot(&self, bytes: &mut &[u8]) -> Result<u32, DecodeError> {
        let slot = get(bytes)?;
        if slot < u64::from(self.history.objects.slots) {
            Ok(slot as u32)
        } else {
            Err(DecodeError::OutOfRange("a slot"))
        }
    }

    #[inline]
    fn lock(&self, bytes: &mut &[u8]) -> Result<LockId, DecodeError> {
        let lock = get(bytes)?;
        if lock < u64::from(self.history.objects.locks()) {
            Ok(LockId(lock as u16))
        } else {
            Err(DecodeError::OutOfRange("a lock"))
        }
    }

    #[inline]
    fn device(&self, bytes: &mut &[u8]) -> Result<DeviceId, DecodeError> {
        let device = get(bytes)?;
        if device < u64::from(self.history.objects.devices) {
            Ok(DeviceId(device as u16))
        } else {
            Err(DecodeError::OutOfRange("a device"))
        }
    }

    fn conn(&self, bytes: &mut &[u8]) -> Result<ConnId, DecodeError> {
        let conn = get(bytes)?;
        if conn < u64::from(self.history.objects.conns) {
            Ok(ConnId(conn as u16))
        } else {
            Err(DecodeError::OutOfRange("a connection"))
        }
    }
}

fn chunk(bytes: &mut &[u8]) -> Result<u8, DecodeError> {
    let chunk = byte(bytes)?;
    if chunk < MAX_CHUNKS {
        Ok(chunk)
    } else {
        Err(DecodeError::OutOfRange("a chunk"))
    }
}

fn receive_code(tag: u8, base: u8) -> Result<ReceiveCode, DecodeError> {
    ReceiveCode::ALL
        .get(usize::from(tag - base))
        .copied()
        .ok_or(DecodeError::UnknownTag(tag))
}

/// Appends a LEB128 varint.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a LEB128 varint off the front.
#[inline(always)]
pub(crate) fn get(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let first = byte(bytes)?;
    if first < 0x80 {
        return Ok(u64::from(first));
    }
    get_more(first, bytes)
}

/// The rest of a varint of several bytes.
fn get_more(first: u8, bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let next = byte(bytes)?;
        value |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Ok(value);
        }
    }
    Err(DecodeError::OutOfRange("a number"))
}

#[inline]
fn byte(bytes: &mut &[u8]) -> Result<u8, DecodeError> {
    let (first, rest) = bytes.split_first().ok_or(DecodeError::Cut)?;
    *bytes = rest;
    Ok(*first)
}
