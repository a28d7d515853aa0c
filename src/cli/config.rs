//! `heisenbed.toml`: defaults of options, in the working tree.
//!
//! A key is the long name of an option; keys above all tables are for every command, a table is for
//! the command of its name. What is given on the command line wins. The file is looked for in the
//! working folder, and above it up to the root of its repository. Paths in it are told from its
//! folder, so that they mean the same wherever one works.
//!
//! Its values are put into the arguments as if they had been typed behind the command's name, so
//! each is read and refused as there. What is no option is an error that names its line, also in
//! tables of other commands.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The file's name.
pub(crate) const CONFIG_FILE: &str = "heisenbed.toml";

/// Why a file of defaults is refused.
#[derive(Debug, Error)]
pub(super) enum DefaultsError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key is no option, or its value is none.
    #[error("{}:{line}: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// A default that the file has for the command that is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigValue {
    /// The option's long name.
    option: String,
    line: usize,
}

/// The arguments with the file's defaults, and where those come from.
#[derive(Debug, Default)]
pub(super) struct Configured {
    /// All arguments.
    pub(super) arguments: Vec<OsString>,
    /// The file, where it has anything for this command.
    pub(super) file: Option<PathBuf>,
    values: Vec<ConfigValue>,
}

/// Puts the defaults of the file that is found from `folder` into `arguments` of `command`.
pub(super) fn configured(
    command: &Command,
    arguments: &[OsString],
    folder: &Path,
) -> Result<Configured, DefaultsError> {
    let as_given = || Configured {
        arguments: arguments.to_vec(),
        ..Configured::default()
    };
    let Some(path) = find(folder) else {
        return Ok(as_given());
    };
    let text = std::fs::read_to_string(&path).map_err(|source| DefaultsError::Io {
        path: path.clone(),
        source,
    })?;
    let table = DeTable::parse(&text).map_err(|source| DefaultsError::Parse {
        path: path.clone(),
        source: Box::new(source),
    })?;
    // From here to the file's folder: what stands in it is told from there.
    let depth = folder.ancestors().position(|at| Some(at) == path.parent());
    let from_here = PathBuf::from_iter(vec![".."; depth.unwrap_or(0)]);
    let file = ConfigText {
        path,
        text: &text,
        from_here,
    };
    // What is missing may be what the file has.
    let lenient = command.clone().ignore_errors(true);
    let Ok(matches) = lenient.try_get_matches_from(arguments) else {
        return Ok(as_given());
    };
    let mut built = command.clone();
    built.build();
    let mut found = Found::default();
    file.visit(&built, table.get_ref(), Some(&matches), true, &mut found)?;
    let place = place(arguments, &matches);
    let mut all = arguments.to_vec();
    all.splice(place..place, found.arguments);
    Ok(Configured {
        arguments: all,
        file: (!found.values.is_empty()).then_some(file.path),
        values: found.values,
    })
}

impl Configured {
    /// Where the value of each option of the command comes from, a line each. What every command
    /// takes is there with each of the command's names, and is the same.
    pub(super) fn origins(&self, matches: &ArgMatches) -> String {
        let mut text = String::new();
        let mut told = BTreeSet::new();
        let mut matches = Some(matches);
        while let Some(at) = matches {
            for id in at.ids() {
                // Those of groups are the names of types.
                if id.as_str().starts_with(char::is_uppercase) {
                    continue;
                }
                let name = id.as_str().replace('_', "-");
                let Ok(Some(values)) = at.try_get_raw(id.as_str()) else {
                    continue;
                };
                let values = values.map(|value| value.to_string_lossy().into_owned());
                let values = values.collect::<Vec<_>>().join(",");
                let of_file = self.values.iter().find(|value| value.option == name);
                let origin = match (at.value_source(id.as_str()), of_file, &self.file) {
                    (Some(ValueSource::CommandLine), Some(value), Some(file)) => {
                        format!("{}:{}", file.display(), value.line)
                    }
                    (Some(ValueSource::CommandLine), ..) => "given".to_owned(),
                    (Some(ValueSource::DefaultValue), ..) => "default".to_owned(),
                    _ => continue,
                };
                if told.insert(name.clone()) {
                    let _ = writeln!(text, "{name} = {values} ({origin})");
                }
            }
            matches = at.subcommand().map(|(_, inner)| inner);
        }
        text
    }
}

