//! Reading: bytes to events. Every field is checked against the scenario, so that what comes out
//! can be used as an index.

use super::super::event::{Event, FreeOutcome, ReceiveCode, SendOutcome};
use super::{DecodeError, History, tag};
use crate::device::{BufferKind, DeviceId, Memory};
use crate::scenario::MAX_CHUNKS;
use crate::scenario::objects::{ConnId, LockId, ObjectId, Objects};
use crate::scenario::op::{Op, Request, SlotId};
use crate::tracking::sent::SentKind;

/// Reads the events of one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    pub(super) history: History,
    touch: DecodedTouch,
}

/// A touch of a shared object: which, and the version that the object got by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedTouch {
    /// The object; [`DecodedTouch::NONE`]'s where nothing was touched.
    pub object: ObjectId,
    /// Its version.
    pub version: u64,
}

impl DecodedTouch {
    /// No object was touched.
    pub(crate) const NONE: DecodedTouch = DecodedTouch {
        object: ObjectId(u32::MAX),
        version: 0,
    };

    /// Whether an object was touched.
    #[inline]
    pub fn is_some(&self) -> bool {
        self.object != DecodedTouch::NONE.object
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(objects: Objects) -> Decoder {
        Decoder {
            history: History::new(objects),
            touch: DecodedTouch::NONE,
        }
    }

    /// The touch that the last event was. Of an [`Unlock`](Event::Unlock), which does not say its
    /// version, it is the one after the last in this stream: nobody else touches a lock that is
    /// held.
    #[inline]
    pub fn touch(&self) -> DecodedTouch {
        self.touch
    }

    /// Takes one event off the front of `bytes`, which holds at least one byte.
    #[inline]
    pub fn decode(&mut self, bytes: &mut &[u8]) -> Result<Event, DecodeError> {
        self.touch = DecodedTouch::NONE;
        let tag = byte(bytes)?;
        let event = match tag {
            tag::OPEN_ALLOCATE..=tag::OPEN_THROW | tag::OPEN_RUN | tag::OPEN_KILL => {
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
                self.touch = DecodedTouch {
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
            tag::SHARED => self.shared(bytes)?,
            tag::BLOCKED_ON_LOCK => Event::BlockedOnLock {
                lock: self.lock(bytes)?,
            },
            tag::BLOCKED_ON_OP => {
                let tag = byte(bytes)?;
                let (op, _) = self.open(tag, bytes)?;
                // It could not begin, so it touched nothing.
                self.touch = DecodedTouch::NONE;
                Event::BlockedOnOp { op }
            }
            tag::BLOCKED_ON_SEND => Event::BlockedOnSend {
                conn: self.conn(bytes)?,
            },
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
            tag::OPEN_RUN => self.open_run(bytes)?,
            tag::OPEN_KILL => {
                let process = u16::try_from(get(bytes)?);
                let process = process.map_err(|_| DecodeError::OutOfRange("a process"))?;
                (Op::Kill { process }, 0)
            }
            other => return Err(DecodeError::UnknownTag(other)),
        })
    }

    fn open_run(&mut self, bytes: &mut &[u8]) -> Result<(Op, u64), DecodeError> {
        let len = usize::from(byte(bytes)?);
        let (name, rest) = bytes.split_at_checked(len).ok_or(DecodeError::Cut)?;
        *bytes = rest;
        let name = std::str::from_utf8(name).unwrap_or_default();
        let program = name.parse();
        let program = program.map_err(|_| DecodeError::OutOfRange("the name of a program"))?;
        Ok(if byte(bytes)? == 0 {
            (Op::Run { program, on: None }, 0)
        } else {
            let on = Some(self.slot_and_epoch(bytes)?);
            (Op::Run { program, on }, self.slot_version(bytes)?)
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
    pub(super) fn version(
        &mut self,
        object: ObjectId,
        bytes: &mut &[u8],
    ) -> Result<u64, DecodeError> {
        let distance = get(bytes)?;
        let version = self
            .history
            .versions
            .get_mut(object.index())
            .ok_or(DecodeError::OutOfRange("an object"))?;
        *version = version.wrapping_add(distance);
        self.touch = DecodedTouch {
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
    pub(super) fn lock(&self, bytes: &mut &[u8]) -> Result<LockId, DecodeError> {
        let lock = get(bytes)?;
        if lock < u64::from(self.history.objects.locks()) {
            Ok(LockId(lock as u16))
        } else {
            Err(DecodeError::OutOfRange("a lock"))
        }
    }

    #[inline]
    pub(super) fn device(&self, bytes: &mut &[u8]) -> Result<DeviceId, DecodeError> {
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

/// Takes a LEB128 varint off the front.
#[inline(always)]
pub(super) fn get(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
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
pub(super) fn byte(bytes: &mut &[u8]) -> Result<u8, DecodeError> {
    let (first, rest) = bytes.split_first().ok_or(DecodeError::Cut)?;
    *bytes = rest;
    Ok(*first)
}
