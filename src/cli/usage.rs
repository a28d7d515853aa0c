//! What the command line itself comes to where it asks for no work: help, and usage errors.

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::error::ErrorKind;

use super::exit::ExitStatus;
use super::outcome::CommandOutcome;

/// What `error` prints; `arguments` say whether JSON was asked for.
pub(super) fn outcome(error: &clap::Error, arguments: &[OsString]) -> CommandOutcome {
    let rendered = error.render();
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let styled = |terminal: bool| match terminal && colours {
        true => rendered.ansi().to_string(),
        false => rendered.to_string(),
    };
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return CommandOutcome {
            stdout: styled(std::io::stdout().is_terminal()),
            ..CommandOutcome::default()
        };
    }
    let plain = rendered.to_string();
    let cleaned = super::terminal::cleaned(&plain);
    let stdout = match asks_for_json(arguments) {
        false => String::new(),
        true => {
            let text = plain.trim_end();
            let text = text.strip_prefix("error: ").unwrap_or(text);
            format!("{}\n", serde_json::json!({ "error": text }))
        }
    };
    CommandOutcome {
        stdout,
        stderr: match cleaned == plain {
            true => styled(std::io::stderr().is_terminal()),
            false => cleaned,
        },
        exit_code: ExitStatus::BadInput.code(),
    }
}

/// Where parsing failed, the words themselves are all there is.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let pairs = arguments.iter().zip(arguments.iter().skip(1));
    arguments.iter().any(|word| word == "--format=json")
        || pairs
            .into_iter()
            .any(|(a, b)| a == "--format" && b == "json")
}
