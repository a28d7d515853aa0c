//! The runtime's debug log: blocks as the runtime writes them, at the cost they have there.
//!
//! The cost (a stack trace and a file write) is paid by the calling thread while it holds whatever
//! its program holds; the write itself is under a mutex of the file, as in the runtime.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::device::Memory;
use crate::lifecycle::ProgramKind;
use crate::scenario::DebugLog;
use crate::scenario::random::Random;
use crate::tracking::sent::Handle;

/// An open debug log.
#[derive(Debug)]
pub(super) struct DebugLogFile {
    file: Mutex<File>,
    cost: DebugLog,
}

/// What a block is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogBlock {
    pub(crate) program: ProgramKind,
    pub(crate) handle: Handle,
    pub(crate) owns_data: bool,
    /// Stands for the address of the buffer object.
    pub(crate) slot: u32,
}

impl DebugLogFile {
    /// Opens the log at `path` for appending.
    pub(crate) fn open(path: &Path, cost: DebugLog) -> io::Result<DebugLogFile> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(DebugLogFile {
            file: Mutex::new(file),
            cost,
        })
    }

    /// Writes one block and takes its time over it. A block that cannot be written is dropped, as
    /// in the runtime.
    pub(crate) fn write(&self, block: &LogBlock, random: &mut Random) {
        let cost_us = random.between(self.cost.min_us, self.cost.max_us);
        std::thread::sleep(Duration::from_micros(cost_us));
        let text = format(block, time_of_day());
        let _ = self.file.lock().write_all(text.as_bytes());
    }
}

fn time_of_day() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() % 86_400)
}

fn format(block: &LogBlock, second_of_day: u64) -> String {
    let Handle {
        device,
        memory,
        address,
        size_bytes,
        ..
    } = block.handle;
    let allocated = block.program == ProgramKind::Allocate;
    let (hours, minutes, seconds) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    let mut text = "═".repeat(59);
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(format_args!("\n{arguments}"));
    };
    line(format_args!(
        "BUFFER {}",
        if allocated {
            "ALLOCATED"
        } else {
            "DEALLOCATED"
        }
    ));
    line(format_args!("Time: {hours:02}:{minutes:02}:{seconds:02}"));
    line(format_args!("Device: {device}"));
    line(format_args!("Address: {address:#x} ({address})"));
    line(format_args!(
        "Size: {size_bytes} bytes ({} KB)",
        size_bytes as f64 / 1024.0
    ));
    line(format_args!("Type: {}", type_name(memory)));
    line(format_args!(
        "Buffer*: {:#x}",
        0x5500_0000_0000 + u64::from(block.slot) * 256
    ));
    if allocated {
        let yes_no = |yes| if yes { "yes" } else { "no" };
        line(format_args!("Owns Data: {}", yes_no(block.owns_data)));
        line(format_args!("Hooked: {}", yes_no(block.owns_data)));
    }
    line(format_args!("Call Stack:"));
    let call = if allocated {
        "tt::tt_metal::Buffer::allocate_impl()"
    } else {
        "tt::tt_metal::Buffer::deallocate_impl()"
    };
    line(format_args!("    {call}"));
    line(format_args!("    heisenbed::step()"));
    text.push('\n');
    text
}

fn type_name(memory: Memory) -> &'static str {
    match memory {
        Memory::Dram => "DRAM",
        Memory::L1 => "L1",
        Memory::L1Small => "L1_SMALL",
        Memory::Trace => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceId;

    #[test]
    fn a_block_has_the_lines_of_the_runtime_s_log() {
        let handle = Handle {
            device: DeviceId(3),
            memory: Memory::L1,
            address: 0x18b20,
            size_bytes: 4608,
            generation: 1,
        };
        let block = LogBlock {
            program: ProgramKind::Allocate,
            handle,
            owns_data: true,
            slot: 1,
        };
        let text = format(&block, 3 * 3600 + 62);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "═".repeat(59));
        assert_eq!(
            &lines[1..10],
            [
                "BUFFER ALLOCATED",
                "Time: 03:01:02",
                "Device: 3",
                "Address: 0x18b20 (101152)",
                "Size: 4608 bytes (4.5 KB)",
                "Type: L1",
                "Buffer*: 0x550000000100",
                "Owns Data: yes",
                "Hooked: yes",
            ]
        );
        assert!(lines[11..].iter().all(|line| line.starts_with("    ")));
    }
}
