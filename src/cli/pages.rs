//! `heisenbed completions` and `heisenbed man`: what shells and `man` want to know of the command
//! line, made from it.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use super::outcome::{CommandOutcome, Context};
use super::output::{self, OutputKind};

/// Arguments of `heisenbed completions`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed completions bash > ~/.local/share/bash-completion/completions/heisenbed\n  \
    heisenbed completions zsh > ~/.zfunc/_heisenbed\n  \
    heisenbed completions fish > ~/.config/fish/completions/heisenbed.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Arguments of `heisenbed man`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed man | man -l -\n  \
    heisenbed man explore | man -l -\n  \
    heisenbed man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The command that the page is about; without it, heisenbed itself
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) dir: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> CommandOutcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "heisenbed", &mut text);
    CommandOutcome {
        stdout: String::from_utf8_lossy(&text).into_owned(),
        ..CommandOutcome::default()
    }
}

/// Prints a page, or writes them all.
pub(crate) fn man(args: &ManArgs, context: &Context) -> CommandOutcome {
    match pages(args) {
        Ok(stdout) => CommandOutcome {
            stdout,
            ..CommandOutcome::default()
        },
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn pages(args: &ManArgs) -> Result<String, String> {
    let mut whole = Cli::command();
    whole.build();
    let Some(folder) = &args.dir else {
        let mut command = &whole;
        for word in &args.command {
            command = command.find_subcommand(word).ok_or_else(|| {
                let names = command.get_subcommands().map(clap::Command::get_name);
                let names = names.collect::<Vec<_>>().join(", ");
                format!("`{word}` is no command; there are {names}")
            })?;
        }
        return page(command);
    };
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut written = 0;
    write_all(&whole, folder, &mut written)?;
    Ok(format!("{}: {written} pages\n", folder.display()))
}

fn write_all(
    command: &clap::Command,
    folder: &std::path::Path,
    written: &mut u64,
) -> Result<(), String> {
    let path = folder.join(format!("{}.1", title(command)));
    output::may_replace(&path, OutputKind::ManPage, false)?;
    output::write(&path, &page(command)?)?;
    *written += 1;
    for inner in command.get_subcommands() {
        if !inner.is_hide_set() && inner.get_name() != "help" {
            write_all(inner, folder, written)?;
        }
    }
    Ok(())
}

/// `heisenbed-corpus-run`.
fn title(command: &clap::Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &clap::Command) -> Result<String, String> {
    let mut text = Vec::new();
    Man::new(command.clone())
        .title(title(command))
        .render(&mut text)
        .map_err(|error| error.to_string())?;
    String::from_utf8(text).map_err(|error| error.to_string())
}
