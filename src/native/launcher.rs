//! The other end of the runtime's fork server: a program, started once, that runs any number of
//! schedules.

mod reuse;
mod watched;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use heisenbed_runtime::protocol as wire;
use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use super::anew::{Anew, Awaited, LiveProcess, own_first};
use super::execution::{Execution, ExitKind, Failure, VisibleAction, divergence_of, failure_of};
use super::forgiven::Forgiven;
use super::page::{Page, PageResult};
use super::plan::RunPlan;
use super::program::UserProgram;
use super::races::{AccusedRace, CodeMap};
use super::target::{TargetFiles, TargetSetup};
use super::tracked::{Tracker, TrackingPlan};
use crate::oracle::traffic::TrafficReport;
use watched::{Stillness, end_orphan, is_at_work};

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
    /// The core that its threads share.
    pub(crate) core: u32,
}

/// Where a program prints, and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramOutput {
    /// It is kept, and nothing is there to be read.
    Kept,
    /// Where heisenbed prints and reads.
    Ours,
    /// The same, but to stderr.
    OurStderr,
    /// The same, but all to stdout.
    OurStdout,
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
    /// The program ended before `main`, and the runtime did not come up.
    #[error("{}: it ended before heisenbed had control of it: {what}", program.display())]
    NoRuntime {
        /// Which program.
        program: PathBuf,
        /// What it said.
        what: String,
    },
}

/// What is said of a thread that has its turn and sleeps.
const UNCONTROLLED_WAIT: &str = "a thread that had its turn waits in a system call that heisenbed \
    does not see (a futex of its own, as OpenMP and Go have, or a lock inside of the C library); \
    --strategy perturb runs such programs";

/// What is said of a program that a signal stopped.
const STOPPED: &str = "a signal stopped it (SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU), and nobody let \
    it go on within --timeout";

/// A simpler form of a run hangs where it takes so many times its time, and longer than this.
const PATIENCE: u32 = 20;
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// Simpler forms that hang before no more are tried: each takes its whole time.
pub(crate) const MOST_HUNG: u64 = 3;

/// What is said of a schedule that took too long, but hardly ran.
const NO_PROCESSOR: &str = "it did not end within --timeout, but hardly had the processor in that \
    time: the machine is busy with something else, or it waits for a device";

/// So often is waited for who is at work.
const MOST_PATIENCE: u32 = 20;

/// `PLAN_DONE` of `runtime/driver/driver.h`.
const DRIVER_DONE: i32 = 85;

/// How much of what a program prints is kept.
const KEPT_OUTPUT: u64 = 64 * 1024;

/// How long a program may take to load.
const START_TIMEOUT: Duration = Duration::from_secs(30);

impl Launcher {
    /// Starts `program`, up to where its `main` would begin.
    pub(crate) fn start(
        program: &UserProgram,
        options: LaunchOptions,
    ) -> Result<Launcher, LaunchError> {
        let library = tempfile::tempdir().map_err(system("a folder for the runtime"))?;
        let runtime = library.path().join("libheisenbed_run.so");
        std::fs::write(&runtime, heisenbed_runtime::RUNTIME).map_err(system("the runtime"))?;
        let (page, tracker, asks) = shared(options.core, program.tracking.as_ref())?;
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
            maps: String::new(),
            code: CodeMap::default(),
            forgiven: Forgiven::new(""),
            tracking: program.tracking.clone(),
            tracker,
            output: options.output,
            hot: None,
            printed: false,
            anew,
            target: program
                .target
                .as_ref()
                .map(|files| (files.clone(), files.setup().clone())),
            _library: Some(library),
            server: Some(server),
        };
        sent.map_err(system("the control socket"))?;
        match launcher.reply(START_TIMEOUT) {
            Ok(Some(reply)) if reply.kind == wire::reply::READY => {}
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

    /// Another fork server of the same program, with the same memory at the same addresses, whose
    /// threads share core number `core`. This one runs no schedules from then on, and must outlive
    /// the other.
    pub(crate) fn beside(&mut self, core: u32) -> Result<Launcher, LaunchError> {
        let (page, tracker, asks) = shared(core, self.tracking.as_ref())?;
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
            maps: self.maps.clone(),
            code: self.code.clone(),
            forgiven: Forgiven::new(&self.maps),
            tracking: self.tracking.clone(),
            tracker,
            output: self.output,
            hot: None,
            printed: false,
            anew,
            target: self.target.clone(),
            _library: None,
            server: None,
        };
        launcher.pid = launcher.expect_reply(START_TIMEOUT)?.pid;
        Ok(launcher)
    }

