//! The user's program as something whose schedules can all be run.

use std::collections::BTreeSet;

use heisenbed_runtime::protocol::{limit, outcome};

use super::super::execution::Execution;
use super::super::explained::DRIVER;
use super::super::launcher::{LaunchError, Launcher};
use super::super::page::WROTE_OVER;
use super::super::plan::{RunPlan, RunStrategy};
use super::super::steps::Steps;
use super::super::work_limit::WorkCut;
use super::record;
use super::step::{Explorable, ExploredRun, ScheduleEnd, Threads};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ProgramRuns<'a> {
    launcher: &'a mut Launcher,
    plan: RunPlan,
    /// Steps of the main thread before there was another.
    alone: Option<u64>,
    /// What stands against a proof.
    pub(super) limits: BTreeSet<String>,
    /// Files of the program whose loads and stores are seen.
    instrumented: u32,
    /// What was run last, and how it ended.
    pub(super) last: Option<(RunPlan, Execution, ScheduleEnd)>,
}

/// Steps of the longest schedule that is looked at: each is held against those before it, and
/// nobody waits for the end of that.
const MAX_STEPS: usize = 20_000;

/// What is said of a longer one.
const TOO_LONG: &str = "a schedule has more than 20,000 steps";

/// What is said of a schedule that came out otherwise when it was repeated.
const STRAYED: &str = "a schedule did not repeat: something in the program is not controlled";

impl<'a> ProgramRuns<'a> {
    /// Schedules of the program that `launcher` started, as `plan` says.
    pub(super) fn new(launcher: &'a mut Launcher, plan: &RunPlan) -> ProgramRuns<'a> {
        ProgramRuns {
            launcher,
            plan: RunPlan {
                strategy: RunStrategy::First,
                strict: true,
                every_action: true,
                ..plan.clone()
            },
            alone: None,
            limits: BTreeSet::new(),
            instrumented: 0,
            last: None,
        }
    }

    /// A file of the program whose loads and stores are not seen, if there is one.
    pub(super) fn unseen_file(&self) -> Option<String> {
        let mut own = own_files(self.launcher.maps());
        // Of a target the driver is heisenbed's, and no user could build it otherwise.
        own.retain(|file| !file.ends_with(DRIVER));
        (own.len() > self.instrumented as usize)
            .then(|| own.iter().next().cloned().unwrap_or_default())
    }

    /// Why no other schedule is to be run, if none is.
    pub(super) fn cut(&self) -> Option<WorkCut> {
        self.launcher.cut()
    }

    /// Something did not repeat.
    pub(super) fn note_strayed(&mut self) {
        self.limits.insert(STRAYED.to_owned());
    }

    fn note(&mut self, execution: &Execution, limits: u32) {
        let mut add = |is: bool, why: &str| {
            if is {
                self.limits.insert(why.to_owned());
            }
        };
        add(
            execution.outside > 0,
            "calls were left to the system (waiting for processes or signals)",
        );
        add(
            execution.children > 0,
            "it starts processes, which are not controlled",
        );
        add(
            limits & limit::SIGNALS != 0,
            "it handles signals, which come when they come",
        );
        add(
            limits & limit::OUTSIDE != 0,
            "it waits for something from outside",
        );
        add(
            limits & limit::CONNECTS != 0,
            "it makes connections, and others may answer",
        );
        add(
            limits & limit::FOREIGN != 0,
            "the C library makes threads for it (SIGEV_THREAD, aio, getaddrinfo_a), which are not \
             controlled",
        );
        add(
            limits & limit::HELD != 0,
            "a loop that waits for other threads was followed a few times round, and then only \
             after another thread had done something",
        );
        add(execution.strayed.is_some(), STRAYED);
        add(
            execution.timed_out,
            "a schedule was ended that took too long",
        );
        if let Some(why) = execution.unusable() {
            add(true, &why);
        }
    }
}

impl Explorable for ProgramRuns<'_> {
    type Error = LaunchError;

    fn run(&mut self, prefix: &[u32], asleep: Threads) -> Result<ExploredRun, LaunchError> {
        let mut steps = Steps::new();
        if !prefix.is_empty() {
            let alone = self.alone.unwrap_or(0);
            steps.push(0, u32::try_from(alone).unwrap_or(u32::MAX));
            prefix.iter().for_each(|thread| steps.push(*thread, 1));
        }
        let plan = RunPlan {
            steps,
            asleep,
            ..self.plan.clone()
        };
        let execution = self.launcher.run(&plan)?;
        let told = record::read(self.launcher.page().memory(), &plan).map_err(|error| {
            LaunchError::System {
                what: "shared memory",
                error,
            }
        })?;
        let mut end = match execution.page.outcome {
            _ if execution.unusable().is_some() => ScheduleEnd::Useless,
            outcome::STRAYED => ScheduleEnd::Useless,
            outcome::ASLEEP => ScheduleEnd::Asleep,
            _ => ScheduleEnd::Whole,
        };
        let Some(mut told) = told else {
            self.limits.insert(WROTE_OVER.to_owned());
            self.last = Some((plan, execution, ScheduleEnd::Useless));
            return Ok(ExploredRun {
                steps: Vec::new(),
                pending: Vec::new(),
                end: ScheduleEnd::Useless,
            });
        };
        self.note(&execution, told.limits);
        self.instrumented = self.instrumented.max(told.instrumented);
        if told.steps.len() > MAX_STEPS {
            self.limits.insert(TOO_LONG.to_owned());
            end = ScheduleEnd::Useless;
        } else if told.gaps {
            end = ScheduleEnd::Useless;
        } else if *self.alone.get_or_insert(told.alone) != told.alone {
            self.note_strayed();
            end = ScheduleEnd::Useless;
        }
        let shown = RunPlan { asleep: 0, ..plan };
        self.last = Some((shown, execution, end));
        if end == ScheduleEnd::Useless {
            told.steps.clear();
            told.pending.clear();
        }
        Ok(ExploredRun {
            steps: told.steps,
            pending: told.pending,
            end,
        })
    }
}

/// The files with code that a program brings, but for the system's libraries.
fn own_files(maps: &str) -> BTreeSet<String> {
    const SYSTEM: [&str; 4] = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"];
    maps.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let rights = words.nth(1)?;
            let path = line.find('/').map(|at| &line[at..])?;
            let ours = path.ends_with("/libheisenbed_run.so");
            let system = SYSTEM.iter().any(|folder| path.starts_with(folder));
            (rights.contains('x') && !ours && !system).then(|| path.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_the_program_and_what_it_brings() {
        let maps = "\
            55d0-55d1 r--p 0 08:01 1 /home/me/test program\n\
            55d1-55d2 r-xp 0 08:01 1 /home/me/test program\n\
            7f00-7f01 r-xp 0 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
            7f02-7f03 r-xp 0 08:01 3 /tmp/x/libheisenbed_run.so\n\
            7f04-7f05 r-xp 0 08:01 4 /home/me/libmine.so\n\
            7ffd-7ffe r-xp 0 00:00 0 [vdso]\n";
        let own: Vec<String> = own_files(maps).into_iter().collect();
        assert_eq!(own, ["/home/me/libmine.so", "/home/me/test program"]);
    }
}
