//! `heisenbed proxy`: between real clients and a real server.

use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::args::parse_duration;
use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::recording::{self, Recording};
use super::scenario_args::word;
use crate::numbers::plural;
use crate::proxy::fault::Fault;
use crate::proxy::{self, Proxy, ProxyConfig, ProxyReport};
use crate::tracking::Layout;

/// Arguments of `heisenbed proxy`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Faults, each KIND[:rate=R][,type=T][,us=N]; --seed says which frames they strike:\n  \
    delay       the frame, and all behind it on its connection, waits (us=10000)\n  \
    drop        it is not forwarded\n  \
    duplicate   it is forwarded twice\n  \
    reorder     it is forwarded behind the next frame of its connection\n  \
    truncate    its first half is forwarded\n  \
    split       it is forwarded in two writes with a pause between (us=1000)\n  \
    close       the connection is closed instead\n\n\
    Examples:\n  \
    heisenbed proxy --listen /tmp/tt_allocation_server.sock --upstream /tmp/real.sock --record run.hb\n  \
    heisenbed check run.hb\n  \
    heisenbed proxy --upstream /tmp/real.sock --fault drop:rate=0.01,type=FREE --fault split"
)]
pub(crate) struct ProxyArgs {
    /// Where clients connect
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/tmp/tt_allocation_server.sock"
    )]
    pub(crate) listen: PathBuf,
    /// Where the server listens
    #[arg(long, value_name = "PATH")]
    pub(crate) upstream: PathBuf,
    /// Wait for a server that isn't there yet, so long at most or without an end; clients are
    /// listened to from then on
    #[arg(long, value_name = "TIME", num_args = 0..=1, value_parser = parse_duration)]
    pub(crate) wait: Option<Option<Duration>>,
    /// Where both directions are recorded
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Replace the file of --record; what was there goes when the new one is whole
    #[arg(long)]
    pub(crate) force: bool,
    /// What to do to frames from clients; may be given again
    #[arg(long = "fault", value_name = "FAULT", value_parser = str::parse::<Fault>)]
    pub(crate) faults: Vec<Fault>,
    /// The layout of clients that don't announce theirs; faults need it, and find it out by
    /// themselves
    #[arg(long, value_name = "72|112|128|144|648|extended", value_parser = word::<Layout>)]
    pub(crate) layout: Option<Layout>,
    /// The most connections at once
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) max_connections: usize,
}

/// Runs the proxy until Ctrl-C or SIGTERM: exit 0, or 2 when it can't start, or could not record
/// all.
pub(crate) fn run(args: &ProxyArgs, context: &Context) -> CommandOutcome {
    context.catch_interrupts();
    match forward(args, context) {
        Ok(report) => CommandOutcome {
            stdout: match context.format {
                Format::Json => json(args, &report),
                Format::Human => human(args, &report),
            },
            exit_code: ExitStatus::of_recording(report.record_error.as_deref()).code(),
            ..CommandOutcome::default()
        },
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn forward(args: &ProxyArgs, context: &Context) -> Result<ProxyReport, String> {
    if let Some(path) = &args.record {
        output::may_replace(path, OutputKind::Capture, args.force)?;
    }
    if let Some(patience) = args.wait {
        if !context.quiet {
            crate::say!("waiting for a server at {}", args.upstream.display());
        }
        proxy::wait_for_server(&args.upstream, patience, &context.interrupt)
            .map_err(|error| error.to_string())?;
        if context.interrupt.load(Ordering::Relaxed) {
            return Ok(ProxyReport::default());
        }
    }
    let Some(path) = &args.record else {
        return forward_to(None, args, context);
    };
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    let recording = Recording::begin(path).map_err(at)?;
    let forwarded = recording::create(path).and_then(|file| forward_to(Some(file), args, context));
    match forwarded {
        Ok(mut report) => {
            match report.record_error.take() {
                None => recording.keep().map_err(at)?,
                Some(error) => report.record_error = Some(format!("{error}{}", recording.fail())),
            }
            Ok(report)
        }
        Err(error) => Err(format!("{error}{}", recording.fail())),
    }
}

fn forward_to(
    record: Option<File>,
    args: &ProxyArgs,
    context: &Context,
) -> Result<ProxyReport, String> {
    let proxy = Proxy::start(ProxyConfig {
        listen: args.listen.clone(),
        upstream: args.upstream.clone(),
        record,
        faults: args.faults.clone(),
        seed: context.seed.unwrap_or(0),
        layout: args.layout,
        max_connections: args.max_connections,
    })
    .map_err(|error| error.to_string())?;
    if !context.quiet {
        crate::say!(
            "listening on {}, forwarding to {}",
            args.listen.display(),
            args.upstream.display()
        );
    }
    Ok(proxy.run(&context.interrupt))
}

fn json(args: &ProxyArgs, report: &ProxyReport) -> String {
    let value = json!({
        "connections": report.connections,
        "refused": report.refused,
        "unreachable": report.unreachable,
        "to_server_bytes": report.to_server_bytes,
        "to_client_bytes": report.to_client_bytes,
        "faults": report.faults,
        "record": args.record.as_ref().map(|path| path.display().to_string()),
        "record_bytes": report.recorded_bytes,
        "record_error": report.record_error,
    });
    format!("{value}\n")
}

fn human(args: &ProxyArgs, report: &ProxyReport) -> String {
    let mut text = format!(
        "{} forwarded: {} to the server, {} to clients\n",
        plural(report.connections, "connection"),
        plural(report.to_server_bytes, "byte"),
        plural(report.to_client_bytes, "byte")
    );
    for (kind, count) in &report.faults {
        let _ = writeln!(
            text,
            "  {} put in: {}",
            plural(*count, "fault"),
            kind.name()
        );
    }
    if report.refused > 0 {
        let _ = writeln!(
            text,
            "{} turned away (--max-connections, or another user's)",
            plural(report.refused, "client")
        );
    }
    if report.unreachable > 0 {
        let _ = writeln!(
            text,
            "{} closed: the server could not be reached",
            plural(report.unreachable, "client")
        );
    }
    if let Some(path) = &args.record {
        let path = path.display();
        let _ = match (report.recorded_bytes, &report.record_error) {
            (_, Some(error)) => writeln!(text, "capture: {path} ends early: {error}"),
            (bytes, None) => writeln!(
                text,
                "capture: {path} ({})\n\nNext: heisenbed check {path}",
                plural(bytes.unwrap_or(0), "byte")
            ),
        };
    }
    text
}
