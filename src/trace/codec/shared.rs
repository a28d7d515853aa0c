//! Both directions of [`SharedEvent`]: a tag of its own behind the events' tag, then varints.

use crate::scenario::cells::CellId;
use crate::scenario::objects::{LockId, ObjectId};

use super::super::event::Event;
use super::super::records::put;
use super::super::shared_event::{CellAccess, LedgerAction, SharedEvent};
use super::decode::{byte, get};
use super::{DecodeError, Decoder, Encoder, tag};

mod kind {
    /// … plus the access.
    pub(crate) const CELL: u8 = 0;
    /// … plus the action.
    pub(crate) const LEDGER: u8 = 8;
    pub(crate) const USE: u8 = 12;
    pub(crate) const LOCK_SHARED: u8 = 13;
    pub(crate) const UNLOCK_SHARED: u8 = 14;
    pub(crate) const TRY_FAILED: u8 = 15;
    pub(crate) const WAIT: u8 = 16;
    pub(crate) const NOTIFY: u8 = 17;
    pub(crate) const NOTIFY_ALL: u8 = 18;
    pub(crate) const KILL: u8 = 19;
    pub(crate) const BLOCKED_ON_CELL: u8 = 20;
    pub(crate) const BLOCKED_ON_NOTIFY: u8 = 21;
    pub(crate) const OUT_OF_ROUNDS: u8 = 22;
    pub(crate) const RECLAIM: u8 = 23;
}

impl Encoder {
    #[inline(never)]
    pub(super) fn shared(&mut self, event: &SharedEvent, out: &mut Vec<u8>) {
        out.push(tag::SHARED);
        let objects = self.history.objects;
        match *event {
            SharedEvent::Cell {
                cell,
                access,
                found,
                version,
            } => {
                let (access, operands): (u8, &[u64]) = match &access {
                    CellAccess::Load => (0, &[]),
                    CellAccess::Store(value) => (1, &[*value]),
                    CellAccess::Add(by) => (2, &[*by]),
                    CellAccess::Sub(by) => (3, &[*by]),
                    CellAccess::Swap { expected, desired } => (4, &[*expected, *desired]),
                    CellAccess::Join => (5, &[]),
                    CellAccess::Leave => (6, &[]),
                    CellAccess::Tell => (7, &[]),
                };
                out.push(kind::CELL + access);
                put(out, u64::from(cell.0));
                operands.iter().for_each(|operand| put(out, *operand));
                put(out, found);
                self.version(objects.shared(cell), version, out);
            }
            SharedEvent::Ledger {
                ledger,
                action,
                found,
                version,
            } => {
                out.push(kind::LEDGER + action as u8);
                put(out, u64::from(ledger.0));
                put(out, found);
                self.version(objects.shared(ledger), version, out);
            }
            SharedEvent::Use {
                buffer,
                device,
                version,
            } => {
                out.push(kind::USE);
                put(out, buffer);
                put(out, u64::from(device.0));
                self.version(objects.device(device), version, out);
            }
            SharedEvent::LockShared { lock, version } => {
                self.on_lock(kind::LOCK_SHARED, lock, version, out);
            }
            SharedEvent::UnlockShared { lock, version } => {
                self.on_lock(kind::UNLOCK_SHARED, lock, version, out);
            }
            SharedEvent::TryFailed { lock } => only_lock(kind::TRY_FAILED, lock, out),
            SharedEvent::Wait { lock } => only_lock(kind::WAIT, lock, out),
            SharedEvent::Notify { lock, all: false } => only_lock(kind::NOTIFY, lock, out),
            SharedEvent::Notify { lock, all: true } => only_lock(kind::NOTIFY_ALL, lock, out),
            SharedEvent::BlockedOnNotify { lock } => {
                only_lock(kind::BLOCKED_ON_NOTIFY, lock, out);
            }
            SharedEvent::Kill { process } => {
                out.push(kind::KILL);
                put(out, u64::from(process));
            }
            SharedEvent::Reclaim { device, version } => {
                out.push(kind::RECLAIM);
                put(out, u64::from(device.0));
                self.version(objects.device(device), version, out);
            }
            SharedEvent::BlockedOnCell { cell } => {
                out.push(kind::BLOCKED_ON_CELL);
                put(out, u64::from(cell.0));
            }
            SharedEvent::OutOfRounds => out.push(kind::OUT_OF_ROUNDS),
        }
    }