    /// From now on a run that takes longer is ended.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// From now on a run is ended that takes so much longer than `execution`, of which it is to be
    /// a simpler form, that it hangs. Returns the limit that there was.
    pub(crate) fn expect_no_longer_than(&mut self, execution: &Execution) -> Duration {
        let before = self.timeout;
        // What was ended itself says nothing of how long it takes.
        if !execution.timed_out {
            let taken = Duration::from_micros(execution.cpu_us);
            self.timeout = before.min(LEAST_PATIENCE.max(taken.saturating_mul(PATIENCE)));
        }
        before
    }

    /// Where the program's files are in its memory: `/proc/PID/maps`.
    pub(crate) fn maps(&self) -> &str {
        &self.maps
    }

    /// The execution, and whether it was the first of its process.
    fn run_once(&mut self, plan: &RunPlan) -> Result<(Execution, bool), LaunchError> {
        if !plan.anew {
            self.end_live()?;
        }
        self.page.write(plan).map_err(system("shared memory"))?;
        if let Some(tracker) = &mut self.tracker {
            tracker
                .begin(self.page.file())
                .map_err(system("shared memory"))?;
        }
        let printed = std::mem::take(&mut self.printed);
        let files = [&mut self.stdout, &mut self.stderr].into_iter().flatten();
        for file in files.filter(|_| printed) {
            file.set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .map_err(system("memory for output"))?;
        }
        let live = self.begin()?;
        let (mut timed_out, mut still) = (None, Stillness::Runs);
        let ended = match self.wait(self.timeout).map_err(system("the fork server"))? {
            Some(Awaited::Turn(cpu_us)) => {
                self.anew.live = Some(LiveProcess {
                    pid: live.pid,
                    cpu_us,
                    schedules: live.schedules + 1,
                });
                Reply {
                    cpu_us: cpu_us.saturating_sub(live.cpu_us),
                    ..Reply::well(live.pid)
                }
            }
            Some(Awaited::Reply) => self
                .expect_reply(START_TIMEOUT)
                .inspect_err(|_| end_orphan(live.pid))?,
            None => {
                timed_out = Some(self.timeout);
                still = Stillness::of(live.pid);
                if let Some(pid) = Pid::from_raw(live.pid) {
                    let _ = kill_process(pid, Signal::KILL);
                }
                let reply = self.expect_reply(START_TIMEOUT)?;
                self.anew.drop_turns();
                reply
            }
        };
        let execution = self
            .read(plan, ended, timed_out, still)
            .map_err(system("shared memory"))?;
        Ok((execution, live.schedules == 0))
    }

    /// The schedule begins: in the process that is there, or in a new one.
    fn begin(&mut self) -> Result<LiveProcess, LaunchError> {
        if let Some(live) = self.anew.live.take() {
            self.anew
                .ask(wire::DO_AGAIN)
                .map_err(system("the socket of turns"))?;
            return Ok(live);
        }
        self.control
            .write_all(&[wire::DO_RUN])
            .map_err(system("the fork server"))?;
        let started = self.expect_reply(START_TIMEOUT)?;
        if started.kind != wire::reply::STARTED {
            return Err(LaunchError::System {
                what: "a process for the program",
                error: io::Error::from_raw_os_error(started.status),
            });
        }
        Ok(LiveProcess {
            pid: started.pid,
            cpu_us: 0,
            schedules: 0,
        })
    }

