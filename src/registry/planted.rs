//! Mistakes of a registry that are made on purpose.

use smallvec::SmallVec;

use super::entry::{TableKey, TableRecord};
use super::{Outcome, Registry, Totals};
use crate::device::DeviceId;
use crate::planted::Planted;
use crate::tracking::Message;
use crate::tracking::entry::Class;

impl Registry {
    /// What a registry with a planted mistake makes of a release.
    #[cold]
    pub(super) fn close_wrongly(
        &mut self,
        planted: Planted,
        message: &Message,
        device: DeviceId,
        class: Class,
        outcome: Outcome,
    ) -> Outcome {
        match (planted, outcome) {
            (Planted::ReleaseSizeTrusted, Outcome::Removed { entry }) => {
                let totals = &mut self.totals[usize::from(device.0)];
                *totals.figure(class, entry.buffer_type) +=
                    entry.size_bytes - message.size_bytes.min(entry.size_bytes);
                outcome
            }
            (Planted::UncheckedCounters, Outcome::UnknownFree) => {
                let index = usize::from(device.0);
                if index >= self.totals.len() {
                    self.totals.resize(index + 1, Totals::default());
                }
                let figure = self.totals[index].figure(class, message.buffer_type);
                *figure = figure.wrapping_sub(message.size_bytes);
                Outcome::Ignored
            }
            _ => outcome,
        }
    }

    /// A process has ended; in this model each thread is one. A planted sweep takes more off the
    /// table than was its own.
    pub(crate) fn process_ended(&mut self, thread: u16) {
        let gone: SmallVec<[TableKey; 8]> = match self.planted {
            Some(Planted::SweptByPid) => self.live.keys().copied().collect(),
            Some(Planted::SweptWithOwner) => {
                let opened = |(key, record): (&TableKey, &TableRecord)| {
                    (record.entry(*key).thread == u32::from(thread)).then_some(*key)
                };
                self.live.iter().filter_map(opened).collect()
            }
            _ => return,
        };
        for key in gone {
            if let Some((key, record)) = self.live.remove_entry(&key) {
                self.discount(record.entry(key));
            }
        }
    }
}
