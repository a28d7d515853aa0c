//! `heisenbed serve`: the tracking server in the foreground.

use std::io;
use std::path::PathBuf;
use std::thread;

use clap::{Args, ValueEnum};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::scenario_args::word;
use super::{Context, Format, Outcome};
use crate::server::legacy_log::LegacyLog;
use crate::server::listener::{Config, Counters, Observer, Report, Server};
use crate::server::registry::Semantics;
use crate::tracking::Layout;

/// Serve a tracking socket until SIGTERM or SIGINT.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where to listen.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/tmp/tt_allocation_server.sock"
    )]
    pub socket: PathBuf,
    /// How ALLOC and FREE are understood.
    #[arg(long, value_parser = word::<Semantics>, default_value = "refcount",
          value_name = "overwrite|refcount|typed|sequenced")]
    pub semantics: Semantics,
    /// Log every message to stderr as the reference servers do.
    #[arg(long, value_enum, default_value_t = LogStyle::None)]
    pub log_style: LogStyle,
    /// The wire layout of clients that don't announce theirs.
    #[arg(long, value_parser = parse_layout, default_value = "auto",
          value_name = "auto|72|112|128|144|648|extended")]
    pub layout: LayoutChoice,
    /// How long to take over each message: a deliberately slow server, in µs.
    #[arg(long, hide = true, default_value_t = 0)]
    pub delay_us: u64,
    /// How many devices there are: ids from 0 to below this are accepted.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub devices: u32,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogStyle {
    /// Nothing.
    None,
    /// The reference servers' lines.
    Legacy,
}

/// A layout, or finding it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutChoice {
    /// Found out from each connection's content.
    Auto,
    /// This one.
    Fixed(Layout),
}

/// Runs the server. Exit code 0 after a clean shutdown, 2 when it can't listen.
pub fn run(args: &ServeArgs, context: &Context) -> Outcome {
    let mut config = Config::new(&args.socket, args.semantics);
    config.delay_per_message_us = args.delay_us;
    config.limits.devices = args.devices;
    config.device_info.num_devices = args.devices;
    config.layout = match args.layout {
        LayoutChoice::Auto => None,
        LayoutChoice::Fixed(layout) => Some(layout),
    };
    match args.log_style {
        LogStyle::None => serve(config, (), context),
        LogStyle::Legacy => serve(config, LegacyLog::new(io::stderr()), context),
    }
}

fn serve<O: Observer>(config: Config, observer: O, context: &Context) -> Outcome {
    // Before listening, so that a signal that comes early still ends in a clean shutdown.
    let mut signals = match Signals::new([SIGTERM, SIGINT]) {
        Ok(signals) => signals,
        Err(error) => return Outcome::bad_input(error, context.format),
    };
    let server = match Server::start_with(config, observer) {
        Ok(server) => server,
        Err(error) => return Outcome::bad_input(error, context.format),
    };
    if !context.quiet {
        eprintln!("listening on {}", server.path().display());
    }
    let stop = server.shutdown_handle();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            stop.shutdown();
        }
    });
    Summary::of(&server.wait()).outcome(context.format)
}

/// The final statistics.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    counters: Counters,
    live: u64,
    lost_sequence_numbers: u64,
}

impl Summary {
    fn of<O>(report: &Report<O>) -> Summary {
        let lost = report.gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
        let live = report.registry.len() as u64;
        Summary {
            counters: report.counters,
            live,
            lost_sequence_numbers: lost,
        }
    }

    fn outcome(&self, format: Format) -> Outcome {
        let json = serde_json::to_value(self).expect("a summary is plain numbers");
        let stdout = match format {
            Format::Json => format!("{json}\n"),
            Format::Human => {
                let figures = json.as_object().expect("a summary is an object");
                figures
                    .iter()
                    .map(|(name, figure)| format!("{:<22}{figure}\n", name.replace('_', " ")))
                    .collect()
            }
        };
        Outcome {
            stdout,
            ..Outcome::default()
        }
    }
}

fn parse_layout(text: &str) -> Result<LayoutChoice, String> {
    if text == "auto" {
        return Ok(LayoutChoice::Auto);
    }
    text.parse()
        .map(LayoutChoice::Fixed)
        .map_err(|_| "not a wire layout".to_owned())
}