    fn on_lock(&mut self, kind: u8, lock: LockId, version: u64, out: &mut Vec<u8>) {
        only_lock(kind, lock, out);
        self.version(self.history.objects.lock_object(lock), version, out);
    }
}

fn only_lock(kind: u8, lock: LockId, out: &mut Vec<u8>) {
    out.push(kind);
    put(out, u64::from(lock.0));
}

impl Decoder {
    #[inline(never)]
    pub(super) fn shared(&mut self, bytes: &mut &[u8]) -> Result<Event, DecodeError> {
        let kind = byte(bytes)?;
        Ok(Event::Shared(match kind {
            kind::CELL..kind::LEDGER => {
                let cell = self.cell(bytes)?;
                let access = match kind - kind::CELL {
                    0 => CellAccess::Load,
                    1 => CellAccess::Store(get(bytes)?),
                    2 => CellAccess::Add(get(bytes)?),
                    3 => CellAccess::Sub(get(bytes)?),
                    4 => CellAccess::Swap {
                        expected: get(bytes)?,
                        desired: get(bytes)?,
                    },
                    5 => CellAccess::Join,
                    6 => CellAccess::Leave,
                    7 => CellAccess::Tell,
                    _ => return Err(DecodeError::OutOfRange("an access")),
                };
                SharedEvent::Cell {
                    cell,
                    access,
                    found: get(bytes)?,
                    version: self.version(self.object(cell), bytes)?,
                }
            }
            kind::LEDGER..kind::USE => {
                let action = LedgerAction::ALL.get(usize::from(kind - kind::LEDGER));
                let ledger = self.cell(bytes)?;
                SharedEvent::Ledger {
                    ledger,
                    action: *action.ok_or(DecodeError::OutOfRange("an action"))?,
                    found: get(bytes)?,
                    version: self.version(self.object(ledger), bytes)?,
                }
            }
            kind::USE => {
                let buffer = get(bytes)?;
                let device = self.device(bytes)?;
                SharedEvent::Use {
                    buffer,
                    device,
                    version: self.version(self.history.objects.device(device), bytes)?,
                }
            }
            kind::LOCK_SHARED | kind::UNLOCK_SHARED => {
                let lock = self.lock(bytes)?;
                let version = self.version(self.history.objects.lock_object(lock), bytes)?;
                match kind {
                    kind::LOCK_SHARED => SharedEvent::LockShared { lock, version },
                    _ => SharedEvent::UnlockShared { lock, version },
                }
            }
            kind::TRY_FAILED => SharedEvent::TryFailed {
                lock: self.lock(bytes)?,
            },
            kind::WAIT => SharedEvent::Wait {
                lock: self.lock(bytes)?,
            },
            kind::NOTIFY | kind::NOTIFY_ALL => SharedEvent::Notify {
                lock: self.lock(bytes)?,
                all: kind == kind::NOTIFY_ALL,
            },
            kind::KILL => SharedEvent::Kill {
                process: u16::try_from(get(bytes)?)
                    .map_err(|_| DecodeError::OutOfRange("a process"))?,
            },
            kind::BLOCKED_ON_CELL => SharedEvent::BlockedOnCell {
                cell: self.cell(bytes)?,
            },
            kind::BLOCKED_ON_NOTIFY => SharedEvent::BlockedOnNotify {
                lock: self.lock(bytes)?,
            },
            kind::RECLAIM => {
                let device = self.device(bytes)?;
                SharedEvent::Reclaim {
                    device,
                    version: self.version(self.history.objects.device(device), bytes)?,
                }
            }
            kind::OUT_OF_ROUNDS => SharedEvent::OutOfRounds,
            _ => return Err(DecodeError::OutOfRange("a step")),
        }))
    }

    fn cell(&self, bytes: &mut &[u8]) -> Result<CellId, DecodeError> {
        let cell = get(bytes)?;
        if cell < u64::from(self.history.objects.cells) {
            Ok(CellId(cell as u32))
        } else {
            Err(DecodeError::OutOfRange("a cell"))
        }
    }

    fn object(&self, cell: CellId) -> ObjectId {
        self.history.objects.shared(cell)
    }
}
