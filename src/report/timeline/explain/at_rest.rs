//! Where things stand at the end: what the server shows, and what is live.

use crate::device::{DeviceId, Memory};
use crate::numbers::{grouped, plural};
use crate::oracle::Kind;

use super::super::history::{BufferHistory, RunHistory, ShownEntry};
use super::super::labels::list;

/// Places whose end is described; more are counted.
const MAX_PLACES: usize = 3;

/// What to say where nothing diverged.
pub(super) fn without_divergence(history: &RunHistory) -> String {
    if !history.completed {
        return "The run was cut off here: what the server shows at rest was not compared."
            .to_owned();
    }
    if !history.tells_server {
        return "Each step found what it was about, and at rest every counter and every ledger is \
                what it must be."
            .to_owned();
    }
    if !history.reconstructs {
        return "The messages came over several connections and nobody recorded in which order the \
                server took them: only the allocators' side was checked."
            .to_owned();
    }
    let live: Vec<u64> = history
        .buffers
        .iter()
        .filter(|buffer| buffer.ended.is_none())
        .map(|buffer| buffer.handle.size_bytes)
        .collect();
    match live.len() {
        0 => "Each message found what it was about, and at rest nothing is live and nothing is \
              shown."
            .to_owned(),
        count => format!(
            "Each message found what it was about, and at rest the server shows just what is live: \
             {} ({} B), never released. That is a leak of the program's own, and no divergence.",
            plural(count as u64, "buffer"),
            grouped(live.iter().sum::<u64>())
        ),
    }
}

/// A sentence for each place that diverged.
pub(super) fn at_rest(history: &RunHistory) -> Vec<String> {
    if !history.reconstructs || !history.tells_server {
        return Vec::new();
    }
    let mut places: Vec<(DeviceId, u64)> = Vec::new();
    for mark in &history.marks {
        let divergence = &mark.divergence;
        // These say nothing of the server's table.
        let of_table = !matches!(
            divergence.kind,
            Kind::Deadlock | Kind::LockOutOfBounds | Kind::UseAfterRelease
        );
        if let Some(address) = divergence.address.filter(|_| of_table)
            && !places.contains(&(divergence.device, address))
        {
            places.push((divergence.device, address));
        }
    }
    let mut sentences: Vec<String> = places
        .iter()
        .take(MAX_PLACES)
        .map(|(device, address)| at_place(history, *device, *address))
        .collect();
    if places.len() > MAX_PLACES {
        let more = places.len() - MAX_PLACES;
        sentences.push(format!("{more} more addresses diverged."));
    }
    sentences
}

fn at_place(history: &RunHistory, device: DeviceId, address: u64) -> String {
    let place = history.place(device, None, address);
    let shown: Vec<&ShownEntry> = history
        .shown
        .iter()
        .filter(|shown| (shown.device, shown.address) == (device, address))
        .collect();
    let live: Vec<usize> = (0..history.buffers.len())
        .filter(|id| {
            let BufferHistory { handle, ended, .. } = &history.buffers[*id];
            ended.is_none() && (handle.device, handle.address) == (device, address)
        })
        .collect();
    let when = if history.completed {
        "At rest"
    } else {
        "Where the run ends,"
    };
    let right = shown.len() == live.len()
        && shown.iter().zip(&live).all(|(shown, id)| {
            let handle = history.buffers[*id].handle;
            shown.buffer == Some(*id)
                && shown.size_bytes == handle.size_bytes
                && shown.memory == handle.memory
        });
    if right && live.is_empty() {
        return format!("{when} nothing is shown and nothing is live at {place} any more.");
    }
    if right {
        return format!("{when} the server shows just what is live at {place}.");
    }
    let shows = shows(history, &shown);
    let is_live = is_live(history, &live);
    format!("{when} the server shows {shows} at {place}; {is_live}.")
}

/// `4,096 B of t0`; `nothing`.
fn shows(history: &RunHistory, shown: &[&ShownEntry]) -> String {
    let entry = |shown: &&ShownEntry| {
        let owner = shown
            .buffer
            .map(|buffer| format!(" of t{}", history.buffers[buffer].thread));
        format!(
            "{} B{}{}",
            grouped(shown.size_bytes),
            in_memory(history, shown.memory),
            owner.unwrap_or_default()
        )
    };
    match shown {
        [] => "nothing".to_owned(),
        shown => list(&shown.iter().map(entry).collect::<Vec<_>>()),
    }
}

/// `t0's buffer of 4,096 B is live there`.
fn is_live(history: &RunHistory, live: &[usize]) -> String {
    let buffer = |id: &usize| {
        let buffer = &history.buffers[*id];
        let memory = in_memory(history, buffer.handle.memory);
        format!(
            "t{}'s{memory} buffer of {} B",
            buffer.thread,
            grouped(buffer.handle.size_bytes)
        )
    };
    let buffers: Vec<String> = live.iter().map(buffer).collect();
    match buffers.as_slice() {
        [] => "nothing is live there".to_owned(),
        [one] => format!("{one} is live there"),
        several => format!("{} are live there", list(several)),
    }
}

/// The memory, where it takes that to distinguish places.
fn in_memory(history: &RunHistory, memory: Memory) -> String {
    match history.mixes_memories {
        true => format!(" {}", memory.name()),
        false => String::new(),
    }
}
