//! `heisenbed replay --to`: the messages of a trace, played to any server.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::ReplayArgs;
use crate::cli::outcome::{CommandOutcome, Context, Format};
use crate::cli::progress::Progress;
use crate::cli::verdict::VerdictSummary;
use crate::device::{DeviceId, Memory};
use crate::numbers::{grouped, plural};
use crate::observe::{self, Seen};
use crate::oracle::{Divergence, Kind, Strength, Verdict};
use crate::playback::{Figure, PlaybackError, Played, Player, compare};
use crate::registry::Semantics;
use crate::trace::file::{Header, TraceFile};
use crate::tracking::Layout;
use crate::tracking::wire::has_more_totals;

/// Figures that the text output lists.
const SHOWN: usize = 20;

/// Runs the subcommand: exit 0 when every total is as expected, 1 when one is not or the server
/// fails, 2 on bad input or where nobody listens.
pub(super) fn run(args: &ReplayArgs, path: &Path, context: &Context) -> CommandOutcome {
    if super::is_text(&args.file) {
        return CommandOutcome::bad_input(
            format!(
                "{}: a reproducer has no recorded messages: record a run with `heisenbed stress --record`",
                args.file.display()
            ),
            context.format,
        );
    }
    let trace = match super::super::opened::open(&args.file) {
        Ok(trace) => trace,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    context.catch_interrupts();
    let (layout, semantics) = choose(args, trace.header());
    let started = Instant::now();
    match play(args, path, &trace, layout, semantics, context) {
        Ok((seen, played)) => PlaybackReport {
            args,
            path,
            trace: &trace,
            layout,
            semantics,
            interrupted: context.interrupt.load(Ordering::Relaxed),
            elapsed_s: started.elapsed().as_secs_f64(),
            truth: seen.truth.is_some() && args.semantics.is_none(),
            different: {
                let truth = seen.truth.as_deref();
                compare(&played, truth.filter(|_| args.semantics.is_none()), layout)
            },
            seen,
            played,
        }
        .outcome(context),
        Err(error @ PlaybackError::Server { .. }) => failed(args, path, &error, context),
        Err(error @ (PlaybackError::Connect { .. } | PlaybackError::Layout { .. })) => {
            CommandOutcome::bad_input(error, context.format)
        }
        Err(error) => {
            CommandOutcome::bad_input(format!("{}: {error}", args.file.display()), context.format)
        }
    }
}

fn play(
    args: &ReplayArgs,
    path: &Path,
    trace: &TraceFile,
    layout: Layout,
    semantics: Semantics,
    context: &Context,
) -> Result<(Seen, Played), PlaybackError> {
    let positions = match trace.header() {
        Header::Run(_) => "event",
        Header::Import(header) => header.format.position_word(),
        Header::Capture(_) | Header::Journal(_) => "record",
    };
    let mut player = Player::open(path, layout, args.speed, semantics, &context.interrupt)?;
    let mut progress = Progress::new(context.quiet, "replay", "messages", 0);
    let mut shown = 0;
    let mut failure = None;
    let seen = observe::each(trace, &mut |observation| {
        if let Err(error) = player.take(&observation, positions) {
            failure = Some(error);
            return ControlFlow::Break(());
        }
        shown += 1;
        progress.update(shown);
        match context.interrupt.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    progress.finish();
    match failure {
        Some(error) => Err(error),
        None => Ok((seen?, player.finish()?)),
    }
}

/// The layout to send in, and how our registry takes the messages.
fn choose(args: &ReplayArgs, header: &Header) -> (Layout, Semantics) {
    let (layout, semantics) = match header {
        Header::Run(header) => (header.scenario.transport.layout, header.scenario.semantics),
        _ => (Layout::V112, Semantics::Typed),
    };
    (
        args.layout.unwrap_or(layout),
        args.semantics.unwrap_or(semantics),
    )
}

/// The server did not last.
fn failed(
    args: &ReplayArgs,
    path: &Path,
    error: &PlaybackError,
    context: &Context,
) -> CommandOutcome {
    let text = format!("{} to {}: {error}", args.file.display(), path.display());
    let stdout = match context.format {
        Format::Human => format!("{text}\n"),
        Format::Json => format!("{}\n", json!({ "verdict": "diverged", "error": text })),
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: 1,
    }
}

/// Everything that there is to tell.
struct PlaybackReport<'a> {
    args: &'a ReplayArgs,
    path: &'a Path,
    trace: &'a TraceFile,
    layout: Layout,
    semantics: Semantics,
    interrupted: bool,
    elapsed_s: f64,
    /// Compared with the truth, not with our registry.
    truth: bool,
    different: Vec<Figure>,
    seen: Seen,
    played: Played,
}

impl PlaybackReport<'_> {
    fn outcome(&self, context: &Context) -> CommandOutcome {
        let summary = self.summary();
        let stdout = match context.format {
            Format::Human => self.human(&summary),
            Format::Json => summary.json(&json!({
                "compared_with": if self.truth { "truth" } else { "registry" },
                "semantics": self.semantics,
                "layout": self.layout,
                "server": self.path,
                "connections": self.played.connections,
                "devices": self.played.devices.len(),
                "mismatches": self.different,
                "torn_frames": self.played.mixed,
                "not_played": {
                    "incomplete": self.played.incomplete,
                    "torn": self.played.torn,
                    "dropped": self.played.dropped,
                },
            })),
        };
        CommandOutcome {
            stdout,
            stderr: String::new(),
            exit_code: summary.exit_code(),
        }
    }

    fn summary(&self) -> VerdictSummary {
        let (threads, seed) = match self.trace.header() {
            Header::Run(header) => (header.scenario.threads, header.scenario.seed),
            _ => (0, 0),
        };
        let mut summary = VerdictSummary::new(threads, seed);
        summary.schedules = 1;
        summary.check = Strength::Totals;
        summary.messages = self.played.messages;
        summary.elapsed_s = self.elapsed_s;
        summary.note = self.note();
        for figure in &self.different {
            let divergence = divergence(figure);
            *summary.divergences.entry(divergence.kind).or_default() += 1;
            summary.first.get_or_insert(divergence);
        }
        summary.verdict = match (self.different.is_empty(), &summary.note) {
            (false, _) => Verdict::Diverged,
            (true, Some(_)) => Verdict::Inconclusive,
            (true, None) => Verdict::Clean,
        };
        summary
    }

    /// Why totals that agree prove less than they seem to.
    fn note(&self) -> Option<String> {
        if self.interrupted {
            return Some("interrupted: compared after what had been played".to_owned());
        }
        if let Some(why) = &self.seen.damage {
            return Some(format!("{why}: what comes before was played"));
        }
        if self.played.devices.is_empty() {
            return Some("the recording has no message to play about any device".to_owned());
        }
        if self.played.taken == 0 && self.played.rejected > 0 {
            const NONE: &str = "none of its messages is one that a server takes, as of a memory \
                                with a name of its own: totals that agree say nothing";
            return Some(NONE.to_owned());
        }
        if self.played.taken > 0 && self.played.noticed == 0 {
            let hidden = match has_more_totals(self.layout) {
                true => "",
                false => " (and this layout has no totals of circular buffers and kernels)",
            };
            return Some(format!(
                "the server showed the same totals all the time: one that takes no message does so \
                 as well{hidden}"
            ));
        }
        self.played
            .more_devices
            .then(|| "there are more devices than are compared".to_owned())
    }

    fn human(&self, summary: &VerdictSummary) -> String {
        let mut text = format!(
            "{}: {} in the {} layout over {} to {}, in {:.2} s\n",
            self.args.file.display(),
            plural(self.played.messages, "message"),
            self.layout,
            plural(self.played.connections as u64, "connection"),
            self.path.display(),
            self.elapsed_s,
        );
        self.write_not_played(&mut text);
        let with = if self.truth {
            "the truth: what the allocators had live at the end".to_owned()
        } else {
            format!(
                "what our registry makes of the messages ({})",
                self.semantics
            )
        };
        let _ = writeln!(
            text,
            "\n{}: totals of {} compared with {with}",
            summary.verdict,
            plural(self.played.devices.len() as u64, "device"),
        );
        if let Some(note) = &summary.note {
            let _ = writeln!(text, "  {note}");
        }
        if !self.different.is_empty() {
            self.write_different(&mut text);
        }
        text
    }

    fn write_not_played(&self, text: &mut String) {
        let Played {
            incomplete,
            torn,
            mixed,
            dropped,
            shared,
            ..
        } = &self.played;
        for (count, why) in [
            (
                *incomplete,
                "not played: the recording does not state all that a server uses of them",
            ),
            (*torn, "not played: cut off by the end of their connection"),
            (
                *dropped,
                "not played: dropped on their way when it was recorded",
            ),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{} {why}", plural(count, "message"));
            }
        }
        if *mixed > 0 {
            let _ = writeln!(
                text,
                "{} pieces of several messages, and went out as the recorded server read them",
                if *mixed == 1 {
                    "1 frame holds".to_owned()
                } else {
                    format!("{} frames hold", grouped(*mixed))
                }
            );
        }
        if *shared {
            text.push_str("more connections were recorded than are opened: some shared one\n");
        }
        if let Some(order) = self.seen.order {
            let _ = writeln!(text, "{order}");
        }
    }

    fn write_different(&self, text: &mut String) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "device", "memory", "expected", "got", "our registry"]);
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for figure in self.different.iter().take(SHOWN) {
            table.add_row([
                "",
                &figure.device.to_string(),
                figure.memory,
                &grouped(figure.expected),
                &grouped(figure.got),
                &grouped(figure.registry),
            ]);
        }
        let _ = writeln!(text, "{}", table.trim_fmt());
        if self.different.len() > SHOWN {
            let _ = writeln!(
                text,
                "  … {} more (all in --format json)",
                grouped((self.different.len() - SHOWN) as u64)
            );
        }
        if self.truth
            && self
                .different
                .iter()
                .all(|figure| figure.got == figure.registry)
        {
            let _ = writeln!(
                text,
                "Our registry ({}) shows the same after these messages: they are not what the allocators did, and the server \
                 is not to blame.",
                self.semantics
            );
        }
    }
}

/// A total that is off, as what it shows of the server.
fn divergence(figure: &Figure) -> Divergence {
    Divergence {
        kind: if figure.got > figure.expected {
            Kind::PhantomLive
        } else {
            Kind::MissingLive
        },
        device: DeviceId(figure.device),
        // Circular buffers and kernels have no memory of their own.
        memory: Memory::ALL
            .into_iter()
            .find(|memory| memory.name() == figure.memory),
        address: None,
        thread: None,
        op: None,
    }
}
