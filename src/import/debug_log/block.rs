//! One block of the debug log, line by line.

use super::super::allocation::{AllocationEvent, Buffer};
use super::super::clock::time_of_day;
use super::super::stacks::{FrameId, StackTable};

/// Frames that a block keeps; writers write 8.
const MAX_FRAMES: usize = 64;

/// How the lines of a block begin, after its heading.
const FIELDS: [&str; 9] = [
    "Time: ",
    "Device: ",
    "Address: ",
    "Size: ",
    "Type: ",
    HOLDER,
    "Owns Data: ",
    "Hooked: ",
    "Call Stack:",
];
/// The line of a buffer's object begins so.
pub(super) const HOLDER: &str = "Buffer*: ";

/// What a block is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heading {
    Allocated,
    Deallocated,
    Destructor,
}

impl Heading {
    pub(crate) fn parse(text: &str) -> Option<Heading> {
        match text {
            "BUFFER ALLOCATED" => Some(Heading::Allocated),
            "BUFFER DEALLOCATED" => Some(Heading::Deallocated),
            "BUFFER DESTRUCTOR (still ALLOCATED - will deallocate)" => Some(Heading::Destructor),
            _ => None,
        }
    }

    pub(crate) fn form(self) -> &'static str {
        match self {
            Heading::Allocated => "allocated",
            Heading::Deallocated => "deallocated",
            Heading::Destructor => "destructor",
        }
    }
}

/// Which line comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Heading,
    Time,
    Device,
    Address,
    Size,
    Type,
    Holder,
    /// Everything that makes a buffer is known; of an allocation, two more lines follow before the
    /// call stack.
    OwnsData,
    Hooked,
    CallStack,
    Frame,
}

/// What was read of a block so far.
#[derive(Clone, Debug)]
pub(super) struct DebugBlock {
    /// The number of its first line.
    pub(crate) first_line: u64,
    /// Its lines, for the account: their numbers, and their beginnings.
    pub(crate) lines: Vec<(u64, String)>,
    /// The beginning of a line that another writer's line cut off.
    pub(crate) partial: String,
    /// How often another block began before it was complete.
    pub(crate) interruptions: u32,
    /// A line of a block came that was not its next: one of its own is damaged or missing, or
    /// another block's is mixed in. Nothing is to be joined to it any more.
    pub(crate) doubtful: bool,
    /// Nothing more is added to it.
    pub(crate) settled: bool,
    pub(crate) heading: Option<Heading>,
    pub(crate) owns_data: bool,
    pub(crate) second_ns: Option<u64>,
    frames: Vec<FrameId>,
    buffer: Buffer,
    next: Next,
}

impl DebugBlock {
    pub(crate) fn new(first_line: u64) -> DebugBlock {
        DebugBlock {
            first_line,
            lines: Vec::new(),
            partial: String::new(),
            interruptions: 0,
            doubtful: false,
            settled: false,
            heading: None,
            owns_data: true,
            second_ns: None,
            frames: Vec::new(),
            buffer: Buffer {
                process: None,
                device: 0,
                buffer_type: 0,
                address: 0,
                size_bytes: None,
                holder: None,
                stack: None,
            },
            next: Next::Heading,
        }
    }

    /// Whether a line begins as one of a block's does.
    pub(crate) fn is_field(text: &str) -> bool {
        FIELDS.iter().any(|field| text.starts_with(field))
    }

    /// Takes a line if it is the one that comes next.
    pub(crate) fn take(&mut self, text: &str, stacks: &mut StackTable) -> bool {
        self.read(text, stacks).is_some()
    }

    /// Whether everything that makes a buffer is known, and no line of it is in doubt: a block that
    /// was interrupted twice may hold lines of others.
    pub(crate) fn is_usable(&self) -> bool {
        self.next >= Next::OwnsData && self.interruptions <= 1
    }

    /// Whether its call stack has begun: a block that begins now interrupts nothing.
    pub(crate) fn is_whole(&self) -> bool {
        self.next == Next::Frame
    }

    /// What it says.
    pub(crate) fn event(&self, stacks: &mut StackTable) -> Option<AllocationEvent> {
        let buffer = Buffer {
            process: None,
            stack: match self.frames.as_slice() {
                [] => None,
                frames => stacks.stack(frames),
            },
            ..self.buffer
        };
        Some(match self.heading? {
            Heading::Allocated => AllocationEvent::Allocated(buffer),
            Heading::Deallocated => AllocationEvent::Released(buffer),
            Heading::Destructor => AllocationEvent::HolderEnded(buffer),
        })
    }

    /// The object that holds the buffer.
    pub(crate) fn holder(&self) -> Option<u64> {
        self.buffer.holder
    }

    fn read(&mut self, text: &str, stacks: &mut StackTable) -> Option<()> {
        if self.next == Next::Frame {
            let frame = text
                .strip_prefix("    ")
                .filter(|_| self.frames.len() < MAX_FRAMES)?;
            self.frames.extend(stacks.frame(frame.trim()));
            return Some(());
        }
        if text == "Call Stack:" && self.next >= Next::OwnsData {
            self.next = Next::Frame;
            return Some(());
        }
        self.next = match self.next {
            Next::Heading => {
                self.heading = Some(Heading::parse(text)?);
                Next::Time
            }
            Next::Time => {
                self.second_ns = Some(time_of_day(text.strip_prefix("Time: ")?)?);
                Next::Device
            }
            Next::Device => {
                self.buffer.device = text.strip_prefix("Device: ")?.parse().ok()?;
                Next::Address
            }
            Next::Address => {
                self.buffer.address = address(text.strip_prefix("Address: ")?)?;
                Next::Size
            }
            Next::Size => {
                let (bytes, _) = text.strip_prefix("Size: ")?.split_once(" bytes")?;
                self.buffer.size_bytes = Some(bytes.parse().ok()?);
                Next::Type
            }
            Next::Type => {
                self.buffer.buffer_type = buffer_type(text.strip_prefix("Type: ")?)?;
                Next::Holder
            }
            Next::Holder => {
                self.buffer.holder = Some(hexadecimal(text.strip_prefix(HOLDER)?)?);
                match self.heading? {
                    Heading::Allocated => Next::OwnsData,
                    Heading::Deallocated | Heading::Destructor => Next::CallStack,
                }
            }
            Next::OwnsData => {
                self.owns_data = yes_no(text.strip_prefix("Owns Data: ")?)?;
                Next::Hooked
            }
            Next::Hooked => {
                yes_no(text.strip_prefix("Hooked: ")?)?;
                Next::CallStack
            }
            Next::CallStack | Next::Frame => return None,
        };
        Some(())
    }
}

/// `0x18b20 (101152)`: both must be the same.
fn address(text: &str) -> Option<u64> {
    let (hex, decimal) = text.split_once(" (")?;
    let address = hexadecimal(hex)?;
    let again: u64 = decimal.strip_suffix(')')?.parse().ok()?;
    (address == again).then_some(address)
}

fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    // `from_str_radix` would take a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// The runtime names three types and calls the others OTHER: SYSTEM_MEMORY or TRACE, for which
/// TRACE stands here.
fn buffer_type(text: &str) -> Option<u8> {
    Some(match text {
        "DRAM" => 0,
        "L1" => 1,
        "L1_SMALL" => 3,
        "OTHER" => 4,
        _ => return None,
    })
}

fn yes_no(text: &str) -> Option<bool> {
    match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}
