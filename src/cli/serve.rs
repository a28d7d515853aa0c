//! `heisenbed serve`: the tracking server in the foreground.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use clap::{Args, ValueEnum};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::closed_stdout::stdout_is_open;
use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::scenario_args::word;
use crate::numbers::plural;
use crate::registry::{Limits, Outcome as MessageOutcome, Registry, RejectReason, Semantics};
use crate::server::journal::{Restored, ServerJournal};
use crate::server::legacy_log::{IdStyle, LegacyLog};
use crate::server::listener::{
    ClientId, Counters, Observer, Refused, Server, ServerConfig, ServerReport,
};
use crate::tracking::codec::Detection;
use crate::tracking::{Layout, Message};

/// Serve a tracking socket until SIGTERM or SIGINT.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    heisenbed serve                                       # where the reference servers listen, as they count\n  \
    heisenbed serve --log-style legacy > debug.log        # their log and their answers\n  \
    heisenbed serve --record table.hb                     # a table that survives a restart\n  \
    heisenbed serve --semantics sequenced --socket /tmp/hb.sock")]
pub(crate) struct ServeArgs {
    /// Where to listen.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/tmp/tt_allocation_server.sock"
    )]
    pub(crate) socket: PathBuf,
    /// How ALLOC and FREE are understood.
    #[arg(long, visible_alias = "mode", value_parser = word::<Semantics>, default_value = "refcount",
          value_name = "overwrite|refcount|typed|sequenced")]
    pub(crate) semantics: Semantics,
    /// Keep a journal here, and start with the live table that it holds: everything that a query
    /// was answered with survives a kill.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Log every message as the reference servers do, to stdout (with --format json: to stderr).
    /// Sizes and sweeps are then theirs too.
    #[arg(long, value_enum, default_value_t = LogStyle::None)]
    pub(crate) log_style: LogStyle,
    /// The wire layout of clients that don't announce theirs.
    #[arg(long, value_parser = parse_layout, default_value = "auto",
          value_name = "auto|72|112|128|144|648|extended")]
    pub(crate) layout: LayoutChoice,
    /// Keep the buffers of processes that are dead; else they are dropped when the kernel says that
    /// the process has exited.
    #[arg(long)]
    pub(crate) no_sweep: bool,
    /// How long to take over each message: a deliberately slow server, in µs.
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) delay_us: u64,
    /// How many devices there are: ids from 0 to below this are accepted. Without it ids to 255
    /// are, and those that the driver shows and that messages are about are said to exist
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) devices: Option<u32>,
    /// The most clients at once; further ones are turned away.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_clients: u32,
    /// The most buffers that may be live at once; further ALLOCs are rejected.
    #[arg(long, value_name = "N", default_value_t = 1 << 24, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_buffers: u64,
    /// The most buffers that one client may have live; further ALLOCs of it are rejected.
    #[arg(long, value_name = "N", default_value_t = 1 << 22, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_client_buffers: u64,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogStyle {
    /// Nothing.
    None,
    /// The reference servers' lines.
    Legacy,
    /// The same with buffer ids in decimal, as the oldest ones have them.
    LegacyDecimal,
}

/// A layout, or finding it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayoutChoice {
    /// Found out from each connection's content.
    Auto,
    /// This one.
    Fixed(Layout),
}

