//! The sections of a part: head, lanes, memory, leaks, divergences, matrix, campaign. All that can
//! be read without a script stands here as text.

use maud::{Markup, PreEscaped, html};

use super::flame;
use super::html::in_script;
use super::picture::{
    CauseShown, DiagnosisShown, DivergenceRow, LeakRow, LeaksShown, MatrixCell, MatrixShown,
    PagePart, Picture,
};
use super::text::{shown, shown_whole};
use crate::numbers::{bytes_together, grouped, grouped_sum, plural};

/// Frames of a call stack that a row of the table shows at once.
const FRAMES: usize = 4;
/// Rows of the table of leaks.
const MOST_PLACES: usize = 500;

/// A part of the page.
pub(super) fn part(number: usize, part: &PagePart) -> Markup {
    html! {
        article class="part" id={ "part-" (number) } hidden[number > 0] {
            (head(number, part))
            @if let Some(matrix) = &part.matrix { (matrix_table(matrix)) }
            @if let Some(campaign) = &part.campaign { (super::campaign::section(campaign)) }
            @if let Some(picture) = &part.picture {
                (lanes(picture, !part.divergences.is_empty()))
                (memory(picture))
            }
            @if let Some(leaks) = &part.leaks { (leak_table(leaks)) }
            @if !part.divergences.is_empty() { (divergences(part)) }
            @if let Some(picture) = &part.picture {
                script type="application/json" data-is="data" { (PreEscaped(data(picture))) }
            }
        }
    }
}

/// The picture as the script reads it, its texts harmless.
fn data(picture: &Picture) -> String {
    let mut clean = picture.clone();
    for lane in &mut clean.lanes {
        lane.name = shown(&lane.name);
    }
    for text in clean
        .texts
        .iter_mut()
        .chain(&mut clean.stacks)
        .chain(&mut clean.locks)
    {
        *text = shown(text);
    }
    in_script(&clean)
}

/// What it is, without the file's name where that stands beside it.
fn what_beside_name(part: &PagePart) -> &str {
    let what = part.what.strip_suffix(part.name.as_str());
    what.and_then(|what| what.strip_suffix(", "))
        .unwrap_or(&part.what)
}

fn head(number: usize, part: &PagePart) -> Markup {
    html! {
        section class="head" {
            h2 {
                bdi { (shown(&part.name)) }
                @let what = what_beside_name(part);
                @if !what.is_empty() { ": " (shown(what)) }
            }
            div class="verdict" {
                span class={ "badge " (tone(&part.verdict)) } {
                    (mark(&part.verdict)) " " (part.verdict)
                }
                p { (shown_whole(&part.sentence)) }
            }
            @for note in &part.notes { p class="note" { (shown_whole(note)) } }
            div class="columns" {
                @let told = !part.kinds.is_empty() || part.explanation.is_some()
                    || part.diagnosis.is_some();
                div hidden[!told] {
                    @if !part.kinds.is_empty() { (kinds(part)) }
                    @if let Some(told) = &part.explanation {
                        h3 { "What went wrong" }
                        @for line in told.lines() { p { (with_jumps(line)) } }
                    }
                    @if let Some(found) = &part.diagnosis { (diagnosis(found)) }
                }
                div {
                    h3 { "What was run" }
                    dl {
                        @for (name, value) in &part.facts {
                            dt { (name) } dd { bdi { (shown(value)) } }
                        }
                    }
                    @if !part.commands.is_empty() { (commands(number, part)) }
                }
            }
            @if let Some(text) = &part.text {
                details {
                    summary { "The same as text" }
                    pre { (shown_whole(text)) }
                }
            }
        }
    }
}

fn kinds(part: &PagePart) -> Markup {
    html! {
        h3 { "What diverges" }
        table {
            tbody {
                @for kind in &part.kinds {
                    tr {
                        td class="wrong kind" { "✗ " (kind.kind) }
                        td class="number" { (grouped(kind.count)) }
                        td { (shown(&kind.says)) }
                    }
                }
            }
        }
    }
}

fn commands(number: usize, part: &PagePart) -> Markup {
    html! {
        h3 { "How to run it again" }
        @for (at, command) in part.commands.iter().enumerate() {
            div class="command" {
                code id={ "command-" (number) "-" (at) } { (shown_whole(command)) }
                button type="button" data-copy={ "command-" (number) "-" (at) } { "copy" }
            }
        }
    }
}

