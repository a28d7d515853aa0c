//! `heisenbed init`: what a repository of somebody else needs to hold its protocol and its programs
//! against heisenbed: a discipline to write, a corpus, a gate for people and for CI.
//!
//! What is there already stays as it is, to the byte.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::outcome::{CommandOutcome, Context, Format};

/// Arguments of `heisenbed init`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InitArgs {
    /// The root of the repository
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// A file that is written.
struct Template {
    path: &'static str,
    text: &'static str,
    /// What it is for.
    about: &'static str,
    is_script: bool,
}

const TEMPLATES: [Template; 10] = [
    Template {
        path: "heisenbed.toml",
        text: include_str!("heisenbed.toml"),
        about: "defaults of options",
        is_script: false,
    },
    Template {
        path: "heisenbed/protocol.toml",
        text: include_str!("protocol.toml"),
        about: "your protocol, to be written as your code has it",
        is_script: false,
    },
    Template {
        path: "heisenbed/programs",
        text: include_str!("programs"),
        about: "your programs, to be listed",
        is_script: false,
    },
    Template {
        path: "heisenbed/targets",
        text: include_str!("targets"),
        about: "your allocators, to be listed",
        is_script: false,
    },
    Template {
        path: "heisenbed/corpus/README.md",
        text: include_str!("corpus.md"),
        about: "where reproducers are kept",
        is_script: false,
    },
    Template {
        path: "heisenbed/.gitignore",
        text: include_str!("gitignore"),
        about: "what the gate writes is not kept",
        is_script: false,
    },
    Template {
        path: "heisenbed/gate.sh",
        text: include_str!("gate.sh"),
        about: "what must hold",
        is_script: true,
    },
    Template {
        path: "heisenbed/heisenbed.mk",
        text: include_str!("heisenbed.mk"),
        about: "for a Makefile",
        is_script: false,
    },
    Template {
        path: "heisenbed/heisenbed.cmake",
        text: include_str!("heisenbed.cmake"),
        about: "for a CMakeLists.txt",
        is_script: false,
    },
    Template {
        path: ".github/workflows/heisenbed.yml",
        text: include_str!("workflow.yml"),
        about: "the gate on GitHub",
        is_script: false,
    },
];

/// Runs the subcommand.
pub(crate) fn run(args: &InitArgs, context: &Context) -> CommandOutcome {
    let mut written = Vec::new();
    let mut kept = Vec::new();
    for template in &TEMPLATES {
        match write(&args.dir, template) {
            Ok(true) => written.push(template),
            Ok(false) => kept.push(template),
            Err(error) => {
                let path = args.dir.join(template.path);
                let error = format!("{}: {error}", path.display());
                return CommandOutcome::bad_input(error, context.format);
            }
        }
    }
    let stdout = match context.format {
        Format::Json => {
            let paths = |templates: &[&Template]| -> Vec<String> {
                let paths = templates.iter().map(|one| args.dir.join(one.path));
                paths.map(|path| path.display().to_string()).collect()
            };
            format!(
                "{}\n",
                json!({ "written": paths(&written), "kept": paths(&kept) })
            )
        }
        Format::Human => words(&args.dir, &written, &kept),
    };
    CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    }
}

/// Writes a file, unless there is something; whether it was written.
fn write(root: &Path, template: &Template) -> std::io::Result<bool> {
    let path = root.join(template.path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mode = if template.is_script { 0o777 } else { 0o666 };
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path);
    match opened {
        // What is there only in part would be kept by the next try.
        Ok(mut file) => match file.write_all(template.text.as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        },
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn words(root: &Path, written: &[&Template], kept: &[&Template]) -> String {
    let width = TEMPLATES
        .iter()
        .map(|one| one.path.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for template in written {
        text += &format!("wrote  {:width$}  {}\n", template.path, template.about);
    }
    for template in kept {
        text += &format!("kept   {:width$}  it was there\n", template.path);
    }
    let at = match root == Path::new(".") {
        true => String::new(),
        false => format!("cd {} && ", root.display()),
    };
    text + &format!(
        "\nNext: write heisenbed/protocol.toml as your code has it, then\n  \
         {at}heisenbed matrix         # does it work?\n  \
         {at}heisenbed/gate.sh        # all that must hold, as CI runs it\n"
    )
}
