//! Lock out of bounds: a table of locks was indexed by a device that it has no lock for.

use crate::device::BufferKind;
use crate::trace::event::Event;

use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let step = history.step(symptom.step()?);
    let Event::LockOutOfBounds { device } = step.event else {
        return None;
    };
    let table = history.objects.table;
    let what = match step.request.map(|request| request.kind) {
        Some(BufferKind::Mesh) => format!("part {} of a mesh buffer", step.position.part),
        _ => "a buffer".to_owned(),
    };
    let text = format!(
        "At step {} t{} locks for {what} on device {device}, and the lock table ends at \
         lifecycle[{}]: there is no such lock, and t{} goes on without one.",
        step.number,
        step.stream,
        table.saturating_sub(1),
        step.stream
    );
    let gap = format!(
        "buffers of device {device} have no lifecycle lock at all (in the runtime, this reads \
         memory beyond the table)"
    );
    Some(Explanation::new(text).with_gap(Some(gap)))
}