/// The file for `folder`: in it, or above it in its repository.
fn find(folder: &Path) -> Option<PathBuf> {
    let in_repository = folder.ancestors().any(|at| at.join(".git").exists());
    for at in folder.ancestors() {
        let path = at.join(CONFIG_FILE);
        if path.is_file() {
            return Some(path);
        }
        if !in_repository || at.join(".git").exists() {
            return None;
        }
    }
    None
}

/// Where defaults go: behind the last command's name.
fn place(arguments: &[OsString], matches: &ArgMatches) -> usize {
    let mut place = 1;
    let mut matches = matches;
    while let Some((name, inner)) = matches.subcommand() {
        let rest = arguments.iter().skip(place);
        let Some(at) = rest.into_iter().position(|word| word == name) else {
            break;
        };
        place += at + 1;
        matches = inner;
    }
    place.min(arguments.len())
}

#[derive(Default)]
struct Found {
    arguments: Vec<OsString>,
    values: Vec<ConfigValue>,
}

struct ConfigText<'a> {
    path: PathBuf,
    text: &'a str,
    from_here: PathBuf,
}

impl ConfigText<'_> {
    /// Takes a table of `command`. `matches`: what was given of it, where it is the one that is
    /// run.
    fn visit(
        &self,
        command: &Command,
        table: &DeTable<'_>,
        matches: Option<&ArgMatches>,
        is_root: bool,
        found: &mut Found,
    ) -> Result<(), DefaultsError> {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let line = self.line(key.span().start);
            if let DeValue::Table(inner) = value.get_ref() {
                let Some(inner_command) = command.find_subcommand(name) else {
                    let names = command
                        .get_subcommands()
                        .map(|one| one.get_name().to_owned());
                    let what = format!("`{name}` is no command of `{}`", command.get_name());
                    return Err(self.refused(line, &what, name, names));
                };
                let inner_matches = matches.and_then(|matches| match matches.subcommand() {
                    Some((given, inner)) if given == name => Some(inner),
                    _ => None,
                });
                self.visit(inner_command, inner, inner_matches, false, found)?;
                continue;
            }
            let is_option = |arg: &&Arg| arg.get_long() == Some(name) && is_configurable(arg);
            let Some(arg) = command.get_arguments().find(is_option) else {
                let known = command.get_arguments().filter(|arg| is_configurable(arg));
                let known = known.filter_map(|arg| arg.get_long().map(str::to_owned));
                let what = match is_root {
                    true => format!("`{name}` is no option of every command"),
                    false => format!("`{name}` is no option of `{}`", command.get_name()),
                };
                return Err(self.refused(line, &what, name, known));
            };
            let words = self.words(arg, name, value)?;
            let Some(matches) = matches else { continue };
            let innermost = innermost(matches);
            let is_given = |at: &ArgMatches| {
                let source = at.try_contains_id(arg.get_id().as_str());
                source.is_ok()
                    && at.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
            };
            if !is_given(matches) && !is_given(innermost) && !words.is_empty() {
                found.arguments.extend(words);
                found.values.push(ConfigValue {
                    option: arg.get_id().as_str().replace('_', "-"),
                    line,
                });
            }
        }
        Ok(())
    }

    /// A value as arguments.
    fn words(
        &self,
        arg: &Arg,
        name: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<OsString>, DefaultsError> {
        let line = self.line(value.span().start);
        let wrong = |why: String| DefaultsError::Key {
            path: self.path.clone(),
            line,
            why,
        };
        let takes_value = arg.get_action().takes_values();
        let text = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            _ => None,
        };
        let values: Vec<String> = match (value.get_ref(), takes_value) {
            (DeValue::Boolean(true), false) => return Ok(vec![format!("--{name}").into()]),
            (DeValue::Boolean(false), false) => return Ok(Vec::new()),
            (_, false) => return Err(wrong(format!("`{name}` is true or false"))),
            (DeValue::Array(values), true) => {
                let is_list = matches!(arg.get_action(), ArgAction::Append);
                let texts: Option<Vec<String>> =
                    values.iter().map(|value| text(value.get_ref())).collect();
                match texts.filter(|_| is_list) {
                    Some(texts) => texts,
                    None => return Err(wrong(format!("`{name}` takes one number or text"))),
                }
            }
            (value, true) => match text(value) {
                Some(text) => vec![text],
                None => return Err(wrong(format!("`{name}` takes a number or a text"))),
            },
        };
        let word = |value: String| {
            let value = self.seen_from_here(arg, value);
            OsString::from(format!("--{name}={value}"))
        };
        Ok(values.into_iter().map(word).collect())
    }

    /// A value as it is from the working folder: a path in the file is one from its folder.
    fn seen_from_here(&self, arg: &Arg, value: String) -> String {
        let sort = PathSort::of(arg);
        if sort == PathSort::None || self.from_here.as_os_str().is_empty() {
            return value;
        }
        let seen = |one: &str| {
            let prefix = PATH_PREFIXES
                .iter()
                .find(|prefix| one.starts_with(**prefix));
            let (prefix, path) = one.split_at(prefix.map_or(0, |prefix| prefix.len()));
            let is_name = prefix.is_empty()
                && (path == "none" || sort == PathSort::OrName && !path.contains(['/', '.']));
            match is_name || path.is_empty() || path == "-" {
                true => one.to_owned(),
                false => format!("{prefix}{}", self.from_here.join(path).display()),
            }
        };
        match arg.get_value_delimiter() {
            Some(between) => {
                let all = value.split(between).map(seen);
                all.collect::<Vec<_>>().join(&between.to_string())
            }
            None => seen(&value),
        }
    }

    fn refused(
        &self,
        line: usize,
        what: &str,
        name: &str,
        known: impl Iterator<Item = String>,
    ) -> DefaultsError {
        let mut known: Vec<String> = known.filter(|known| known != "help").collect();
        known.sort();
        // The nearest by what they share at the beginning.
        let shared = |one: &String| {
            one.chars()
                .zip(name.chars())
                .take_while(|(a, b)| a == b)
                .count()
        };
        let near = known
            .iter()
            .max_by_key(|one| shared(one))
            .filter(|one| shared(one) > 2);
        let why = match near {
            Some(near) => format!("{what}: did you mean `{near}`?"),
            None => format!("{what}; there are {}", known.join(", ")),
        };
        DefaultsError::Key {
            path: self.path.clone(),
            line,
            why,
        }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text[..at.min(self.text.len())].matches('\n').count()
    }
}

/// What may stand before a path.
const PATH_PREFIXES: [&str; 2] = ["import:", "unix:"];

/// Whether the values of an option are paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathSort {
    None,
    Path,
    /// Or the name of something that is built in, which has neither dot nor slash.
    OrName,
}

impl PathSort {
    fn of(arg: &Arg) -> PathSort {
        let names = arg.get_value_names().unwrap_or_default();
        let has = |word: &str| names.iter().any(|name| name.contains(word));
        if has("NAME") && has("FILE") {
            PathSort::OrName
        } else if has("FILE") || arg.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
            PathSort::Path
        } else {
            PathSort::None
        }
    }
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => innermost(inner),
        None => matches,
    }
}

/// What may stand in the file: options by a name, but for those that ask for help.
fn is_configurable(arg: &Arg) -> bool {
    !arg.is_hide_set()
        && !arg.is_positional()
        && !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        )
}
