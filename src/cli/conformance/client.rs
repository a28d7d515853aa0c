//! `heisenbed conformance --client`: a fixed suite of cases against any client.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::outcome::{CommandOutcome, Context};
use super::super::progress::Progress;
use super::{ConformanceArgs, chosen, print};
use crate::conformance::client_suite::{self, CLIENT_CASES, ClientSuiteOptions};

const CLIENT_TRIES: u32 = 3;
const CLIENT_TIMEOUT: Duration = Duration::from_secs(15);

/// Exit 0 when no case fails, 1 when some do, 2 when the server cannot be played.
pub(super) fn run(command: &str, args: &ConformanceArgs, context: &Context) -> CommandOutcome {
    let cases = match chosen(CLIENT_CASES, &args.only, |case| case.name) {
        Ok(cases) => cases,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    if args.list {
        let listed = cases
            .iter()
            .map(|case| [case.name, case.about, case.server, case.expected]);
        return print::list(listed, "server", context.format);
    }
    // Gone with all that is in it when this returns.
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    context.catch_interrupts();
    let options = ClientSuiteOptions {
        command: command.to_owned(),
        path: args
            .socket
            .clone()
            .unwrap_or_else(|| folder.path().join("server.sock")),
        cases,
        tries: args.tries.unwrap_or(CLIENT_TRIES),
        patience: args.timeout.unwrap_or(CLIENT_TIMEOUT),
        connections: args.connections as usize,
    };
    let started = Instant::now();
    let total = options.cases.len() as u64;
    let mut progress = Progress::new(context.quiet, "conformance", "cases", total);
    let findings = client_suite::run(&options, &context.interrupt, |done| progress.update(done));
    progress.finish();
    match findings {
        Ok(findings) => print::Tried {
            heading: format!("client: {command}"),
            subject: json!({ "client": command, "tries": options.tries }),
            sent: "server",
            findings: &findings,
            elapsed: started.elapsed(),
        }
        .outcome(context),
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}
