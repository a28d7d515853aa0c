//! The ledger: what a reading of a record adds up to, and whose lives it is about.

use super::clients::Clients;
use super::facts::Facts;

/// Counts and sightings, with the client processes beside them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub facts: Facts,
    pub clients: Clients,
}
