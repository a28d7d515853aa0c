//! Which program is run, and whether it can be controlled at all.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSection};
use thiserror::Error;

use super::target::{TargetFiles, TargetSetup};
use super::tracked::TrackingPlan;

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserProgram {
    /// Where it is; absolute.
    pub(crate) path: PathBuf,
    /// Without its own name.
    pub(crate) args: Vec<OsString>,
    /// Variables that are set for it, beside those that it inherits.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// How it is tracked, if it is.
    pub(crate) tracking: Option<TrackingPlan>,
    /// The build id that the linker wrote, or a digest of the file where it wrote none.
    pub(crate) build_id: String,
    /// What it uses that is not controlled.
    pub(crate) warnings: Vec<String>,
    /// It is a target: the driver's files.
    pub(crate) target: Option<Arc<TargetFiles>>,
}

/// Why a program cannot be run under control.
#[derive(Debug, Error)]
pub(crate) enum UserProgramError {
    /// It is not there.
    #[error("{0}: no such program, neither as a path nor in PATH")]
    NotFound(String),
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is a script.
    #[error(
        "{}: a script; its interpreter would be controlled, not what it starts. Name the program \
         itself, or the interpreter where that has the threads: heisenbed run -- {interpreter} {}",
        path.display(), path.display()
    )]
    Script {
        /// Which.
        path: PathBuf,
        /// What its first line names.
        interpreter: String,
    },
    /// It is no 64-bit ELF file of this machine.
    #[error("{}: not a 64-bit ELF file of this machine: {why}", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// Nothing can be preloaded into it.
    #[error(
        "{}: linked statically, so that nothing can be preloaded into it; link it dynamically \
         (without -static; for Rust: a -gnu target without crt-static)",
        path.display()
    )]
    Static {
        /// Which.
        path: PathBuf,
    },
    /// A Go program.
    #[error(
        "{}: a Go program; its scheduler makes system calls of its own, which nothing preloaded \
         sees. Its own race detector (go build -race) finds its data races",
        path.display()
    )]
    Go {
        /// Which.
        path: PathBuf,
    },
}

impl UserProgram {
    /// Its arguments, as text.
    pub(super) fn arg_texts(&self) -> Vec<String> {
        let texts = self.args.iter().map(|arg| arg.to_string_lossy());
        texts.map(Cow::into_owned).collect()
    }

    /// The program that `name` names, as a shell would find it.
    pub(crate) fn find(
        name: &OsString,
        args: &[OsString],
    ) -> Result<UserProgram, UserProgramError> {
        let path = locate(name)
            .ok_or_else(|| UserProgramError::NotFound(name.to_string_lossy().into_owned()))?;
        let bytes = std::fs::read(&path).map_err(|error| UserProgramError::Unreadable {
            path: path.clone(),
            error,
        })?;
        let (build_id, warnings) = inspect(&path, &bytes)?;
        Ok(UserProgram {
            path,
            args: args.to_vec(),
            env: Vec::new(),
            tracking: None,
            build_id,
            warnings,
            target: None,
        })
    }
}

impl UserProgram {
    /// The shared library at `path`, driven as `setup` says.
    pub(crate) fn target(path: &Path, setup: TargetSetup) -> Result<UserProgram, UserProgramError> {
        let unreadable = |error| UserProgramError::Unreadable {
            path: path.to_owned(),
            error,
        };
        let path = std::fs::canonicalize(path).map_err(unreadable)?;
        let bytes = std::fs::read(&path).map_err(unreadable)?;
        let file =
            ElfFile64::<Endianness>::parse(&*bytes).map_err(|error| UserProgramError::Foreign {
                path: path.clone(),
                why: error.to_string(),
            })?;
        // They stand for what it is run with, where one run is known from another.
        let args = vec![setup.options.clone().into(), setup.digest().into()];
        Ok(UserProgram {
            args,
            env: Vec::new(),
            tracking: None,
            build_id: build_id(&file, &bytes),
            warnings: warnings(&file),
            target: Some(TargetFiles::write(setup).map_err(unreadable)?),
            path,
        })
    }