/// Runs the server. Exit code 0 after a clean shutdown, 2 when it can't listen or its journal can't
/// be used, or could not be written to the end.
pub(crate) fn run(args: &ServeArgs, context: &Context) -> CommandOutcome {
    let mut config = ServerConfig::new(&args.socket, args.semantics);
    config.delay_per_message_us = args.delay_us;
    config.device_info.num_devices = args.devices.unwrap_or_else(devices_here);
    if let Some(devices) = args.devices {
        config.limits.devices = devices;
    }
    config.like_reference = args.log_style != LogStyle::None;
    config.limits.any_size = config.like_reference;
    config.limits.buffers = args.max_buffers;
    config.max_clients = args.max_clients as usize;
    config.max_client_buffers = args.max_client_buffers;
    config.sweeps = !args.no_sweep;
    config.layout = match args.layout {
        LayoutChoice::Auto => None,
        LayoutChoice::Fixed(layout) => Some(layout),
    };
    match serve(args, config, context) {
        Ok(summary) => summary.outcome(args.log_style, context.format),
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn serve(args: &ServeArgs, config: ServerConfig, context: &Context) -> Result<Summary, String> {
    if config.like_reference && context.format == Format::Human {
        stdout_is_open().map_err(|error| format!("stdout: {error}"))?;
    }
    // Before listening, so that a signal that comes early still ends in a clean shutdown.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|error| error.to_string())?;
    let limits = Registry::new(config.semantics, config.limits).limits();
    let (journal, registry) = match &args.record {
        None => (None, Registry::new(config.semantics, limits)),
        Some(path) => {
            let restored = ServerJournal::open(path, config.semantics, limits)
                .map_err(|error| error.to_string())?;
            if !context.quiet {
                tell_restored(path, &restored);
            }
            (Some(restored.journal), restored.registry)
        }
    };
    let like_reference = config.like_reference;
    let log = like_reference.then(|| {
        let ids = match args.log_style {
            LogStyle::LegacyDecimal => IdStyle::Decimal,
            LogStyle::None | LogStyle::Legacy => IdStyle::Hexadecimal,
        };
        let mut log = LegacyLog::of(log_output(context.format), &registry).with_ids(ids);
        log.write_start(&args.socket);
        log
    });
    let notices = (!context.quiet).then(|| Notices {
        usual: Limits::default(),
        ..Notices::default()
    });
    let server = Server::start_restored(config, registry, (journal, (log, notices)))
        .map_err(|error| error.to_string())?;
    if !context.quiet {
        crate::say!("listening on {}", server.path().display());
    }
    let stop = server.shutdown_handle();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            stop.shutdown();
        }
    });
    let report = server.wait();
    let mut summary = Summary::of(&report);
    let (journal, (log, _)) = report.observer;
    if let Some(mut log) = log {
        log.end(&report.registry);
    }
    summary.record_error = journal.and_then(ServerJournal::end);
    Ok(summary)
}

/// How many devices this machine has, as far as their driver says.
fn devices_here() -> u32 {
    const DRIVER: &str = "/dev/tenstorrent";
    let Ok(files) = std::fs::read_dir(DRIVER) else {
        return 0;
    };
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let devices = files
        .flatten()
        .filter(|file| file.file_name().to_str().is_some_and(is_number));
    u32::try_from(devices.count()).unwrap_or(u32::MAX)
}

/// Where the legacy log goes. An object is alone on stdout.
fn log_output(format: Format) -> Box<dyn Write + Send> {
    match format {
        Format::Human => Box::new(io::stdout()),
        Format::Json => Box::new(io::stderr()),
    }
}

fn tell_restored(path: &Path, restored: &Restored) {
    if restored.messages == 0 {
        return;
    }
    crate::say!(
        "{}: {} live, from {}",
        path.display(),
        plural(restored.registry.len() as u64, "buffer"),
        plural(restored.messages, "message")
    );
    if let Some(cut) = &restored.cut {
        crate::say!("  its end was not clean and is cut off: {cut}");
    }
}

/// Says on stderr what a user has to know, once for each sort.
#[derive(Debug, Default)]
struct Notices {
    layouts: Vec<(Layout, Detection)>,
    refused: Vec<Refused>,
    rejected: Vec<RejectReason>,
    /// What a server takes that does not answer as the reference ones do.
    usual: Limits,
    told_size: bool,
}

impl Observer for Notices {
    fn on_layout(&mut self, client: ClientId, layout: Layout, why: Detection) {
        let seen = self.layouts.contains(&(layout, why));
        let ambiguous = matches!(why, Detection::Tie | Detection::Fallback);
        if !seen {
            self.layouts.push((layout, why));
            let advice = if ambiguous {
                "; if that is wrong, give --layout"
            } else {
                ""
            };
            crate::say!("client {client}: layout {layout} ({}){advice}", why.words());
        }
    }

