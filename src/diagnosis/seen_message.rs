//! One message about a buffer as a record shows it, and what can be said of it alone: whether any
//! client can have meant it, and what the server's answer tells of the address.

use super::address::DeviceGeneration;
use super::sightings::RecordPoint;
use crate::trace::observation::ServerAnswer;
use crate::tracking::{Message, MessageKind};

/// Device ids from here on are no device's: the largest system has 36.
const DEVICE_IDS: i32 = 1024;
/// Devices that a server of ours has at the most.
const REGISTRY_DEVICES: i32 = 256;
/// A buffer of more is none.
const MAX_SIZE_BYTES: u64 = 1 << 46;
/// The last buffer type that there is.
const LAST_BUFFER_TYPE: u8 = 4;

/// A message about a buffer that the server got.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenMessage<'a> {
    pub at: RecordPoint,
    /// On which connection, where the record says.
    pub conn: Option<u32>,
    pub message: &'a Message,
    /// Whether the record states all that a server uses of it.
    pub complete: bool,
    /// What the server made of it, where the record says.
    pub server_answer: Option<ServerAnswer>,
}

/// A value that no client means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Oddity {
    /// A process id for a device.
    DevicePid(i32),
    /// A device, type or size that there is not.
    Field(i64),
}

impl SeenMessage<'_> {
    /// Whether it is an ALLOC; else it is a FREE.
    pub(super) fn opens(&self) -> bool {
        self.message.kind.opens()
    }

    /// Whether the server did not take it although it is sound: for its number, or as a table was
    /// full.
    pub(super) fn was_refused(&self) -> bool {
        let Message {
            device,
            address,
            size_bytes,
            buffer_type,
            ..
        } = *self.message;
        self.server_answer == Some(ServerAnswer::Rejected)
            && (0..REGISTRY_DEVICES).contains(&device)
            // A line that says what is wrong with a message states no address.
            && address != 0
            && buffer_type <= LAST_BUFFER_TYPE
            && (!self.complete || !self.opens() || (1..=MAX_SIZE_BYTES).contains(&size_bytes))
    }

    /// What is odd about it, so that no client can have meant it.
    pub(super) fn oddity(&self) -> Option<Oddity> {
        let Message {
            device,
            size_bytes,
            buffer_type,
            kind,
            ..
        } = *self.message;
        let opens = self.opens();
        let answered = self.server_answer.is_some();
        let rejected = self.server_answer == Some(ServerAnswer::Rejected);
        let type_is_odd = buffer_type > LAST_BUFFER_TYPE;
        let size = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        // What a line does not state reads as -1 and 0.
        let sizeless = matches!(kind, MessageKind::CbFree | MessageKind::KernelUnload);
        if device >= DEVICE_IDS {
            Some(Oddity::DevicePid(device))
        } else if rejected || (device < 0 && opens && !answered) {
            Some(Oddity::Field(match device {
                -1 if size_bytes > 0 => size,
                0.. if type_is_odd => i64::from(buffer_type),
                _ => i64::from(device),
            }))
        } else if opens && type_is_odd && kind == MessageKind::Alloc {
            Some(Oddity::Field(i64::from(buffer_type)))
        } else if opens && !sizeless && size_bytes > MAX_SIZE_BYTES && !answered {
            Some(Oddity::Field(size))
        } else {
            None
        }
    }

    /// The life that it names, where it does.
    pub(super) fn generation(&self) -> Option<DeviceGeneration> {
        let extension = self.message.extension?;
        (extension.generation > 0).then_some(DeviceGeneration {
            device: self.message.device,
            number: extension.generation,
        })
    }

    /// Whether the server says that nothing was live at the address.
    pub(super) fn was_unknown(&self) -> bool {
        matches!(
            self.server_answer,
            Some(ServerAnswer::UnknownFree | ServerAnswer::AlreadyFreed)
        )
    }

    /// Whether the server says that something was live at the address.
    pub(super) fn was_known(&self) -> bool {
        match self.server_answer {
            Some(
                ServerAnswer::Freed(_)
                | ServerAnswer::Decremented
                | ServerAnswer::Incremented
                | ServerAnswer::Replaced,
            ) => true,
            Some(ServerAnswer::RefCount(count)) => count > 1,
            _ => false,
        }
    }
}