fn diagnosis(found: &DiagnosisShown) -> Markup {
    html! {
        h3 { "Diagnosis, by the messages alone" }
        @if found.causes.is_empty() { p { "No known cause is suspected." } }
        @for cause in &found.causes { (one_cause(cause)) }
        @for note in &found.notes { p class="soft" { (shown(note)) } }
    }
}

fn one_cause(cause: &CauseShown) -> Markup {
    let more = cause.count.saturating_sub(cause.exhibits.len() as u64);
    html! {
        div class="cause" {
            p {
                strong { (cause.name) } " (score " (format!("{:.2}", cause.score)) "): "
                (shown(&cause.says))
            }
            ul {
                @for exhibit in &cause.exhibits {
                    li {
                        @for at in &exhibit.positions {
                            button type="button" class="jump" data-jump={ "position:" (at) } {
                                (grouped(*at))
                            }
                            " "
                        }
                        (shown(&exhibit.says))
                    }
                }
                @if more > 0 { li class="soft" { "and " (grouped(more)) " more" } }
            }
        }
    }
}

fn lanes(picture: &Picture, diverges: bool) -> Markup {
    let count = picture.events.count;
    html! {
        section {
            h2 { "Lanes" }
            @if picture.left_out > 0 {
                p class="note" {
                    (grouped(u64::from(count))) " events, of which "
                    (grouped(picture.left_out)) " were aggregated: they are counted in the lanes, \
                     and have no details. The beginning, and what is around each divergence, is \
                     whole."
                }
            }
            div class="controls" {
                button type="button" data-do="in" { "+ nearer" }
                button type="button" data-do="out" { "− farther" }
                button type="button" data-do="fit" { "all" }
                @if diverges {
                    button type="button" data-do="previous" { "◀ divergence" }
                    button type="button" data-do="next" { "divergence ▶" }
                }
                button type="button" data-do="clear" { "every address" }
            }
            div class="picture" {
                canvas data-is="lanes" tabindex="0" role="img"
                    aria-label="Lanes of threads and server over time, as in the table below" {}
            }
            p class="keys" {
                kbd { "←" } " " kbd { "→" } " an event, "
                kbd { "↑" } " " kbd { "↓" } " a lane, "
                kbd { "+" } " " kbd { "−" } " " kbd { "0" } " zoom, "
                @if diverges { kbd { "n" } " " kbd { "p" } " divergences, " }
                kbd { "Enter" } " one address only, "
                kbd { "Esc" } " every address, " kbd { "/" }
                " filter; drag to move, wheel with the picture focused or Ctrl to zoom. "
                "A alloc, F free, S send, R the server takes it (an arrow from its send), L lock, "
                "U unlock, P publish, W waits (hatched); bars below: locks held."
            }
            div class="below" {
                div class="state" data-is="state" aria-live="polite" {}
                div class="steps" {
                    table class="wide" {
                        thead { tr { th { "at" } th { "who" } th { "what" } th { "diverges" } } }
                        tbody data-is="steps" {}
                    }
                }
            }
        }
    }
}

fn memory(picture: &Picture) -> Markup {
    let memory = &picture.memory;
    let both = memory.has_truth && memory.has_server;
    html! {
        section hidden[memory.spaces().is_empty()] {
            h2 { "Memory" }
            @if memory.left_out > 0 {
                p class="note" {
                    "Of the rectangles the " (grouped(memory.left_out))
                    " shortest were left out; totals have all of them."
                }
            }
            div class="controls" {
                label {
                    "memory "
                    select data-is="memory-space" {
                        @for (number, space) in memory.spaces().iter().enumerate() {
                            option value=(number) { (shown(space)) }
                        }
                    }
                }
                label hidden[!memory.has_truth] {
                    input type="checkbox" data-is="memory-live" checked;
                    span class="key live" {} "live (the allocators' truth)"
                }
                label hidden[!memory.has_server] {
                    input type="checkbox" data-is="memory-shown" checked;
                    span class="key shown" {} "shown by the server"
                }
                label hidden[!both] {
                    input type="checkbox" data-is="memory-wrong" checked;
                    span class="key missing" {} "they differ"
                    span class="key way" {} "a message is on its way"
                }
            }
            div class="picture" {
                canvas data-is="memory" tabindex="0" role="img"
                    aria-label="Addresses over time, a rectangle for each life of a buffer" {}
            }
            p class="hint" data-is="hint" { " " }
            (peaks(picture))
            div class="picture" data-is="totals" {}
        }
    }
}

