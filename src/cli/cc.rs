//! `heisenbed cc` and `heisenbed c++`: a compiler whose programs show their loads and stores to
//! `heisenbed run`.
//!
//! It compiles with `-fsanitize=thread`, which puts a call before each access, and links with an
//! archive of ours that takes those calls, not with libtsan. So a command line that compiles and
//! links at once is taken apart: each source is compiled by itself.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::outcome::CommandOutcome;

/// The compiler of the system that stands behind the name, and the variable that names another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// `heisenbed cc`.
    C,
    /// `heisenbed c++`.
    Cpp,
}

const COMPILE: [&str; 2] = ["-fsanitize=thread", "-g"];
/// Functions that touch memory for the program, and of which the compiler says nothing: the linker
/// sends their calls to the archive.
const WRAPPED: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "strlen", "strcpy"];
const SOURCES: [&str; 9] = ["c", "cc", "cpp", "cxx", "C", "c++", "i", "ii", "cp"];

/// Runs the compiler with these arguments.
pub(crate) fn run(language: Language, arguments: &[OsString]) -> CommandOutcome {
    match compile(language, arguments) {
        Ok(code) => CommandOutcome {
            exit_code: code,
            ..CommandOutcome::default()
        },
        Err(error) => CommandOutcome {
            stderr: format!("error: {error}\n"),
            exit_code: 2,
            ..CommandOutcome::default()
        },
    }
}

/// `heisenbed cflags`.
pub(crate) fn cflags() -> CommandOutcome {
    CommandOutcome {
        stdout: format!("{}\n", COMPILE.join(" ")),
        ..CommandOutcome::default()
    }
}

/// `heisenbed ldflags`.
pub(crate) fn ldflags() -> CommandOutcome {
    match archive() {
        Ok(path) => CommandOutcome {
            stdout: format!(
                "{} {} -ldl\n",
                wraps().collect::<Vec<_>>().join(" "),
                path.display()
            ),
            ..CommandOutcome::default()
        },
        Err(error) => CommandOutcome {
            stderr: format!("error: {error}\n"),
            exit_code: 2,
            ..CommandOutcome::default()
        },
    }
}

fn compile(language: Language, arguments: &[OsString]) -> Result<u8, String> {
    let (variable, usual) = match language {
        Language::C => ("HEISENBED_CC", "cc"),
        Language::Cpp => ("HEISENBED_CXX", "c++"),
    };
    let compiler = std::env::var_os(variable).unwrap_or_else(|| usual.into());
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let stops_early = ["-c", "-S", "-E", "-M", "-MM", "-fsyntax-only"]
        .iter()
        .any(|flag| is(flag));
    let links_nothing = arguments.is_empty()
        || arguments
            .iter()
            .all(|argument| argument.as_bytes().starts_with(b"-"));
    if stops_early {
        return call(
            &compiler,
            COMPILE.iter().map(OsStr::new).chain(os(arguments)),
        );
    }
    if links_nothing {
        return call(&compiler, os(arguments));
    }
    let objects = tempfile::tempdir().map_err(|error| format!("a folder for objects: {error}"))?;
    let mut link: Vec<OsString> = Vec::new();
    let mut taken = false;
    for (number, argument) in arguments.iter().enumerate() {
        // What follows such a flag is its value, not a file.
        let is_value = std::mem::replace(&mut taken, takes_value(argument));
        if is_value || !is_source(argument) {
            link.push(argument.clone());
            continue;
        }
        let object = objects.path().join(format!("{number}.o"));
        let flags = compile_flags(arguments);
        let parts = COMPILE.iter().map(OsStr::new).chain(flags).chain([
            OsStr::new("-c"),
            argument,
            OsStr::new("-o"),
            object.as_os_str(),
        ]);
        let code = call(&compiler, parts)?;
        if code != 0 {
            return Ok(code);
        }
        link.push(object.into_os_string());
    }
    link.retain(|argument| argument != "-fsanitize=thread");
    link.extend(wraps().map(OsString::from));
    link.push(archive()?.into_os_string());
    link.push("-ldl".into());
    call(&compiler, os(&link))
}

/// Also for what the compiler links behind the archive, as libraries of its own.
fn wraps() -> impl Iterator<Item = String> {
    let wraps = WRAPPED.iter().map(|name| format!("-Wl,--wrap={name}"));
    wraps.chain(["-Wl,-u,__wrap_memcpy".to_owned()])
}

fn os(arguments: &[OsString]) -> impl Iterator<Item = &OsStr> {
    arguments.iter().map(OsString::as_os_str)
}

fn call<'a>(compiler: &OsStr, arguments: impl Iterator<Item = &'a OsStr>) -> Result<u8, String> {
    let status = Command::new(compiler)
        .args(arguments)
        .status()
        .map_err(|error| format!("{}: {error}", compiler.to_string_lossy()))?;
    Ok(status.code().map_or(1, |code| code as u8))
}

fn is_source(argument: &OsStr) -> bool {
    Path::new(argument)
        .extension()
        .is_some_and(|extension| SOURCES.iter().any(|known| extension == *known))
        && !argument.as_bytes().starts_with(b"-")
}

fn takes_value(argument: &OsStr) -> bool {
    let flags = [
        "-o",
        "-I",
        "-L",
        "-l",
        "-D",
        "-U",
        "-x",
        "-include",
        "-isystem",
        "-iquote",
        "-MF",
        "-MT",
        "-MQ",
        "-Xlinker",
        "-T",
        "-u",
        "-Xassembler",
        "-Xpreprocessor",
        "-framework",
        "-z",
    ];
    flags.iter().any(|flag| argument == *flag)
}

/// The flags of a command line that matter where one source is compiled: not the other files, not
/// what comes out.
fn compile_flags(arguments: &[OsString]) -> impl Iterator<Item = &OsStr> {
    let mut keep = false;
    let mut skip = false;
    arguments.iter().filter_map(move |argument| {
        if std::mem::take(&mut skip) {
            return None;
        }
        if std::mem::take(&mut keep) {
            return Some(argument.as_os_str());
        }
        let bytes = argument.as_bytes();
        if takes_value(argument) {
            let for_linker = ["-o", "-L", "-l", "-Xlinker", "-T", "-u", "-z"];
            skip = for_linker.iter().any(|flag| argument == *flag);
            keep = !skip;
            return keep.then_some(argument.as_os_str());
        }
        let is_flag = bytes.starts_with(b"-");
        let is_linkers = bytes.starts_with(b"-l")
            || bytes.starts_with(b"-L")
            || bytes.starts_with(b"-Wl,")
            || bytes.starts_with(b"-o")
            || bytes == b"-shared"
            || bytes.starts_with(b"-static")
            || bytes == b"-rdynamic"
            || bytes == b"-pie";
        (is_flag && !is_linkers).then_some(argument.as_os_str())
    })
}

/// The archive, in the user's cache: by its contents, so that builds of different versions do not
/// meet.
fn archive() -> Result<PathBuf, String> {
    let bytes = heisenbed_runtime::ACCESS;
    let digest = xxhash_rust::xxh3::xxh3_64(bytes);
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    let folder = cache.join("heisenbed").join(format!("{digest:016x}"));
    let path = folder.join("libheisenbed_access.a");
    if std::fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&folder).map_err(at)?;
    let beside = tempfile::NamedTempFile::new_in(&folder).map_err(at)?;
    std::fs::write(beside.path(), bytes).map_err(at)?;
    beside.persist(&path).map_err(|error| at(error.error))?;
    Ok(path)
}