    /// What is started, and with which arguments.
    pub(super) fn command(&self) -> Command {
        let Some(target) = &self.target else {
            let mut command = Command::new(&self.path);
            command.args(&self.args);
            return command;
        };
        let mut command = target.driver_command();
        command
            .arg("run")
            .arg(&self.path)
            .arg(target.plan())
            .env("HEISENBED_TARGET", &self.path);
        command
    }

    /// The same, with its connection to a tracking server.
    pub(crate) fn tracked(mut self, plan: Option<TrackingPlan>) -> UserProgram {
        if plan.is_some() {
            self.env
                .push(("TT_ALLOC_TRACKING_ENABLED".into(), "1".into()));
        }
        self.tracking = plan;
        self
    }
}

fn locate(name: &OsString) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path)
            .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    let found = if name.as_bytes().contains(&b'/') {
        Some(PathBuf::from(name)).filter(|path| path.exists())
    } else {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join(name))
            .find(|path| is_program(path))
    };
    found.and_then(|path| std::fs::canonicalize(path).ok())
}

/// The build id, and what is to be said of it.
fn inspect(path: &Path, bytes: &[u8]) -> Result<(String, Vec<String>), UserProgramError> {
    let path = path.to_owned();
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        return Err(UserProgramError::Script {
            path,
            interpreter: String::from_utf8_lossy(line).trim().to_owned(),
        });
    }
    let file =
        ElfFile64::<Endianness>::parse(bytes).map_err(|error| UserProgramError::Foreign {
            path: path.clone(),
            why: error.to_string(),
        })?;
    let machine = if cfg!(target_arch = "x86_64") {
        object::Architecture::X86_64
    } else {
        object::Architecture::Aarch64
    };
    if file.architecture() != machine {
        let why = format!("it is for {:?}", file.architecture());
        return Err(UserProgramError::Foreign { path, why });
    }
    let is_go = file.section_by_name(".note.go.buildid").is_some()
        || file.section_by_name(".gopclntab").is_some();
    if is_go {
        return Err(UserProgramError::Go { path });
    }
    let endian = file.endian();
    let dynamic = file
        .elf_program_headers()
        .iter()
        .any(|part| part.p_type(endian) == object::elf::PT_INTERP);
    if !dynamic {
        return Err(UserProgramError::Static { path });
    }
    Ok((build_id(&file, bytes), warnings(&file)))
}

fn build_id(file: &ElfFile64<'_, Endianness>, bytes: &[u8]) -> String {
    match file.build_id() {
        Ok(Some(id)) => hex::encode(id),
        _ => format!("xxh3:{:016x}", xxhash_rust::xxh3::xxh3_64(bytes)),
    }
}

fn warnings(file: &ElfFile64<'_, Endianness>) -> Vec<String> {
    let needs = |name: &[u8]| {
        file.section_by_name(".dynstr")
            .and_then(|section| section.data().ok())
            .is_some_and(|text| memchr::memmem::find(text, name).is_some())
    };
    let mut warnings = Vec::new();
    if needs(b"libgomp.so") {
        warnings.push(
            "it uses libgomp, whose threads wait by system calls of their own: OpenMP regions are \
             not controlled, and may hang; run it with OMP_NUM_THREADS=1, or take --strategy \
             perturb"
                .to_owned(),
        );
    }
    if needs(b"libtsan.so") {
        warnings.push(
            "it is linked with libtsan, which takes the calls before heisenbed sees them: link it \
             without -fsanitize=thread, as `heisenbed cc` does"
                .to_owned(),
        );
    }
    if needs(b"libasan.so") {
        warnings.push(
            "it is linked with libasan, which must be the first library: if it does not start, \
             link it with -static-libasan"
                .to_owned(),
        );
    }
    warnings
}