fn peaks(picture: &Picture) -> Markup {
    let memory = &picture.memory;
    html! {
        div class="scroll" { table {
            thead { tr {
                th { "memory" } th class="number" { "peak, bytes" } th { "at" }
                th class="number" { "addresses in use" } th class="number" { "from first to last" }
                th class="number" { "fragmented" }
            } }
            tbody {
                @for (space, peak) in memory.peaks() {
                    tr {
                        td { (shown(space)) }
                        td class="number" { (grouped_sum(peak.bytes)) }
                        td {
                            button type="button" class="jump" data-jump={ "event:" (peak.at) } {
                                "here"
                            }
                        }
                        td class="number" { (grouped_sum(peak.used_bytes)) }
                        td class="number" { (grouped_sum(peak.span_bytes)) }
                        td class="number" { (peak.fragmented().unwrap_or_else(|| "?".to_owned())) }
                    }
                }
            }
        } }
        @if memory.peaks().any(|(_, peak)| peak.fragmented().is_none()) {
            p class="soft" {
                "What is in use overlaps, so how fragmented it is cannot be told: sizes are of all \
                 banks of a memory, and how many it has is not in the record."
            }
        }
        @if memory.wrong > 0 {
            p { (plural(memory.wrong, "difference")) " that no message on its way explains." }
        }
    }
}

fn leak_table(leaks: &LeaksShown) -> Markup {
    let title = match leaks.ended {
        true => "Leaks",
        false => "Live at the end",
    };
    let more = leaks.places.len().saturating_sub(MOST_PLACES) as u64;
    let stacks = leaks.places.iter().any(|place| !place.frames.is_empty());
    html! {
        section {
            h2 { (title) }
            p {
                (plural(leaks.buffers, "buffer")) ", " (bytes_together(leaks.bytes))
                @if leaks.ended { ", never released" }
                @else { "; the record ends before its program does, so they may be in use" }
                "."
                @if stacks { " Frames begin with the first that is the program's own." }
            }
            @if stacks { div class="scroll" { (flame::graph(&leaks.places)) } }
            div class="controls" {
                label { "filter " input type="search" data-filter="leaks"; }
                span class="soft" data-count="leaks" {}
            }
            div class="scroll long" {
                table class="wide" data-is="leaks" {
                    thead { tr {
                        th class="number" { "bytes" } th class="number" { "buffers" } th { "where" }
                        th { "from" } th { "first at" }
                    } }
                    tbody {
                        @for place in leaks.places.iter().take(MOST_PLACES) { (leak_row(place)) }
                    }
                }
            }
            @if more > 0 { p class="soft" { "and " (grouped(more)) " more" } }
        }
    }
}

fn leak_row(place: &LeakRow) -> Markup {
    let users = &place.frames[place.not_users.min(place.frames.len())..];
    html! {
        tr {
            td class="number" { (grouped_sum(place.bytes)) }
            td class="number" { (grouped(place.buffers)) }
            td { (shown(&place.place)) }
            td class="mono frames" {
                @for frame in users.iter().take(FRAMES) { div { bdi { (shown(frame)) } } }
                @if place.frames.len() > users.len().min(FRAMES) {
                    details {
                        summary { "all " (place.frames.len()) " frames" }
                        @for frame in &place.frames { div { bdi { (shown(frame)) } } }
                    }
                }
            }
            td {
                @if let Some(at) = place.position {
                    button type="button" class="jump" data-jump={ "position:" (at) } {
                        (grouped(at))
                    }
                }
            }
        }
    }
}

fn divergences(part: &PagePart) -> Markup {
    let counted: u64 = part.kinds.iter().map(|kind| kind.count).sum();
    let listed = part.divergences.len() as u64;
    html! {
        section {
            h2 { "Divergences" }
            @if counted > listed {
                p class="note" {
                    "The first " (grouped(listed)) " of " (grouped(counted)) " are listed."
                }
            }
            div class="controls" {
                label { "filter " input type="search" data-filter="divergences"; }
                span class="soft" data-count="divergences" { (grouped(listed)) " shown" }
            }
            div class="scroll long" {
                table class="wide" data-is="divergences" {
                    thead { tr {
                        th { "at" } th { "kind" } th { "memory" } th { "address" } th { "thread" }
                        th { "operation" } th { "what it means" }
                    } }
                    tbody { @for row in &part.divergences { (divergence(row)) } }
                }
            }
        }
    }
}

