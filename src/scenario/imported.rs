//! Where the operations of a scripted workload come from, when they were taken from an imported
//! trace.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::Memory;

/// What became of an import when it was made a workload. The operations themselves are the
/// workload's script; this is for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Imported {
    /// The name of the recording.
    pub(crate) source: String,
    /// Its format, as `heisenbed import` calls it.
    pub(crate) format: String,
    /// Allocations that are taken.
    pub(crate) allocations: u64,
    /// Allocations that it holds.
    pub(crate) allocations_in_source: u64,
    /// Allocations taken that it never releases: leaks of the program.
    pub(crate) never_released: u64,
    /// Threads that it names; 0: none, and allocations are dealt out in turn.
    pub(crate) threads_in_source: u64,
    /// Devices that it names.
    pub(crate) devices_in_source: u64,
    /// Releases that another thread did, and that the thread that allocated does instead, because
    /// the other has its operations.
    pub(crate) moved_releases: u64,
    /// What sizes are divided by, so that what is live at once fits half of a memory: for DRAM, L1,
    /// L1_SMALL and TRACE.
    pub(crate) divided_by: [u64; 4],
    /// Whether even then more may be live at once: allocations may fail.
    pub(crate) crowded: bool,
    /// Whether the trace is cut or damaged, and only its sound beginning was taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) damaged: bool,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "imported from {} ({}): {} of {} allocations",
            self.source, self.format, self.allocations, self.allocations_in_source
        )?;
        if self.damaged {
            f.write_str(" (the trace is damaged: as far as it could be read)")?;
        }
        if self.never_released > 0 {
            write!(f, ", {} never released", self.never_released)?;
        }
        match self.threads_in_source {
            0 => f.write_str("; no threads known, dealt out in turn")?,
            1 => f.write_str("; 1 thread recorded")?,
            threads => write!(f, "; {threads} threads recorded")?,
        }
        if self.moved_releases > 0 {
            write!(
                f,
                ", {} releases done by the allocating thread instead",
                self.moved_releases
            )?;
        }
        for (memory, divisor) in Memory::ALL.into_iter().zip(self.divided_by) {
            if divisor > 1 {
                write!(f, "; {} sizes divided by {divisor} to fit", memory.name())?;
            }
        }
        if self.crowded {
            f.write_str("; too many buffers at once to fit: allocations may fail")?;
        }
        Ok(())
    }
}
