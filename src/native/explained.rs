//! A failing execution as people read it: what was done in which order, with source lines, who
//! waited for whom, and where the thread that failed was.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::numbers::plural;
use crate::report::page::actions::{ActionRow, LockTouch};

use super::execution::{Execution, Failure, FailureKind, VisibleAction, WaitingThread};
use super::race_text::{RaceStory, is_of_the_archive};
use super::symbols::{Place, Symbols};
use super::target::TargetSetup;

/// See the [module](self).
pub(crate) struct Explained<'a> {
    execution: &'a Execution,
    events: &'a [VisibleAction],
    symbols: &'a Symbols,
    names: BTreeMap<u32, String>,
    target: Option<&'a TargetSetup>,
}

/// The file that does a workload's operations with a target.
pub(super) const DRIVER: &str = "heisenbed_driver";

/// The rows of a long timeline: the first few; those before the end; and around the last
/// preemptions, as far before and behind each.
const FIRST_ROWS: usize = 8;
const LAST_ROWS: usize = 40;
const PREEMPTIONS: usize = 12;
const BEFORE: usize = 3;
const BEHIND: usize = 5;
/// Where operations are no more than this each has its row.
const FEW_OPS: usize = 24;
/// What the driver asks the target behind its workload: of long questions the last rows.
const ASKED_ROWS: usize = 6;

impl<'a> Explained<'a> {
    /// Of an execution whose events have stacks.
    pub(crate) fn new(
        execution: &'a Execution,
        events: &'a [VisibleAction],
        symbols: &'a Symbols,
    ) -> Self {
        let mut counts = BTreeMap::new();
        let mut names = BTreeMap::new();
        for event in events {
            let Some(object) = event.object else { continue };
            if names.contains_key(&object) {
                continue;
            }
            let name = match event.action() {
                "create" => Some(format!("thread {}", event.value)),
                // The others are created before anything is sent to them.
                "kill" => Some("thread 0".to_owned()),
                _ => symbols.variable(event.address),
            };
            let name = name.unwrap_or_else(|| {
                let kind = noun(event.action());
                let count: &mut u32 = counts.entry(kind).or_default();
                *count += 1;
                format!("{kind} {count}")
            });
            names.insert(object, name);
        }
        Explained {
            execution,
            events,
            symbols,
            names,
            target: None,
        }
    }

    /// The same of a target with which this is done.
    pub(crate) fn with_target(self, target: Option<&'a TargetSetup>) -> Self {
        Explained { target, ..self }
    }

    /// All of it, in lines of about `width` columns.
    pub(crate) fn render(&self, width: usize) -> String {
        let mut text = String::new();
        self.write_timeline(&mut text, width);
        if let Some(failure) = &self.execution.failure {
            self.write_stack(&mut text, failure);
            self.write_waits(&mut text, failure);
            self.write_race(&mut text);
            let _ = writeln!(text, "\n{}", self.paragraph(failure));
        }
        text
    }

    /// The same action by action, for pictures.
    pub(crate) fn actions(&self) -> Vec<ActionRow> {
        let failure = self.execution.failure.as_ref();
        let mut rows: Vec<ActionRow> = (self.rows().into_iter())
            .map(|(event, text)| ActionRow {
                thread: event.thread,
                touch: self.touch(event),
                text,
                preempts: event.after_preemption,
                wrong: self.wrong_at(event),
            })
            .collect();
        for wait in failure.iter().flat_map(|failure| &failure.waits) {
            let name = wait
                .object
                .and_then(|object| self.names.get(&object).cloned());
            rows.push(ActionRow {
                thread: wait.thread,
                touch: LockTouch::Waits(name.unwrap_or_else(|| "what does not come".to_owned())),
                text: self.wait(wait),
                preempts: false,
                wrong: None,
            });
        }
        if let Some(failure) = failure.filter(|_| !rows.iter().any(|row| row.wrong.is_some())) {
            let of_thread = |row: &ActionRow| Some(row.thread) == failure.thread;
            let at = rows.iter().rposition(of_thread);
            let at = at.unwrap_or(rows.len().saturating_sub(1));
            if let Some(row) = rows.get_mut(at) {
                row.wrong = Some((failure.kind.to_string(), failure.summary.clone()));
            }
        }
        rows
    }

    /// What went wrong, a line each: who waits for whom, and how it fails.
    pub(crate) fn told(&self) -> Option<String> {
        let failure = self.execution.failure.as_ref()?;
        let mut lines: Vec<String> = failure.waits.iter().map(|wait| self.wait(wait)).collect();
        lines.push(self.paragraph(failure));
        Some(lines.join("\n"))
    }

