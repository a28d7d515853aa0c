//! The other end of the runtime's fork server: a program, started once, that runs any number of
//! schedules.

mod control;
mod output;
mod reuse;
mod schedule;
mod watched;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use heisenbed_runtime::protocol as wire;
use thiserror::Error;

use super::anew::{Anew, own_first};
use super::cores;
use super::execution::{Execution, VisibleAction};
use super::forgiven::Forgiven;
use super::page::Page;
use super::plan::RunPlan;
use super::program::UserProgram;
use super::races::CodeMap;
use super::target::{TargetFiles, TargetSetup};
use super::tracked::{Tracker, TrackingPlan};
use super::work_limit::{WorkCut, WorkLimit};
use control::send_all;
pub(crate) use output::ProgramOutput;
use output::{kept_output, memory_file, send_descriptors, tail};

/// A started program.
#[derive(Debug)]
pub(crate) struct Launcher {
    page: Page,
    control: UnixStream,
    /// None: it was made by another one.
    server: Option<Child>,
    /// Of the fork server.
    pid: i32,
    stdout: Option<File>,
    stderr: Option<File>,
    timeout: Duration,
    limit: WorkLimit,
    maps: String,
    code: CodeMap,
    forgiven: Forgiven,
    tracking: Option<TrackingPlan>,
    tracker: Option<Tracker>,
    output: ProgramOutput,
    /// What stands in the page of instructions that touch shared memory, if that is known.
    hot: Option<Vec<u8>>,
    /// Whether something was printed since the files were cut.
    printed: bool,
    anew: Anew,
    /// Whether the program comes to an end where nobody controls its threads; if that was seen.
    ends_in_parallel: Option<bool>,
    /// Of a target: the driver's files, and what it does with it.
    target: Option<(Arc<TargetFiles>, TargetSetup)>,
    /// Where the runtime was written to; removed at the end.
    _library: Option<tempfile::TempDir>,
}

/// How a program is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaunchOptions {
    /// How long one execution may take.
    pub(crate) timeout: Duration,
    /// Where it prints, and reads.
    pub(crate) output: ProgramOutput,
}

/// Why a program does not run under control.
#[derive(Debug, Error)]
pub(crate) enum LaunchError {
    /// The system refused something.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// How.
        error: io::Error,
    },
    /// What starts the schedules is not there any more.
    #[error(
        "the fork server, which is the program's parent process, {how}: by a signal from outside, \
         or by one that the program sends to its parent"
    )]
    ServerGone {
        /// What became of it.
        how: &'static str,
    },
    /// What starts the schedules does not reply, and nothing is done that it could wait for.
    #[error(
        "the fork server, which is the program's parent process, did not reply for two minutes, and \
         neither it nor the program ran: please report this, with the program"
    )]
    ServerSilent,
    /// It sleeps before the runtime comes up.
    #[error(
        "{}: it is not loaded after 30 s, and waits for something: does a constructor of one of its \
         libraries?", program.display()
    )]
    NotLoaded {
        /// Which program.
        program: PathBuf,
    },
    /// The program ended before `main`, and the runtime did not come up.
    #[error("{}: it ended before heisenbed had control of it: {what}", program.display())]
    NoRuntime {
        /// Which program.
        program: PathBuf,
        /// What it said.
        what: String,
    },
}

/// A simpler form of a run hangs where it takes so many times its time, and longer than this.
const TIMES_TO_HANG: u32 = 20;
const LEAST_TO_HANG: Duration = Duration::from_secs(1);
/// Simpler forms that hang before no more are tried: each takes its whole time.
pub(crate) const MOST_HUNG: u64 = 3;