    /// What comes first; none if nothing does in time.
    fn wait(&mut self, limit: Duration) -> io::Result<Option<Awaited>> {
        let mut limit = limit;
        if let Some(tracker) = &mut self.tracker {
            let turns = self.anew.turns.as_ref();
            let awaited: Vec<_> = turns.into_iter().chain([&self.control]).collect();
            if !tracker.serve_until(&awaited, self.page.file(), limit)? {
                return Ok(None);
            }
            limit = Duration::ZERO;
        }
        self.anew.wait(&self.control, limit)
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

    fn read(
        &mut self,
        plan: &RunPlan,
        reply: Reply,
        timed_out: Option<Duration>,
        still: Stillness,
    ) -> io::Result<Execution> {
        let mut page = self.page.result()?;
        if !self.page.is_intact(plan)? {
            page = PageResult {
                unusable: Some("it wrote over the memory that it shares with heisenbed".to_owned()),
                ..PageResult::default()
            };
        } else if still == Stillness::Stopped {
            page.unusable = Some(STOPPED.to_owned());
        } else if still == Stillness::Sleeps && !page.waits_outside && plan.strategy.is_controlled()
        {
            page.unusable = Some(UNCONTROLLED_WAIT.to_owned());
        } else if let Some(limit) = timed_out
            && !page.waits_outside
            && u128::from(reply.cpu_us) < limit.as_micros() / 4
        {
            page.unusable = Some(NO_PROCESSOR.to_owned());
        }
        if page.unusable.is_none() && plan.races.look {
            page.races = self.page.races(&self.code)?;
            self.forgiven.take_from(&mut page.races);
        }
        let status = exit_kind(reply.status);
        let (status, deserted) = match (&self.target, status) {
            (Some(_), ExitKind::Exited(DRIVER_DONE)) => (ExitKind::Exited(0), false),
            (Some(_), ExitKind::Exited(0)) => (status, page.outcome == wire::outcome::RUNNING),
            _ => (status, false),
        };
        let stdout = tail(self.stdout.as_ref())?;
        let stderr = tail(self.stderr.as_ref())?;
        self.printed = !stdout.is_empty() || !stderr.is_empty();
        if page.accesses > 0 || page.unusable.is_some() {
            self.hot = None;
        }
        let (steps, preempted) = self.page.taken(&page)?;
        let mut failure = failure_of(&page, status, timed_out, &stderr);
        if deserted && failure.is_none() && page.started && page.unusable.is_none() {
            failure = Some(Failure::target_ended());
        }
        let strayed = (page.outcome == wire::outcome::STRAYED).then(|| page.culprit.unwrap_or(0));
        let ended = timed_out.is_none()
            && page.outcome == wire::outcome::RUNNING
            && matches!(status, ExitKind::Exited(_));
        let tracked = self.tracked(&mut page, ended, plan.stacks)?;
        if failure.is_none() && page.unusable.is_none() && strayed.is_none() {
            failure = tracked.as_ref().and_then(divergence_of);
        }
        // Whatever else went wrong is the failure.
        let ended_well = failure.is_none() && page.outcome == wire::outcome::RUNNING;
        let race = page
            .races
            .accused(&plan.races)
            .filter(|_| ended_well && page.unusable.is_none());
        Ok(Execution {
            index: plan.index,
            steps,
            preempted,
            step_count: page.steps,
            thread_steps: self.page.thread_steps(&page)?,
            threads: page.threads,
            failure: failure.or_else(|| race.as_ref().map(AccusedRace::failure)),
            race,
            strayed,
            status,
            outside: page.outside,
            children: page.children,
            swept: reply.swept,
            timed_out: timed_out.is_some(),
            accesses: page.accesses,
            stdout,
            stderr,
            cpu_us: reply.cpu_us,
            tracked,
            page,
        })
    }

    /// What the program's messages come to, if they are looked at and can be read.
    fn tracked(
        &self,
        page: &mut PageResult,
        ended: bool,
        in_words: bool,
    ) -> io::Result<Option<TrafficReport>> {
        let Some(tracker) = self.tracker.as_ref().filter(|_| page.unusable.is_none()) else {
            return Ok(None);
        };
        match tracker.report(self.page.file(), ended, in_words)? {
            Ok(found) => Ok(Some(found)),
            Err(why) => {
                page.unusable = Some(why);
                Ok(None)
            }
        }
    }

    fn expect_reply(&mut self, limit: Duration) -> Result<Reply, LaunchError> {
        let mut reply = self.reply(limit);
        // Who waits for the processor is not stuck: a loaded machine is no reason to give up.
        for _ in 0..MOST_PATIENCE {
            match &reply {
                Ok(None) if is_at_work(self.pid) => reply = self.reply(limit),
                _ => break,
            }
        }
        reply
            .and_then(|reply| reply.ok_or_else(|| io::ErrorKind::TimedOut.into()))
            .map_err(|error| match (error.kind(), Stillness::of(self.pid)) {
                (io::ErrorKind::UnexpectedEof, _) => LaunchError::ServerGone { how: "ended" },
                (io::ErrorKind::TimedOut, Stillness::Stopped) => {
                    LaunchError::ServerGone { how: "was stopped" }
                }
                _ => system("the fork server")(error),
            })
    }

    /// The next reply; none if it does not come in time.
    fn reply(&mut self, limit: Duration) -> io::Result<Option<Reply>> {
        if let Some(tracker) = &mut self.tracker
            && !tracker.serve_until(&[&self.control], self.page.file(), limit)?
        {
            return Ok(None);
        }
        self.control.set_read_timeout(Some(limit))?;
        let mut bytes = [0; wire::REPLY_BYTES];
        let mut got = 0;
        while got < bytes.len() {
            match self.control.read(&mut bytes[got..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Reply::parse(&bytes)))
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
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

struct Reply {
    kind: u32,
    pid: i32,
    status: i32,
    swept: u32,
    cpu_us: u64,
}

impl Reply {
    /// Of a process that goes on.
    fn well(pid: i32) -> Reply {
        Reply {
            kind: wire::reply::ENDED,
            pid,
            // As the driver ends.
            status: DRIVER_DONE << 8,
            swept: 0,
            cpu_us: 0,
        }
    }

    fn parse(bytes: &[u8; wire::REPLY_BYTES]) -> Reply {
        let word = |at: usize| {
            let word = bytes[at..].first_chunk().copied();
            u32::from_le_bytes(word.unwrap_or_default())
        };
        Reply {
            kind: word(0),
            pid: word(4) as i32,
            status: word(8) as i32,
            swept: word(12),
            cpu_us: u64::from(word(16)) | u64::from(word(20)) << 32,
        }
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |error| LaunchError::System { what, error }
}

/// As `waitpid` encodes it.
fn exit_kind(status: i32) -> ExitKind {
    let status = ExitStatus::from_raw(status);
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitKind::Exited(code),
        (None, signal) => ExitKind::Killed(signal.unwrap_or(0)),
    }
}

/// What a fork server shares with heisenbed: the page, and the end at which it asks the tracking
/// server.
fn shared(
    core: u32,
    tracking: Option<&TrackingPlan>,
) -> Result<(Page, Option<Tracker>, Option<OwnedFd>), LaunchError> {
    let page = Page::new(core).map_err(system("shared memory"))?;
    page.write(&RunPlan::new(super::plan::RunStrategy::First, 0, 0))
        .map_err(system("shared memory"))?;
    let tracked = tracking.map(|plan| Tracker::new(plan, page.file()).map_err(system("a socket")));
    let (tracker, asks) = tracked.transpose()?.unzip();
    Ok((page, tracker, asks))
}

fn memory_file() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(
        "heisenbed-output",
        MemfdFlags::CLOEXEC,
    )?))
}

/// Where what a program prints is kept, if it is.
fn kept_output(output: ProgramOutput) -> Result<(Option<File>, Option<File>), LaunchError> {
    if output != ProgramOutput::Kept {
        return Ok((None, None));
    }
    let file = || memory_file().map_err(system("memory for output"));
    Ok((Some(file()?), Some(file()?)))
}

fn tail(file: Option<&File>) -> io::Result<String> {
    let Some(file) = file else {
        return Ok(String::new());
    };
    let length = file.metadata()?.len();
    let from = length.saturating_sub(KEPT_OUTPUT);
    let mut bytes = vec![0; (length - from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The page, and what the program reads and writes.
fn send_descriptors(
    control: &UnixStream,
    page: &Page,
    [stdout, stderr]: [Option<&File>; 2],
    output: ProgramOutput,
    [asks, turns]: [Option<&OwnedFd>; 2],
) -> io::Result<()> {
    let null = File::open("/dev/null")?;
    let (own_in, own_out, own_err) = (io::stdin(), io::stdout(), io::stderr());
    let printed = match output {
        ProgramOutput::OurStderr => own_err.as_fd(),
        _ => own_out.as_fd(),
    };
    let complained = match output {
        ProgramOutput::OurStdout => own_out.as_fd(),
        _ => own_err.as_fd(),
    };
    let descriptors: [BorrowedFd<'_>; 6] = [
        page.file().as_fd(),
        if stdout.is_some() {
            null.as_fd()
        } else {
            own_in.as_fd()
        },
        stdout.map_or(printed, AsFd::as_fd),
        stderr.map_or(complained, AsFd::as_fd),
        asks.map_or(null.as_fd(), AsFd::as_fd),
        turns.map_or(null.as_fd(), AsFd::as_fd),
    ];
    send_all(control, &descriptors)
}

fn send_all(control: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(6))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    with.push(SendAncillaryMessage::ScmRights(descriptors));
    sendmsg(
        control,
        &[IoSlice::new(b"f")],
        &mut with,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}
