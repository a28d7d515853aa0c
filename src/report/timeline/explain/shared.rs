//! Cells and ledgers: which write was lost, who took whose slot, who read what was gone.

use crate::lifecycle::shared::CellRole;
use crate::numbers::grouped;
use crate::oracle::{Kind, buffer_words};
use crate::scenario::cells::CellId;
use crate::trace::event::Event;
use crate::trace::shared_event::{CellAccess, LedgerAction, SharedEvent};

use super::super::history::{RunHistory, RunStep, StepNumber};
use super::super::shared_labels::{access_of, number};
use super::symptom::{Explanation, Symptom};

/// A counter that is not what it counts.
pub(super) fn drifted(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let lost = lost_writes(history);
    let mut text = format!("At rest: {}.", symptom.mark.divergence.kind.explain());
    if let Some(lost) = lost.first() {
        let cell = history.cell_name(lost.cell);
        text.push_str(&format!(
            " t{} loaded {cell} at step {} and stored it at step {}; what t{} had put there at \
             step {} in between is lost.",
            lost.thread, lost.loaded, lost.stored, lost.other, lost.between
        ));
    }
    if lost.is_empty()
        && let Some(over) = blind_store(history)
    {
        text.push_str(&over);
    }
    let live = history
        .buffers
        .iter()
        .filter(|buffer| buffer.ended.is_none());
    let bytes: Vec<u64> = live.map(|buffer| buffer.handle.size_bytes).collect();
    text.push_str(&format!(
        " {} live, {} B in all; {}.",
        match bytes.len() {
            1 => "1 buffer is".to_owned(),
            more => format!("{more} buffers are"),
        },
        grouped(bytes.iter().sum()),
        counters(history)
    ));
    let gap = lost.first().map(|lost| {
        format!(
            "between the load and the store of {}, which are two steps",
            history.cell_name(lost.cell)
        )
    });
    Some(Explanation::new(text).with_gap(gap))
}

/// A step on a cell that diverges by itself.
pub(super) fn at_a_cell(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let step = history.step(symptom.step()?);
    let Event::Shared(SharedEvent::Cell {
        cell,
        access,
        found,
        ..
    }) = step.event
    else {
        return None;
    };
    let name = history.cell_name(cell);
    let left = access.leaves(found);
    let before = last_writer(history, cell, step.number);
    let whose = match before {
        Some(writer) => format!(
            ", which t{} had written at step {}",
            writer.stream, writer.number
        ),
        None => String::new(),
    };
    let who = step.stream;
    let at = step.number;
    let kind = symptom.mark.divergence.kind;
    let text = match kind {
        Kind::Underflow => format!(
            "At step {at} t{who} leaves {} in {name}, where {} was{whose}: it went below nothing.",
            number(left),
            number(found)
        ),
        Kind::Overrun => format!(
            "At step {at} t{who} leaves {} in {name}, which is more than is allowed.",
            number(left)
        ),
        Kind::SlotConflict => format!(
            "At step {at} t{who} writes {} into {name}, where {} was{whose}.",
            number(left),
            number(found)
        ),
        Kind::LostRegion => format!(
            "At step {at} t{who} writes {name} while another process has joined the region."
        ),
        Kind::LateMessage => format!(
            "At step {at} t{who} tells the tracker of {name}, where 0 was{whose}: it is not there."
        ),
        _ => return None,
    };
    let gap = stale_load(history, cell, step).map(|loaded| {
        format!("between the load at step {loaded} and what was done about it at step {at}")
    });
    Some(Explanation::new(text).with_gap(gap))
}

/// A step on a ledger that diverges, or what one shows at rest.
pub(super) fn at_a_ledger(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let divergence = &symptom.mark.divergence;
    let Some(step) = symptom.step() else {
        return at_rest(symptom);
    };
    let step = history.step(step);
    let Event::Shared(SharedEvent::Ledger {
        ledger,
        action,
        found,
        ..
    }) = step.event
    else {
        return None;
    };
    let place = history.place(divergence.device, divergence.memory, divergence.address?);
    let name = history.cell_name(ledger);
    let (at, who) = (step.number, step.stream);
    let words = buffer_words(found);
    let text = match (action, found) {
        (LedgerAction::Insert, _) => format!(
            "At step {at} t{who} enters {place} into {name}, and {words} is still entered there: \
             the new buffer is not."
        ),
        (_, 0) => format!("At step {at} t{who} erases {place} from {name}, and nothing is there."),
        _ => format!(
            "At step {at} t{who} erases {place} from {name}, and takes {words} out, which is \
             another buffer."
        ),
    };
    // Its entry was taken out, and is there all the same: a write was lost.
    let erased = history.steps[..at - 1].iter().rev().find(|before| {
        found != 0
            && matches!(
                before.event,
                Event::Shared(SharedEvent::Ledger {
                    ledger: other,
                    action: LedgerAction::Erase,
                    found: taken,
                    ..
                }) if other == ledger && taken == found
            )
    });
    if let Some(erased) = erased {
        let gap = format!(
            "t{} erased {words} at step {}, and a write into what had been looked up before that \
             put it back",
            erased.stream, erased.number
        );
        return Some(Explanation::new(text).with_gap(Some(gap)));
    }
    // Of the buffer whose entry it met: whether its address was given back before.
    let mut ended = (history.buffers.iter())
        .filter(|buffer| Some(buffer.handle.address) == divergence.address)
        .filter_map(|buffer| buffer.ended)
        .filter(|end| end.step < at);
    let gap = ended.next_back().map(|end| {
        format!(
            "t{} gave {place} back at step {}, and its entry was not erased before that",
            end.thread, end.step
        )
    });
    Some(Explanation::new(text).with_gap(gap))
}