    fn touch(&self, event: &VisibleAction) -> LockTouch {
        let name = event
            .object
            .and_then(|object| self.names.get(&object).cloned());
        match (event.action(), name) {
            ("lock" | "try-lock" | "read-lock" | "write-lock" | "spin-lock", Some(name))
                if event.value == 0 =>
            {
                LockTouch::Takes(name)
            }
            ("unlock" | "rw-unlock" | "spin-unlock", Some(name)) => LockTouch::Gives(name),
            _ => LockTouch::Nothing,
        }
    }

    fn write_timeline(&self, text: &mut String, width: usize) {
        let threads = self.execution.threads.max(1) as usize;
        let columns = if threads <= 4 { threads } else { 1 };
        let room = (width.saturating_sub(6) / columns).max(24);
        let _ = write!(text, "\n      ");
        if columns > 1 {
            for thread in 0..threads {
                let _ = write!(text, "{:room$}", format!("thread {thread}"));
            }
        }
        trim_line(text);
        text.push('\n');
        let rows = self.rows();
        let shown = self.shown(&rows);
        let mut hidden = 0;
        for (number, (event, row)) in rows.iter().enumerate() {
            if !shown[number] {
                hidden += 1;
                continue;
            }
            if hidden > 0 {
                let _ = writeln!(text, "      … {} …", plural(hidden, "more action"));
                hidden = 0;
            }
            let mark = match (self.is_racing(event), event.after_preemption) {
                (true, _) => '!',
                (false, true) => '>',
                (false, false) => ' ',
            };
            let indent = if columns > 1 {
                " ".repeat(room * event.thread as usize)
            } else {
                format!("t{:<4}", event.thread)
            };
            let _ = writeln!(text, "{mark}{:>4} {indent}{row}", number + 1);
        }
        if rows.iter().any(|(event, _)| event.after_preemption) {
            let _ = writeln!(
                text,
                "\n> marks where the thread that ran before could have gone on, and did not"
            );
        }
        if rows.iter().any(|(event, _)| self.is_racing(event)) {
            let _ = writeln!(text, "! marks the two accesses that nothing orders");
        }
    }

    /// Which rows are shown: all of a few, else those that tell.
    fn shown(&self, rows: &[(&VisibleAction, String)]) -> Vec<bool> {
        let is_main = |row: &(&VisibleAction, String)| row.0.thread == 0;
        // Behind its workload a target is asked for what it holds, by the main thread.
        let workload = self
            .target
            .and_then(|_| rows.iter().rposition(|row| !is_main(row)));
        let workload = workload.map_or(rows.len(), |last| last + 1);
        let asked = rows.len() - workload;
        let end = if asked > ASKED_ROWS {
            workload
        } else {
            rows.len()
        };
        let ops = rows.iter().filter(|row| row.0.action() == "op").count();
        let mut shown: Vec<bool> = (0..rows.len())
            .map(|number| {
                let event = rows[number].0;
                number < FIRST_ROWS
                    || (number + LAST_ROWS >= end && number < end)
                    || number + ASKED_ROWS >= rows.len()
                    || (event.action() == "op" && ops <= FEW_OPS)
                    || self.is_racing(event)
                    || self.is_diverging(event)
            })
            .collect();
        let preempted = (0..rows.len())
            .rev()
            .filter(|number| rows[*number].0.after_preemption);
        for number in preempted.take(PREEMPTIONS) {
            let to = rows.len().min(number + BEHIND + 1);
            shown[number.saturating_sub(BEFORE)..to].fill(true);
        }
        // A line that stands for one is no shorter.
        for number in 1..rows.len().saturating_sub(1) {
            shown[number] |= shown[number - 1] && shown[number + 1];
        }
        shown
    }

    /// The actions worth a row. What a thread does when it begins and ends is one.
    fn rows(&self) -> Vec<(&VisibleAction, String)> {
        self.events
            .iter()
            .filter(|event| match event.action() {
                "yield" => event.after_preemption,
                // What the driver itself does about slots is nobody's business, but where it waits.
                "publish" => false,
                "await" => event.thread != 0,
                // Marks say where operations are, and do nothing.
                "mark" => false,
                _ => true,
            })
            .map(|event| (event, self.row(event)))
            .collect()
    }