fn divergence(row: &DivergenceRow) -> Markup {
    let address = row.address.as_deref().unwrap_or_default();
    html! {
        tr data-divergence={ (row.kind) ": " (row.says) } data-kind=(row.kind)
            data-event=[row.event] {
            td {
                @match row.event {
                    Some(event) => {
                        button type="button" class="jump" data-jump={ "event:" (event) } {
                            (row.at)
                        }
                    }
                    None => { (row.at) }
                }
            }
            td class="wrong" { "✗ " (row.kind) }
            td { (shown(&row.space)) }
            td class="mono" { (address) }
            td { @if let Some(lane) = &row.lane { (shown(lane)) } }
            td class="number" { @if let Some(op) = row.op { (grouped(op)) } }
            td { (row.says) }
        }
    }
}

fn matrix_table(matrix: &MatrixShown) -> Markup {
    html! {
        section {
            h2 { "Matrix" }
            p class="keys" {
                "✓ proved: no schedule diverges; ✗ diverges: opens its smallest run; ? not \
                 decided; · not asked"
            }
            div class="controls" {
                label { "filter " input type="search" data-filter="matrix"; }
            }
            div class="scroll" {
                table class="matrix" data-is="matrix" {
                    thead { tr { th {} @for column in &matrix.columns { th { (shown(column)) } } } }
                    tbody {
                        @for row in &matrix.rows {
                            tr {
                                td { (shown(&row.name)) }
                                @for cell in &row.cells {
                                    @match cell {
                                        None => { td class="soft" { "·" } }
                                        Some(cell) => {
                                            (matrix_cell(cell))
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @for answer in &matrix.answers { p { (shown_whole(answer)) } }
        }
    }
}

fn matrix_cell(cell: &MatrixCell) -> Markup {
    html! {
        td class=(tone(&cell.verdict)) title=(shown(&cell.says)) {
            @match cell.opens {
                Some(part) => {
                    button type="button" data-open=(part) { (mark(&cell.verdict)) }
                }
                None => { (mark(&cell.verdict)) }
            }
        }
    }
}

/// `text` with its steps as jumps, and what is code as code.
pub(super) fn with_jumps(text: &str) -> Markup {
    html! {
        @for (number, piece) in text.split('`').enumerate() {
            @if number % 2 == 1 { code { (shown(piece)) } }
            @else { (steps_as_jumps(piece)) }
        }
    }
}

fn steps_as_jumps(text: &str) -> Markup {
    let mut pieces = Vec::new();
    let (mut after_step, mut was_step) = (false, false);
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let from = word.len() - word.trim_start_matches('(').len();
        let digits = word[from..].bytes().take_while(u8::is_ascii_digit).count();
        let is_step = after_step && digits > 0;
        let list_goes_on = is_step && word.ends_with(',') || was_step && word == "and";
        was_step = is_step;
        after_step = matches!(&word[from..], "step" | "steps") || list_goes_on;
        let step = if is_step { from..from + digits } else { 0..0 };
        pieces.push((piece, step));
    }
    html! {
        @for (piece, step) in pieces {
            @if step.is_empty() { (shown_whole(piece)) }
            @else {
                (piece[..step.start])
                button type="button" class="jump" data-jump={ "step:" (piece[step.clone()]) } {
                    (piece[step.clone()])
                }
                (piece[step.end..])
            }
        }
    }
}

/// How a verdict is marked, beside its colour.
pub(super) fn mark(verdict: &str) -> &'static str {
    match tone(verdict) {
        "good" => "✓",
        "open" => "?",
        _ => "✗",
    }
}

/// How a verdict is coloured.
pub(super) fn tone(verdict: &str) -> &'static str {
    match verdict {
        "clean" | "proved" | "passed" => "good",
        "inconclusive" => "open",
        _ => "bad",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_in_a_sentence_are_jumps() {
        let text = with_jumps("It `came` (step 18) after steps 4, 5 and 6: 7 bytes.").into_string();
        let jumps = text.matches("data-jump").count();
        assert_eq!(jumps, 4, "{text}");
        assert!(
            text.contains("step:18\"") && !text.contains("step:7\""),
            "{text}"
        );
    }
}