/// What a ledger shows at rest, where all tracking is the program's own.
fn at_rest(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let divergence = &symptom.mark.divergence;
    if history.tells_server {
        return None;
    }
    let place = history.place(divergence.device, divergence.memory, divergence.address?);
    let what = match divergence.kind {
        Kind::MissingLive => "is live and entered in no ledger that should have it",
        Kind::PhantomLive => "is entered, and nothing is live there",
        Kind::StaleMetadata => "is entered for a buffer that is gone, and another is live there",
        _ => return None,
    };
    Some(Explanation::new(format!("At rest {place} {what}.")))
}

/// A buffer that was used when it was gone.
pub(super) fn used(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let step = history.step(symptom.step()?);
    let Event::Shared(SharedEvent::Use { buffer, .. }) = step.event else {
        return None;
    };
    let mut ended = (history.buffers.iter())
        .filter(|known| Some(known.handle.address) == symptom.mark.divergence.address)
        .filter_map(|known| known.ended);
    let how = match ended.next_back() {
        Some(end) => format!("t{} had released it at step {}", end.thread, end.step),
        None => "nothing is known of its life".to_owned(),
    };
    let text = format!(
        "At step {} t{} uses {}: {how}.",
        step.number,
        step.stream,
        buffer_words(buffer)
    );
    let gap = "between the look-up and the use nothing keeps the buffer".to_owned();
    Some(Explanation::new(text).with_gap(Some(gap)))
}

/// A write that another thread's later store undid.
struct LostWrite {
    cell: CellId,
    thread: u16,
    loaded: StepNumber,
    stored: StepNumber,
    other: u16,
    between: StepNumber,
}

fn lost_writes(history: &RunHistory) -> Vec<LostWrite> {
    let mut lost = Vec::new();
    for step in &history.steps {
        let Some((cell, CellAccess::Store(_), _)) = access_of(step) else {
            continue;
        };
        let Some(loaded) = stale_load(history, cell, step) else {
            continue;
        };
        let between = writes(history, cell).find(|write| {
            write.stream != step.stream && (loaded..step.number).contains(&write.number)
        });
        lost.extend(between.map(|write| LostWrite {
            cell,
            thread: step.stream,
            loaded,
            stored: step.number,
            other: write.stream,
            between: write.number,
        }));
    }
    lost
}

/// A store into a counter over what another thread had put there, without a look at it.
fn blind_store(history: &RunHistory) -> Option<String> {
    let counts = |cell: CellId| {
        let row = history.cells.row_of(cell);
        row.and_then(|row| row.spec.role)
            .is_some_and(CellRole::counts)
    };
    history.steps.iter().rev().find_map(|step| {
        let (cell, CellAccess::Store(value), found) = access_of(step)? else {
            return None;
        };
        let before = last_writer(history, cell, step.number)?;
        let is_over = counts(cell) && before.stream != step.stream && found != value;
        is_over.then(|| {
            format!(
                " At step {} t{} stores {} into {}, over what t{} had put there at step {}.",
                step.number,
                step.stream,
                number(value),
                history.cell_name(cell),
                before.stream,
                before.number
            )
        })
    })
}

/// The last load of the cell by the thread of `step`, where others have written since, and the
/// thread itself has not: what it wrote then was done about that load.
fn stale_load(history: &RunHistory, cell: CellId, step: &RunStep) -> Option<StepNumber> {
    let before = history.steps[..step.number - 1].iter().rev();
    let mut own = before
        .filter(|before| before.stream == step.stream)
        .filter_map(|before| Some((before, access_of(before)?)))
        .filter(|(_, (at, ..))| *at == cell);
    let (loaded, (_, access, found)) = own.next()?;
    let has_looked = match access {
        CellAccess::Load => true,
        // One that was lost, and says what is there.
        CellAccess::Swap { .. } => !access.writes(found),
        _ => false,
    };
    if !has_looked {
        return None;
    }
    let mut between = writes(history, cell);
    between
        .any(|write| {
            write.stream != step.stream && (loaded.number..step.number).contains(&write.number)
        })
        .then_some(loaded.number)
}

fn last_writer(history: &RunHistory, cell: CellId, before: StepNumber) -> Option<&RunStep> {
    writes(history, cell)
        .take_while(|write| write.number < before)
        .last()
}

fn writes(history: &RunHistory, cell: CellId) -> impl Iterator<Item = &RunStep> {
    history.steps.iter().filter(move |step| {
        access_of(step).is_some_and(|(at, access, found)| at == cell && access.writes(found))
    })
}

/// What each counter shows at the end.
fn counters(history: &RunHistory) -> String {
    let shown = history.counters();
    match shown.is_empty() {
        true => "no counter was ever touched".to_owned(),
        false => super::super::labels::list(&shown),
    }
}