    fn row(&self, event: &VisibleAction) -> String {
        let what = match event.action() {
            "track" | "take" | "truth" => {
                return format!("{}  {}", self.tracked(event), self.caller_of(event));
            }
            "start" => {
                let place = self.symbols.place(event.pc);
                return match place.is_own {
                    true => format!("starts: {place}"),
                    false => "starts".to_owned(),
                };
            }
            "end" => return "ends".to_owned(),
            "create" => return format!("creates thread {}{}", event.value, self.at(event)),
            "kill" => {
                let whom = event.object.and_then(|object| self.names.get(&object));
                let whom = whom.map_or("a thread", String::as_str);
                format!("sends signal {} to {whom}", event.value)
            }
            "handler" => {
                let handler = self.symbols.place(event.pc);
                return format!("handles signal {}: {handler}", event.value);
            }
            "op" => return format!("{}:", self.op(event)),
            "await" => return "sees that another thread has done its part".to_owned(),
            action @ ("read" | "write" | "atomic-load" | "atomic-store" | "atomic-update") => {
                let name = self.symbols.variable(event.address);
                let name = name.unwrap_or_else(|| format!("{:#x}", event.address));
                format!("{action} {name}")
            }
            action => match event.object.and_then(|object| self.names.get(&object)) {
                Some(name) => format!("{action} {name}"),
                None => action.to_owned(),
            },
        };
        let refused = match event.action() {
            "lock" | "try-lock" | "read-lock" | "write-lock" | "sem-wait" | "wake" | "join"
                if event.value != 0 =>
            {
                " (refused)"
            }
            _ => "",
        };
        format!("{what}{refused}{}", self.at(event))
    }

    /// Where, unless that is heisenbed's own driver.
    fn at(&self, event: &VisibleAction) -> String {
        let place = self.place_of(event);
        match self.target.is_some() && place.module.starts_with(DRIVER) {
            true => String::new(),
            false => format!("  {place}"),
        }
    }

    /// The operation that a thread of a target's workload begins.
    fn op(&self, event: &VisibleAction) -> String {
        let ops = self
            .target
            .and_then(|target| target.ops.get((event.thread as usize).checked_sub(1)?));
        let op = ops.and_then(|ops| ops.get(event.value as usize));
        op.map_or_else(|| format!("operation {}", event.value), ToString::to_string)
    }

    /// A message, or what the allocator says: the event has the number of its record.
    fn tracked(&self, event: &VisibleAction) -> String {
        let found = self.execution.tracked.as_ref();
        let words = found.and_then(|found| found.words.get(event.value as usize));
        let words = words.filter(|words| !words.is_empty());
        match (event.action(), words) {
            ("take", Some(words)) => format!("server takes {words}"),
            (_, Some(words)) => words.clone(),
            (action, None) => action.to_owned(),
        }
    }

    /// Where the program itself did it: the innermost of its own functions.
    fn place_of(&self, event: &VisibleAction) -> Place {
        self.own_place(&event.stack, event.pc)
    }

    /// The same, of a call of heisenbed's header.
    fn caller_of(&self, event: &VisibleAction) -> Place {
        let is_header = |place: &Place| {
            let function = place.function.as_deref();
            function.is_some_and(|name| name.starts_with("hb_truth_"))
        };
        let frames = event.stack.iter();
        frames
            .flat_map(|pc| self.symbols.places(*pc))
            .find(|place| place.is_own && !is_header(place))
            .unwrap_or_else(|| self.place_of(event))
    }

    fn own_place(&self, stack: &[u64], pc: u64) -> Place {
        stack
            .iter()
            .map(|pc| self.symbols.place(*pc))
            .find(|place| place.is_own && !is_of_the_archive(place))
            .unwrap_or_else(|| self.symbols.place(pc.saturating_sub(1)))
    }

    /// Whether it is one of the two accesses of the race that is the failure.
    fn is_racing(&self, event: &VisibleAction) -> bool {
        let watched = self.execution.seen_races().watched;
        self.execution.race.is_some()
            && watched.iter().flatten().any(|number| {
                self.events
                    .get(*number)
                    .is_some_and(|one| std::ptr::eq(one, event))
            })
    }

    /// Whether a message, or what the allocator says, is the first that shows a divergence.
    fn is_diverging(&self, event: &VisibleAction) -> bool {
        let found = self.execution.tracked.as_ref();
        let first = found.and_then(|found| found.first_event);
        matches!(event.action(), "track" | "take" | "truth") && first == Some(event.value as usize)
    }

    /// What is wrong at an event that shows it by itself.
    fn wrong_at(&self, event: &VisibleAction) -> Option<(String, String)> {
        if self.is_racing(event) {
            return Some((
                "data-race".to_owned(),
                "nothing orders this access".to_owned(),
            ));
        }
        let failure = self.execution.failure.as_ref();
        let failure = failure.filter(|_| self.is_diverging(event))?;
        Some((failure.kind.to_string(), failure.summary.clone()))
    }

