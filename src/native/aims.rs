//! What a schedule aims at: threads that are held at one place until another was passed. The
//! runtime's part is `sampling/src/hold.rs`.

use heisenbed_runtime::protocol as wire;

use super::plan::RunPlan;

/// A place of the code, and what it is about there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CodeSite {
    /// The call, or the instruction.
    pub(crate) pc: u64,
    /// The object, or the memory; 0: any.
    pub(crate) object: u64,
}

/// Who is held where, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunAim {
    /// Where threads are held.
    pub(crate) hold: CodeSite,
    /// Until another has passed here; none: until nobody else can go on.
    pub(crate) until: Option<CodeSite>,
    /// Only the first that comes, not each.
    pub(crate) once: bool,
    /// How many are let by first.
    pub(crate) skip: u32,
}

/// The most that one schedule has.
pub(crate) const MAX_RUN_AIMS: usize = 4;

const _: () = assert!(MAX_RUN_AIMS <= wire::MAX_AIMS);

/// `struct hb_aims`, as it stands in the page.
pub(super) fn bytes(plan: &RunPlan) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(wire::AIMS_BYTES);
    let aims = &plan.aims[..plan.aims.len().min(wire::MAX_AIMS)];
    let selected = plan.selected.as_deref();
    let selected = selected.map(|objects| &objects[..objects.len().min(wire::MAX_SELECTED)]);
    let count = selected.map_or(wire::ALL_SELECTED, |objects| objects.len() as u32);
    for number in [aims.len() as u32, count] {
        bytes.extend(number.to_le_bytes());
    }
    for aim in aims {
        let until = aim.until.unwrap_or_default();
        for number in [aim.hold.pc, aim.hold.object, until.pc, until.object] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [u32::from(aim.once), aim.skip] {
            bytes.extend(number.to_le_bytes());
        }
    }
    if let Some(objects) = selected.filter(|objects| !objects.is_empty()) {
        bytes.resize(wire::AIMS_BYTES - wire::MAX_SELECTED * 8, 0);
        for object in objects {
            bytes.extend(object.to_le_bytes());
        }
    }
    bytes
}
