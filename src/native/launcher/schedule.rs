//! One schedule of a started program: how it begins and is waited for, and what it came to.

use std::io::{self, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use heisenbed_runtime::protocol as wire;
use rustix::process::{Pid, Signal, kill_process};

use super::control::{DRIVER_DONE, Reply, exit_kind};
use super::output::tail;
use super::watched::{Stillness, end_orphan, has_busy_child, processor_time_us};
use super::{LaunchError, Launcher, system};
use crate::native::anew::{Awaited, LiveProcess, ready};
use crate::native::cores;
use crate::native::execution::{Execution, ExitKind, Failure, divergence_of, failure_of};
use crate::native::page::{PageResult, WROTE_OVER};
use crate::native::plan::{RunPlan, RunStrategy};
use crate::native::races::AccusedRace;
use crate::native::steps::Steps;
use crate::oracle::traffic::TrafficReport;

/// What is said of a thread that has its turn and sleeps.
const UNCONTROLLED_WAIT: &str = "a thread that had its turn waits in a system call that heisenbed \
    does not see (a futex of its own, as OpenMP and Go have, or a lock or a read inside of the C \
    library); --strategy perturb runs such programs";

/// What is said of a program that a signal stopped.
const STOPPED: &str = "a signal stopped it (SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU), and nobody let \
    it go on within --timeout";

/// What is said of a schedule that took too long, but hardly ran.
const NO_PROCESSOR: &str = "it did not end within --timeout, but hardly had the processor in that \
    time: the machine is busy with something else, or it waits for a device";

/// What is said of a thread that runs and runs while others could go on.
const HIDES: &str = "a thread that had its turn was at work all the time and did nothing that \
    heisenbed sees, while others could go on: it may wait in a loop for memory that they are to \
    write. Build the program by heisenbed cc (its loads and stores are seen then), or run it by \
    --strategy perturb";

/// How often is looked whether work is to end.
const LOOK: Duration = Duration::from_millis(50);

/// So many times as long as it may take a schedule is waited for that hardly had the processor.
const MOST_TIMES: u32 = 8;

impl Launcher {
    /// The execution, and whether it was the first of its process.
    pub(super) fn run_once(&mut self, plan: &RunPlan) -> Result<(Execution, bool), LaunchError> {
        let done = self.run_as_planned(plan)?;
        let hides = done.0.page.unusable.as_deref() == Some(HIDES);
        if !hides || self.ends_in_parallel.is_some() || self.cut().is_some() {
            return Ok(done);
        }
        // What does not end where all go on at the same time waits for nobody.
        let parallel = RunPlan {
            strategy: RunStrategy::Observe,
            anew: false,
            every_action: false,
            asleep: 0,
            ..plan.again(Steps::new())
        };
        let (free, _) = self.run_as_planned(&parallel)?;
        self.ends_in_parallel = Some(!free.timed_out);
        match free.timed_out {
            true => self.run_as_planned(plan),
            false => Ok(done),
        }
    }

    fn run_as_planned(&mut self, plan: &RunPlan) -> Result<(Execution, bool), LaunchError> {
        if !plan.anew {
            self.end_live()?;
        }
        match plan.strategy.is_controlled() {
            true => self.page.core().share(),
            false => cores::leave(),
        }
        self.page.write(plan).map_err(system("shared memory"))?;
        if let Some(tracker) = &mut self.tracker {
            tracker
                .begin(self.page.memory())
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
        let ended = match self.wait_fairly(&live).map_err(system("the fork server"))? {
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
                .expect_reply(Some(live.pid))
                .inspect_err(|_| end_orphan(live.pid))?,
            None => {
                timed_out = Some(self.timeout);
                still = self.stillness(live.pid).map_err(system("shared memory"))?;
                if let Some(pid) = Pid::from_raw(live.pid) {
                    let _ = kill_process(pid, Signal::KILL);
                }
                let reply = self.expect_reply(Some(live.pid))?;
                self.anew.drop_turns();
                reply
            }
        };
        let execution = self
            .read(plan, ended, timed_out, still)
            .map_err(system("shared memory"))?;
        Ok((execution, live.schedules == 0))
    }

    fn stillness(&self, pid: i32) -> io::Result<Stillness> {
        let (still, steps) = (Stillness::of(pid), self.page.result()?.steps);
        if still != Stillness::Runs {
            return Ok(still);
        }
        std::thread::sleep(LOOK);
        match self.page.result()?.steps == steps {
            true => Ok(Stillness::Hides),
            false => Ok(still),
        }
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
        let started = self.expect_reply(None)?;
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

    /// What comes first; none if nothing does in time. Who hardly had the processor in that time
    /// gets more of it: on a busy machine, too, an endless loop is to be told from one that is
    /// slow.
    fn wait_fairly(&mut self, live: &LiveProcess) -> io::Result<Option<Awaited>> {
        let mut awaited = self.wait(self.timeout)?;
        for _ in 1..MOST_TIMES {
            if awaited.is_some() || self.cut().is_some() || !self.is_starved(live)? {
                break;
            }
            awaited = self.wait(self.timeout)?;
        }
        Ok(awaited)
    }

    /// Whether it is at work, but had too little of the processor to say anything of it; where it
    /// waits for something from outside, whether a process of its own is at work.
    fn is_starved(&self, live: &LiveProcess) -> io::Result<bool> {
        if self.page.result()?.waits_outside {
            return Ok(has_busy_child([live.pid, self.pid], live.pid));
        }
        let had_us = processor_time_us(live.pid).saturating_sub(live.cpu_us);
        Ok(had_us < fair_share_us(self.timeout) && Stillness::of(live.pid) == Stillness::Runs)
    }

    /// What comes first; none if nothing does in time, or before work is to end.
    fn wait(&mut self, limit: Duration) -> io::Result<Option<Awaited>> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let look = match self.limit.is_any() {
                true => left.min(LOOK),
                false => left,
            };
            let awaited = self.wait_for(look)?;
            if awaited.is_some() || look == left || self.cut().is_some() {
                return Ok(awaited);
            }
        }
    }

    /// What comes first; none if nothing does in time.
    fn wait_for(&mut self, limit: Duration) -> io::Result<Option<Awaited>> {
        let awaited = self.anew.awaited(&self.control);
        let first = match &mut self.tracker {
            Some(tracker) => tracker.serve_until(&awaited, self.page.memory(), limit)?,
            None => ready(&awaited, limit)?,
        };
        first.map(|first| self.anew.take(first)).transpose()
    }

    fn read(
        &mut self,
        plan: &RunPlan,
        reply: Reply,
        timed_out: Option<Duration>,
        still: Stillness,
    ) -> io::Result<Execution> {
        let mut page = match self.page.result_of(plan)? {
            Some(page) => PageResult {
                unusable: self.why_unusable(plan, &page, reply.cpu_us, timed_out, still),
                ..page
            },
            None => PageResult {
                unusable: Some(WROTE_OVER.to_owned()),
                ..PageResult::default()
            },
        };
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
            thread_steps: std::mem::take(&mut page.thread_steps),
            threads: page.threads,
            failure: failure.or_else(|| race.as_ref().map(AccusedRace::failure)),
            race,
            strayed,
            status,
            outside: page.outside,
            refused: page.refused,
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

    /// Why what the page says of a schedule that ended so says nothing, if that is so.
    fn why_unusable(
        &self,
        plan: &RunPlan,
        page: &PageResult,
        cpu_us: u64,
        timed_out: Option<Duration>,
        still: Stillness,
    ) -> Option<String> {
        if let Some(cut) = self.cut().filter(|_| timed_out.is_some()) {
            return Some(cut.to_string());
        }
        let is_cut_off = |limit| !page.waits_outside && cpu_us < fair_share_us(limit);
        let why = match still {
            Stillness::Stopped => STOPPED,
            Stillness::Sleeps if !page.waits_outside && plan.strategy.is_controlled() => {
                UNCONTROLLED_WAIT
            }
            Stillness::Hides
                if page.others > 0
                    && page.accesses == 0
                    && self.ends_in_parallel != Some(false) =>
            {
                HIDES
            }
            _ if timed_out.is_some_and(is_cut_off) => NO_PROCESSOR,
            _ => return None,
        };
        Some(why.to_owned())
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
        match tracker.report(self.page.memory(), ended, in_words)? {
            Ok(found) => Ok(Some(found)),
            Err(why) => {
                page.unusable = Some(why);
                Ok(None)
            }
        }
    }
}

/// How much of the processor a schedule of that length must have had, for its length to say
/// anything.
fn fair_share_us(limit: Duration) -> u64 {
    limit.as_micros() as u64 / 4
}
