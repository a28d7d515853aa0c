//! The ledger: all that was noted of a record so far, and the part of it that one address writes.

use super::address::{AddressKey, AddressLife, DeviceGeneration};
use super::clients::Clients;
use super::facts::Facts;
use super::sightings::{RecordPoint, Sighting};
use crate::oracle::Kind;

/// What was seen, and whose lives are open.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub facts: Facts,
    pub clients: Clients,
}

impl Ledger {
    /// The ledger, open for what is seen at `key`.
    pub(super) fn of_address(&mut self, key: AddressKey) -> AddressLedger<'_> {
        AddressLedger {
            key,
            facts: &mut self.facts,
            clients: &mut self.clients,
        }
    }
}

/// The ledger, open for what is seen at one address.
#[derive(Debug)]
pub(super) struct AddressLedger<'a> {
    pub key: AddressKey,
    pub facts: &'a mut Facts,
    pub clients: &'a mut Clients,
}

impl AddressLedger<'_> {
    /// What was seen at these points.
    pub(super) fn sighting(&self, points: &[RecordPoint]) -> Sighting {
        self.key.sighting(points)
    }

    /// Whether `pid` is known to have allocated this generation on the device.
    pub(super) fn has_allocated(&self, pid: i32, number: u64) -> bool {
        let device = self.key.device;
        let generation = DeviceGeneration { device, number };
        self.clients.has_allocated(pid, generation)
    }

    /// A divergence shows at `at`.
    pub(super) fn diverged(&mut self, kind: Kind, at: RecordPoint) {
        self.facts.count(kind, &self.key.sighting(&[at]));
    }

    /// A sweep took `life` at `at`, and no FREE of it came.
    pub(super) fn swept_live(&mut self, life: &AddressLife, at: RecordPoint) {
        self.facts.swept_live.add(self.key.sighting(&[life.at, at]));
        self.facts.outlive(life.at, at);
    }

    /// A FREE comes before any message that names the address.
    pub(super) fn first_free(&mut self, at: RecordPoint) {
        self.facts.see_unknown_free(self.key, None, at);
        self.facts.see_first_free(self.key, at);
    }
}
