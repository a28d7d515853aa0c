//! The paragraph under the table: what the server believes, what is true, and which gap did it.
//!
//! It begins with the first divergence: how it came about ([`divergence`]), what else followed,
//! where things stand at the end, and the gap. Every clause is read off the steps of the buffers
//! concerned; where they fit no known pattern, only what the oracle found is said.

mod divergence;
mod entry;
mod explanation;
mod locks;
mod release;
mod wire;

use std::collections::BTreeSet;

use crate::device::{DeviceId, Memory};
use crate::oracle::Kind;

use super::history::{History, Mark, ShownEntry, StepNumber};
use super::labels::list;

/// The paragraph is set to this width.
const TEXT_WIDTH: usize = 100;

/// Steps that the headline names of a kind; more are counted.
const NAMED: usize = 6;

/// Places whose end is told.
const PLACES: usize = 3;

/// The headline and the paragraph.
pub(super) fn explain(history: &History) -> String {
    let mut text = wrapped(&headline(history));
    text.push_str(&wrapped(&paragraph(history)));
    text
}

/// Which divergences there are, and where they show.
fn headline(history: &History) -> String {
    if history.marks.is_empty() {
        return if history.completed {
            "No divergence.".to_owned()
        } else {
            "No divergence up to here.".to_owned()
        };
    }
    let mut kinds: Vec<Kind> = Vec::new();
    for mark in &history.marks {
        if !kinds.contains(&mark.divergence.kind) {
            kinds.push(mark.divergence.kind);
        }
    }
    let named: Vec<String> = kinds
        .into_iter()
        .map(|kind| format!("{kind} ({})", places_in_time(history, kind)))
        .collect();
    format!("✗ {}", list(&named))
}

/// Where divergences of a kind show: `step 18`, `steps 2, 11 and 13`, `step 13 and at rest`.
fn places_in_time(history: &History, kind: Kind) -> String {
    let marks: Vec<Option<StepNumber>> = history
        .marks
        .iter()
        .filter(|mark| mark.divergence.kind == kind)
        .map(|mark| mark.step)
        .collect();
    let steps: Vec<StepNumber> = marks.iter().copied().flatten().collect();
    let mut places: Vec<String> = steps.iter().take(NAMED).map(ToString::to_string).collect();
    if steps.len() > NAMED {
        places.push(format!("{} more", steps.len() - NAMED));
    }
    let mut words = match steps.len() {
        0 => String::new(),
        1 => format!("step {}", list(&places)),
        _ => format!("steps {}", list(&places)),
    };
    if marks.len() > steps.len() {
        words.push_str(if steps.is_empty() {
            "at rest"
        } else {
            " and at rest"
        });
    }
    words
}

fn paragraph(history: &History) -> String {
    if let Some(why) = &history.contradiction {
        return format!("The events contradict themselves, so nothing of this is sure: {why}.");
    }
    let Some(first) = history.marks.first() else {
        return calm(history);
    };
    let cause = divergence::of(history, first);
    let mut sentences = vec![cause.text];
    let mut explained = BTreeSet::from([first.divergence.kind]);
    for mark in &history.marks {
        if explained.insert(mark.divergence.kind) {
            sentences.extend(divergence::follows(history, mark));
        }
    }
    sentences.extend(ending(history));
    sentences.extend(cause.gap.map(|gap| format!("The gap: {gap}.")));
    sentences.join(" ")
}

/// What to say where nothing diverged.
fn calm(history: &History) -> String {
    if !history.completed {
        return "The run was cut off here: what the server shows at rest was not compared."
            .to_owned();
    }
    if !history.reconstructs {
        return "The messages came over several connections and nobody recorded in which order the server took them: \
                only the allocators' side was checked."
            .to_owned();
    }
    let live: Vec<u64> = history
        .lives
        .iter()
        .filter(|life| life.ended.is_none())
        .map(|life| life.handle.size_bytes)
        .collect();
    match live.len() {
        0 => "Each message found what it was about, and at rest nothing is live and nothing is shown.".to_owned(),
        count => format!(
            "Each message found what it was about, and at rest the server shows just what is live: {count} {} ({} B), \
             never released. That is a leak of the program's own, and no divergence.",
            if count == 1 { "buffer" } else { "buffers" },
            live.iter().sum::<u64>()
        ),
    }
}