impl Launcher {
    /// Starts `program`, up to where its `main` would begin.
    pub(crate) fn start(
        program: &UserProgram,
        options: LaunchOptions,
    ) -> Result<Launcher, LaunchError> {
        cores::leave();
        let library = tempfile::tempdir().map_err(system("a folder for the runtime"))?;
        let runtime = library.path().join("libheisenbed_run.so");
        std::fs::write(&runtime, heisenbed_runtime::RUNTIME).map_err(system("the runtime"))?;
        let (page, tracker, asks) = shared(program.tracking.as_ref())?;
        let (control, theirs) = UnixStream::pair().map_err(system("a control socket"))?;
        let (anew, turns) =
            Anew::new(program.target.is_some()).map_err(system("a socket for turns"))?;
        let before = std::env::var_os("LD_PRELOAD").unwrap_or_default();
        let mut preload = OsString::from(&runtime);
        if !before.is_empty() {
            preload.push(":");
            preload.push(&before);
        }
        // What the dynamic linker says where it cannot start the program.
        let said = memory_file().map_err(system("memory for output"))?;
        let mut command = program.command();
        // Ctrl-C is for heisenbed: it would be a crash of the program. Only one that reads from the
        // terminal must stay with it.
        if options.output == ProgramOutput::Kept {
            command.process_group(0);
        }
        let server = command
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .env("LD_PRELOAD", preload)
            .env("HEISENBED_PRELOAD_BEFORE", before)
            .env("HEISENBED_RUN", "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(
                said.try_clone().map_err(system("memory for output"))?,
            ))
            .spawn()
            .map_err(system("the program"))?;
        let (stdout, stderr) = kept_output(options.output)?;
        let sent = send_descriptors(
            &control,
            &page,
            [stdout.as_ref(), stderr.as_ref()],
            options.output,
            [asks.as_ref(), turns.as_ref()],
        );
        let mut launcher = Launcher {
            page,
            control,
            pid: server.id() as i32,
            stdout,
            stderr,
            timeout: options.timeout,
            limit: WorkLimit::default(),
            maps: String::new(),
            code: CodeMap::default(),
            forgiven: Forgiven::new(""),
            tracking: program.tracking.clone(),
            tracker,
            output: options.output,
            hot: None,
            printed: false,
            anew,
            ends_in_parallel: None,
            target: program
                .target
                .as_ref()
                .map(|files| (files.clone(), files.setup().clone())),
            _library: Some(library),
            server: Some(server),
        };
        sent.map_err(system("the control socket"))?;
        match launcher.patient_reply(None) {
            Ok(Some(reply)) if reply.kind == wire::reply::READY => {}
            Ok(None) => {
                return Err(LaunchError::NotLoaded {
                    program: program.path.clone(),
                });
            }
            _ => {
                return Err(LaunchError::NoRuntime {
                    program: program.path.clone(),
                    what: launcher.why_not(&said),
                });
            }
        }
        launcher.maps =
            std::fs::read_to_string(format!("/proc/{}/maps", launcher.pid)).unwrap_or_default();
        if program.target.is_some() {
            launcher.maps = own_first(&launcher.maps, &program.path.to_string_lossy());
        }
        launcher.code = CodeMap::new(&launcher.maps);
        launcher.forgiven = Forgiven::new(&launcher.maps);
        Ok(launcher)
    }

    /// Another fork server of the same program, with the same memory at the same addresses. This
    /// one runs no schedules from then on, and must outlive the other.
    pub(crate) fn beside(&mut self) -> Result<Launcher, LaunchError> {
        let (page, tracker, asks) = shared(self.tracking.as_ref())?;
        let (control, theirs) = UnixStream::pair().map_err(system("a control socket"))?;
        let (anew, turns) = Anew::new(self.anew.may).map_err(system("a socket for turns"))?;
        let (stdout, stderr) = kept_output(self.output)?;
        self.control
            .write_all(&[wire::DO_SERVE])
            .and_then(|()| send_all(&self.control, &[theirs.as_fd()]))
            .and_then(|()| {
                let printed = [stdout.as_ref(), stderr.as_ref()];
                let asked = [asks.as_ref(), turns.as_ref()];
                send_descriptors(&control, &page, printed, self.output, asked)
            })
            .map_err(system("the control socket"))?;
        drop(theirs);
        let mut launcher = Launcher {
            page,
            control,
            pid: 0,
            stdout,
            stderr,
            timeout: self.timeout,
            limit: WorkLimit::default(),
            maps: self.maps.clone(),
            code: self.code.clone(),
            forgiven: Forgiven::new(&self.maps),
            tracking: self.tracking.clone(),
            tracker,
            output: self.output,
            hot: None,
            printed: false,
            anew,
            ends_in_parallel: self.ends_in_parallel,
            target: self.target.clone(),
            _library: None,
            server: None,
        };
        launcher.pid = launcher.expect_reply(None)?.pid;
        Ok(launcher)
    }

    /// From now on a run that takes longer is ended.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Does `work`. A run in it is ended that takes so much longer than the run of which it is to
    /// be a simpler form, and which took `taken` where that is known, that it hangs.
    pub(crate) fn ending_what_hangs<T>(
        &mut self,
        taken: Option<Duration>,
        work: impl FnOnce(&mut Launcher) -> T,
    ) -> T {
        let before = self.timeout;
        if let Some(taken) = taken {
            self.timeout = before.min(LEAST_TO_HANG.max(taken.saturating_mul(TIMES_TO_HANG)));
        }
        let done = work(self);
        self.timeout = before;
        done
    }

    /// Does `work`, which is to end by `limit`. A run that is under way then is ended, and is
    /// unusable.
    pub(crate) fn within<T>(
        &mut self,
        limit: &WorkLimit,
        work: impl FnOnce(&mut Launcher) -> T,
    ) -> T {
        let before = std::mem::replace(&mut self.limit, limit.clone());
        let done = work(self);
        self.limit = before;
        done
    }

    /// Why no other run is to follow, if none is.
    pub(crate) fn cut(&self) -> Option<WorkCut> {
        self.limit.cut()
    }

    /// Where the program's files are in its memory: `/proc/PID/maps`.
    pub(crate) fn maps(&self) -> &str {
        &self.maps
    }

    /// What it shares with the program.
    pub(super) fn page(&self) -> &Page {
        &self.page
    }

    /// What was done in the last execution.
    pub(crate) fn events(&self, execution: &Execution) -> Result<Vec<VisibleAction>, LaunchError> {
        self.first_events(execution, usize::MAX)
    }

    /// The first `most` of them.
    pub(crate) fn first_events(
        &self,
        execution: &Execution,
        most: usize,
    ) -> Result<Vec<VisibleAction>, LaunchError> {
        self.page
            .events(&execution.page, most)
            .map_err(system("shared memory"))
    }

    /// What the next execution is to know of instructions that touch shared memory.
    pub(crate) fn write_hot(&mut self, hot: &[u8]) -> Result<(), LaunchError> {
        if self.hot.as_deref() != Some(hot) {
            self.page.write_hot(hot).map_err(system("shared memory"))?;
            self.hot = Some(hot.to_owned());
        }
        Ok(())
    }

    /// What is known of them after the last.
    pub(crate) fn hot(&self) -> Result<Vec<u8>, LaunchError> {
        self.page.hot().map_err(system("shared memory"))
    }

    fn why_not(&mut self, said: &File) -> String {
        let ended = self.server.as_mut().map(|server| {
            let _ = server.kill();
            server.wait()
        });
        let said = tail(Some(said)).unwrap_or_default();
        match (said.trim(), ended) {
            ("", Some(Ok(status))) => format!(
                "{status}; is it setuid, or has it capabilities? Then the system preloads nothing"
            ),
            ("", Some(Err(error))) => error.to_string(),
            (said, _) => said.to_owned(),
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // What a target left behind is ended with its process.
        let _ = self.end_live();
        cores::leave();
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |error| LaunchError::System { what, error }
}

/// What a fork server shares with heisenbed: the page, and the end at which it asks the tracking
/// server.
fn shared(
    tracking: Option<&TrackingPlan>,
) -> Result<(Page, Option<Tracker>, Option<OwnedFd>), LaunchError> {
    let page = Page::new().map_err(system("shared memory"))?;
    page.write(&RunPlan::new(super::plan::RunStrategy::First, 0, 0))
        .map_err(system("shared memory"))?;
    let tracked =
        tracking.map(|plan| Tracker::new(plan, page.memory()).map_err(system("a socket")));
    let (tracker, asks) = tracked.transpose()?.unzip();
    Ok((page, tracker, asks))
}
