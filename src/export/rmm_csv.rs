//! An RMM allocation log: CSV, of one device.
//!
//! RMM's log has a file for each device, no processes and no memories: addresses of different ones
//! would be taken for one, so they are left out and counted where there are several. Times are
//! times of day to the µs; where the input has none, the number of the record stands for it.

use std::collections::BTreeSet;
use std::io::Write;

use super::source::SourceAbout;
use super::{ExportError, ExportSink, Exported, LeftOut, Out, Wants, failed};
use crate::import::allocation::{AllocationEvent, AllocationRecord, Buffer};
use crate::import::stacks::StackTable;

const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream\n";
const DAY_US: u64 = 86_400_000_000;

/// Writes rows.
pub(super) struct RmmCsv<'a> {
    out: Out<'a>,
    /// The device that is wanted, or the first that was met.
    device: Option<i32>,
    chosen: bool,
    devices: BTreeSet<i32>,
    /// The memory and process of the first buffer: the others are left out.
    space: Option<(u8, Option<u32>)>,
    rows: u64,
    without_time: u64,
    left_out: LeftOut,
}

/// Devices that an error names; more are not kept.
const MAX_DEVICES: usize = 64;

impl<'a> RmmCsv<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send + 'a), device: Option<i32>) -> RmmCsv<'a> {
        RmmCsv {
            out: Out::new(to),
            device,
            chosen: device.is_some(),
            devices: BTreeSet::new(),
            space: None,
            rows: 0,
            without_time: 0,
            left_out: LeftOut::default(),
        }
    }

    /// Whether a buffer is one of those that are written.
    fn is_of_log(&mut self, buffer: &Buffer) -> bool {
        if !self.is_of_device(buffer.device) {
            return false;
        }
        let space = (buffer.buffer_type, buffer.process);
        if *self.space.get_or_insert(space) == space {
            return true;
        }
        self.left_out
            .count("buffers of other memories or processes");
        false
    }

    fn is_of_device(&mut self, device: i32) -> bool {
        if self.devices.len() < MAX_DEVICES {
            self.devices.insert(device);
        }
        if *self.device.get_or_insert(device) == device {
            return true;
        }
        self.left_out.count("records of other devices");
        false
    }
}

impl ExportSink for RmmCsv<'_> {
    fn begin(&mut self, _about: &SourceAbout) -> Result<Wants, ExportError> {
        self.out.buffer().extend_from_slice(HEADER.as_bytes());
        Ok(Wants {
            allocations: true,
            ..Wants::default()
        })
    }

    fn allocation(
        &mut self,
        record: &AllocationRecord,
        _stacks: &StackTable,
    ) -> Result<(), ExportError> {
        let (action, buffer) = match record.what {
            AllocationEvent::Allocated(buffer) => ("allocate", buffer),
            AllocationEvent::Released(buffer) => ("free", buffer),
            AllocationEvent::Failed { device, size_bytes } => {
                if !self.is_of_device(device) {
                    return Ok(());
                }
                let failed = failed(device, size_bytes);
                return self.row(record, "allocate failure", &failed);
            }
            AllocationEvent::ReleaseRequested(_) => {
                self.left_out.count("requests for a release");
                return Ok(());
            }
            AllocationEvent::HolderEnded(_) => {
                self.left_out.count("ends of objects that hold a buffer");
                return Ok(());
            }
        };
        if !self.is_of_log(&buffer) {
            return Ok(());
        }
        if buffer.address == 0 {
            // The null pointer is no address to RMM.
            self.left_out.count("buffers at address 0");
            return Ok(());
        }
        if buffer.stack.is_some() {
            self.left_out.count("call stacks");
        }
        self.row(record, action, &buffer)
    }

    fn end(&mut self, _stacks: &StackTable) -> Result<Exported, ExportError> {
        if !self.chosen && self.devices.len() > 1 {
            return Err(ExportError::SeveralDevices {
                format: "rmm-csv",
                devices: self.devices.iter().copied().collect(),
            });
        }
        let mut notes = Vec::new();
        if self.without_time > 0 {
            notes.push(
                "where the input has no time, the number of the record stands for µs".to_owned(),
            );
        }
        if self.device.is_some_and(|device| device != 0) {
            notes.push(format!(
                "the log is of device {0}: `import rmm-log` reads that from the file's name, as in \
                 rmm.dev{0}.csv",
                self.device.unwrap_or(0),
            ));
        }
        Ok(Exported {
            written: self.rows,
            noun: "row",
            bytes: self.out.end()?,
            left_out: std::mem::take(&mut self.left_out),
            notes,
            damage: None,
        })
    }
}

impl RmmCsv<'_> {
    fn row(
        &mut self,
        record: &AllocationRecord,
        action: &str,
        buffer: &Buffer,
    ) -> Result<(), ExportError> {
        let us = record.at_ns.map_or(record.position, |ns| ns / 1000);
        match record.at_ns {
            None => self.without_time += 1,
            Some(ns) if ns % 1000 != 0 => self.left_out.count("parts of a µs in times"),
            Some(_) => {}
        }
        let (us, seconds) = (us % 1_000_000, us % DAY_US / 1_000_000);
        writeln!(
            self.out.buffer(),
            "{},{:02}:{:02}:{:02}.{us:06},{action},{:#x},{},0x0",
            record.thread.unwrap_or(0),
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            buffer.address,
            buffer.size_bytes.unwrap_or(0),
        )?;
        self.rows += 1;
        Ok(self.out.written()?)
    }
}
