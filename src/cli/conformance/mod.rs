//! `heisenbed conformance`: a fixed suite of cases against any tracking server, and one against any
//! client.

mod client;
mod print;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::args::{parse_duration, unix_path};
use super::ci::CiArgs;
use super::outcome::{CommandOutcome, Context};
use super::progress::Progress;
use crate::conformance::suite::{self, SuiteOptions};
use crate::conformance::{self, Case};
use crate::tracking::Layout;

/// Arguments of `heisenbed conformance`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each case is described in docs/conformance.md, and by --list.\n\nExamples:\n  \
    heisenbed conformance unix:/tmp/tt_allocation_server.sock\n  \
    heisenbed conformance unix:/tmp/server.sock --layout 144 --only large-writes,byte-by-byte\n  \
    heisenbed conformance unix:/tmp/server.sock --sweep-wait 15s --tries 2\n  \
    heisenbed conformance unix:/tmp/server.sock --restart 'exec ./my_server /tmp/server.sock'\n  \
    heisenbed conformance --client './my_client {socket}'"
)]
pub(crate) struct ConformanceArgs {
    /// The server under test
    #[arg(value_name = "unix:PATH", value_parser = unix_path, required_unless_present_any = ["list", "client"])]
    pub(crate) server: Option<PathBuf>,
    /// Try a client instead: a shell command that runs it, towards which heisenbed plays the
    /// server. The socket's path is in the environment as HEISENBED_SOCKET, and stands for
    /// `{socket}` in the command
    #[arg(long, value_name = "CMD", conflicts_with_all = ["server", "restart", "sweep_wait", "layout"])]
    pub(crate) client: Option<String>,
    /// Where a client whose path is built in looks for its server
    #[arg(long, value_name = "PATH", requires = "client")]
    pub(crate) socket: Option<PathBuf>,
    /// How many connections the client may have at once
    #[arg(long, value_name = "N", requires = "client", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// The wire layout of the clients: 72, 112, 128, 144, 648 or extended. Cases about layouts, and
    /// about what a layout does not have, use others too
    #[arg(long, value_name = "LAYOUT", default_value = "112")]
    pub(crate) layout: Layout,
    /// Try these cases only
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// List the cases, with --client those for clients: what each shows, sends and expects
    #[arg(long)]
    pub(crate) list: bool,
    /// Try each case so often: what depends on a race fails at some tries only [default: 5, of
    /// clients 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tries: Option<u32>,
    /// A shell command that starts the server; it is run before every try, so that no case is
    /// charged with what another one did
    #[arg(long, value_name = "CMD")]
    pub(crate) restart: Option<String>,
    /// How long an answer may take; of a client, how long it may run before it counts as hanging:
    /// so long, or five times as long as with a server that lives [default: 2s, of clients 15s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// How long to wait, in each case about sweeps, for the server to drop what a dead client left;
    /// where it does not, such cases are skipped
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub(crate) sweep_wait: Duration,
    /// Be a client that passes on what it is told: the suite starts such ones and lets them die.
    #[arg(long, hide = true)]
    pub(crate) relay: bool,
    /// For CI pages.
    #[command(flatten)]
    pub(crate) ci: CiArgs,
}

/// Runs the subcommand: exit 0 when no case fails, 1 when some do, 2 when the server cannot be
/// talked to.
pub(crate) fn run(args: &ConformanceArgs, context: &Context) -> CommandOutcome {
    if let Some(command) = &args.client {
        return client::run(command, args, context);
    }
    let cases = match chosen(conformance::cases(), &args.only, |case| case.name) {
        Ok(cases) => cases,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    if args.list {
        let listed = |case: &&'static Case| [case.name, case.about, case.sent, case.expected];
        return print::list(cases.iter().map(listed), "sent", context.format);
    }
    let Some(path) = args.server.clone() else {
        return CommandOutcome::bad_input("which server? give unix:PATH", context.format);
    };
    if args.relay {
        return match conformance::relay(&path) {
            Ok(()) => CommandOutcome::default(),
            Err(error) => CommandOutcome::bad_input(error, context.format),
        };
    }
    context.catch_interrupts();
    let options = SuiteOptions {
        path,
        layout: args.layout,
        cases,
        tries: args.tries.unwrap_or(SERVER_TRIES),
        restart: args.restart.clone(),
        patience: args.timeout.unwrap_or(SERVER_TIMEOUT),
        sweep: args.sweep_wait,
        helper: std::env::current_exe().ok(),
    };
    let started = Instant::now();
    let total = options.cases.len() as u64;
    let mut progress = Progress::new(context.quiet, "conformance", "cases", total);
    let report = suite::run(&options, &context.interrupt, |done| progress.update(done));
    progress.finish();
    match report {
        Ok(report) => print::Tried {
            heading: format!(
                "{}: {} layout, device {}",
                options.path.display(),
                options.layout,
                report.device
            ),
            subject: json!({
                "server": options.path,
                "layout": options.layout,
                "device": report.device,
                "tries": options.tries,
            }),
            sent: "sent",
            findings: &report.findings,
            elapsed: started.elapsed(),
        }
        .outcome(context),
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

const SERVER_TRIES: u32 = 5;
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The cases that were named, in the suite's order, whatever order they were named in; all where
/// none was.
fn chosen<'a, C>(
    all: impl IntoIterator<Item = &'a C>,
    named: &[String],
    name: fn(&C) -> &'static str,
) -> Result<Vec<&'a C>, String> {
    let all: Vec<&C> = all.into_iter().collect();
    let is_case = |text: &&String| all.iter().any(|case| name(case) == text.as_str());
    if let Some(unknown) = named.iter().find(|text| !is_case(text)) {
        let names: Vec<&str> = all.iter().map(|case| name(case)).collect();
        return Err(format!(
            "`{unknown}` is no case; there are {}",
            names.join(", ")
        ));
    }
    let is_chosen = |case: &&C| named.is_empty() || named.iter().any(|text| text == name(case));
    Ok(all.into_iter().filter(is_chosen).collect())
}