    fn write_race(&self, text: &mut String) {
        if let Some(accused) = &self.execution.race {
            let story = RaceStory {
                execution: self.execution,
                events: self.events,
                symbols: self.symbols,
                names: &self.names,
            };
            story.write(text, accused);
        }
    }

    fn write_stack(&self, text: &mut String, failure: &Failure) {
        if failure.stack.is_empty() {
            return;
        }
        let thread = failure
            .thread
            .map_or_else(String::new, |thread| format!(" of thread {thread}"));
        let _ = writeln!(text, "\nStack{thread}, innermost first:");
        let places: Vec<Place> = failure
            .stack
            .iter()
            .map(|pc| self.symbols.place(*pc))
            .collect();
        // What abort() and the handlers of signals do inside is nobody's business.
        let first = places.iter().position(|place| place.is_own).unwrap_or(0);
        let last = places.iter().rposition(|place| place.is_own);
        let last = last.unwrap_or(places.len().saturating_sub(1));
        for place in &places[first..=last.min(first + 11).max(first).min(places.len() - 1)] {
            let _ = writeln!(text, "  {place}");
        }
    }

    fn write_waits(&self, text: &mut String, failure: &Failure) {
        if failure.kind != FailureKind::DEADLOCK && failure.kind != FailureKind::LockMisuse {
            return;
        }
        let _ = writeln!(text);
        for wait in &failure.waits {
            let _ = writeln!(text, "  {}", self.wait(wait));
        }
    }

    fn wait(&self, wait: &WaitingThread) -> String {
        let name = wait
            .object
            .and_then(|object| self.names.get(&object).cloned())
            .or_else(|| self.symbols.variable(wait.address));
        let what = match (wait.action(), name) {
            ("wake", Some(name)) => format!("waits for a signal of {name}"),
            ("join", _) => match wait.holder {
                Some(thread) => format!("waits for thread {thread} to end"),
                None => "waits for a thread to end".to_owned(),
            },
            ("unlock" | "rw-unlock" | "destroy", Some(name)) => {
                format!("is at the {} of {name}", wait.action())
            }
            ("pause", _) => "waits for a signal that it handles".to_owned(),
            (action, Some(name)) => format!("waits for {name} ({action})"),
            (action, None) => format!("waits ({action})"),
        };
        let holder = match wait.holder {
            Some(holder) if holder == wait.thread => ", which it holds itself".to_owned(),
            Some(holder) if wait.action() != "join" => {
                let since = self.last_taken(holder, wait.object);
                format!(", which thread {holder} holds{since}")
            }
            _ => String::new(),
        };
        let place = self.own_place(&wait.stack, wait.pc);
        format!("thread {} {what}{holder}  {place}", wait.thread)
    }

    /// Where the holder took it.
    fn last_taken(&self, holder: u32, object: Option<u32>) -> String {
        let taken = self.events.iter().rfind(|event| {
            event.thread == holder
                && event.object == object
                && object.is_some()
                && event.value == 0
                && matches!(
                    event.action(),
                    "lock" | "try-lock" | "write-lock" | "spin-lock"
                )
        });
        taken.map_or_else(String::new, |event| {
            format!(", taken at {}", self.place_of(event))
        })
    }

    fn paragraph(&self, failure: &Failure) -> String {
        let preemptions = self.execution.preempted.len() as u64;
        let how = match preemptions {
            0 => "without any preemption: whoever runs goes on until it waits or ends".to_owned(),
            _ => format!("with {}", plural(preemptions, "preemption")),
        };
        format!(
            "It fails ({}: {}) {how}, in {} of {}.",
            failure.kind,
            failure.summary,
            plural(self.execution.step_count, "step"),
            plural(self.execution.threads.into(), "thread"),
        )
    }
}

/// What kind of object an action is on.
fn noun(action: &str) -> &'static str {
    match action {
        "lock" | "try-lock" | "unlock" | "destroy" => "mutex",
        "read-lock" | "write-lock" | "rw-unlock" => "rwlock",
        "wait" | "wake" | "signal" | "broadcast" => "condition",
        "sem-wait" | "sem-post" => "semaphore",
        "barrier" | "barrier-leave" => "barrier",
        "spin-lock" | "spin-unlock" => "spin lock",
        "once" | "once-done" => "once",
        "futex-wait" | "futex-wake" => "futex",
        "send" | "receive" | "connect" | "accept" | "track" => "descriptor",
        "create" | "start" | "end" | "join" | "detach" | "cancel" => "thread object",
        _ => "object",
    }
}

fn trim_line(text: &mut String) {
    while text.ends_with(' ') {
        text.pop();
    }
}