/// Where things stand at the end, at each place that diverged.
fn ending(history: &History) -> Vec<String> {
    if !history.reconstructs {
        return Vec::new();
    }
    let mut places: Vec<(DeviceId, u64)> = Vec::new();
    for mark in &history.marks {
        let Mark { divergence, .. } = mark;
        // These say nothing of the server's table.
        let of_table = !matches!(divergence.kind, Kind::Deadlock | Kind::LockOutOfBounds);
        if let Some(address) = divergence.address.filter(|_| of_table)
            && !places.contains(&(divergence.device, address))
        {
            places.push((divergence.device, address));
        }
    }
    let mut sentences: Vec<String> = places
        .iter()
        .take(PLACES)
        .map(|(device, address)| ending_at(history, *device, *address))
        .collect();
    if places.len() > PLACES {
        sentences.push(format!(
            "{} more addresses diverged.",
            places.len() - PLACES
        ));
    }
    sentences
}

fn ending_at(history: &History, device: DeviceId, address: u64) -> String {
    let place = history.place(device, None, address);
    let shown: Vec<&ShownEntry> = history
        .shown
        .iter()
        .filter(|shown| (shown.device, shown.address) == (device, address))
        .collect();
    let live: Vec<usize> = (0..history.lives.len())
        .filter(|id| {
            let life = &history.lives[*id];
            life.ended.is_none() && (life.handle.device, life.handle.address) == (device, address)
        })
        .collect();
    let when = if history.completed {
        "At rest"
    } else {
        "Where the run ends,"
    };
    let right = shown.len() == live.len()
        && shown.iter().zip(&live).all(|(shown, id)| {
            shown.life == Some(*id)
                && shown.size_bytes == history.lives[*id].handle.size_bytes
                && shown.memory == history.lives[*id].handle.memory
        });
    if right && live.is_empty() {
        return format!("{when} nothing is shown and nothing is live at {place} any more.");
    }
    if right {
        return format!("{when} the server shows just what is live at {place}.");
    }
    let in_memory = |memory: Memory| match history.mixes_memories {
        true => format!(" {}", memory.name()),
        false => String::new(),
    };
    let entries: Vec<String> = shown
        .iter()
        .map(|shown| {
            let owner = shown
                .life
                .map(|life| format!(" of t{}", history.lives[life].thread));
            format!(
                "{} B{}{}",
                shown.size_bytes,
                in_memory(shown.memory),
                owner.unwrap_or_default()
            )
        })
        .collect();
    let buffers: Vec<String> = live
        .iter()
        .map(|id| {
            let life = &history.lives[*id];
            let memory = in_memory(life.handle.memory);
            format!(
                "t{}'s{memory} buffer of {} B",
                life.thread, life.handle.size_bytes
            )
        })
        .collect();
    let shows = match entries.as_slice() {
        [] => "nothing".to_owned(),
        entries => list(entries),
    };
    let is_live = match buffers.as_slice() {
        [] => "nothing is live there".to_owned(),
        [one] => format!("{one} is live there"),
        several => format!("{} are live there", list(several)),
    };
    format!("{when} the server shows {shows} at {place}; {is_live}.")
}

/// `text` in lines of at most [`TEXT_WIDTH`] characters.
fn wrapped(text: &str) -> String {
    let mut set = String::new();
    let mut line_width = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if line_width > 0 && line_width + 1 + width > TEXT_WIDTH {
            set.push('\n');
            line_width = 0;
        } else if line_width > 0 {
            set.push(' ');
            line_width += 1;
        }
        set.push_str(word);
        line_width += width;
    }
    set.push('\n');
    set
}