    fn on_refused(&mut self, why: Refused) {
        if self.refused.contains(&why) {
            return;
        }
        self.refused.push(why);
        let text = match why {
            Refused::TooManyClients => {
                "a client was turned away: --max-clients are connected; further ones are counted as refused"
            }
            Refused::AnotherUser => {
                "a client of another user was turned away; further ones are counted as refused"
            }
            Refused::NoDescriptor => {
                "a client was turned away: no file descriptor is left (ulimit -n)"
            }
            Refused::TooManyBuffers => {
                "an ALLOC was rejected: its client has --max-client-buffers live; further ones are counted as rejected"
            }
            Refused::TooMuchUnread => {
                "a client that leaves its answers unread was dropped; further ones are counted as dropped clients"
            }
        };
        crate::say!("warning: {text}");
    }

    fn on_message(&mut self, client: ClientId, message: &Message, outcome: &MessageOutcome) {
        let MessageOutcome::Rejected(reason) = outcome else {
            return self.tell_size(client, message, outcome);
        };
        if self.rejected.contains(reason) {
            return;
        }
        self.rejected.push(*reason);
        crate::say!(
            "warning: client {client}: {} for device {} was rejected ({}); further ones are counted as rejected",
            message.kind.name(),
            message.device,
            reason.words()
        );
    }
}

impl Notices {
    /// Says once that a size was taken that only the reference servers take.
    #[inline]
    fn tell_size(&mut self, client: ClientId, message: &Message, outcome: &MessageOutcome) {
        let usual = 1..=self.usual.size_bytes;
        if self.told_size || !message.kind.opens() || usual.contains(&message.size_bytes) {
            return;
        }
        if let MessageOutcome::Inserted
        | MessageOutcome::Incremented { .. }
        | MessageOutcome::Replaced { .. } = outcome
        {
            self.told_size = true;
            crate::say!(
                "warning: client {client}: {} of {} bytes was taken, as the reference servers do; totals may wrap; further ones are not told",
                message.kind.name(),
                message.size_bytes
            );
        }
    }
}

/// The final statistics.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    counters: Counters,
    live: u64,
    lost_sequence_numbers: u64,
    /// Why the journal ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_error: Option<String>,
}

impl Summary {
    fn of<O>(report: &ServerReport<O>) -> Summary {
        let lost = report.gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
        let live = report.registry.len() as u64;
        Summary {
            counters: report.counters,
            live,
            lost_sequence_numbers: lost,
            record_error: None,
        }
    }

    /// The figures, on stdout where that is not the log's.
    fn outcome(&self, log_style: LogStyle, format: Format) -> CommandOutcome {
        let json = serde_json::to_value(self).expect("a summary is plain numbers");
        let figures = json.as_object().expect("a summary is an object").iter();
        let figures = figures.map(|(name, figure)| (name.replace('_', " "), figure));
        let (stdout, stderr) = match (format, log_style) {
            (Format::Json, _) => (format!("{json}\n"), String::new()),
            (Format::Human, LogStyle::None) => {
                let lines = figures.map(|(name, figure)| format!("{name:<22}{figure}\n"));
                (lines.collect(), String::new())
            }
            (Format::Human, LogStyle::Legacy | LogStyle::LegacyDecimal) => {
                let figures: Vec<String> = figures
                    .map(|(name, figure)| format!("{name} {figure}"))
                    .collect();
                (String::new(), format!("figures: {}\n", figures.join(", ")))
            }
        };
        CommandOutcome {
            stdout,
            stderr,
            exit_code: ExitStatus::of_recording(self.record_error.as_deref()).code(),
        }
    }
}

pub(super) fn parse_layout(text: &str) -> Result<LayoutChoice, String> {
    if text == "auto" {
        return Ok(LayoutChoice::Auto);
    }
    text.parse()
        .map(LayoutChoice::Fixed)
        .map_err(|_| "not a wire layout".to_owned())
}
