//! A reproducer of `run`, run again: for `replay` and `shrink`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Context, Format};
use super::super::output;
use super::super::progress::Progress;
use super::super::rerun::is_text;
use super::super::terminal_style;
use super::adapted::Adapted;
use super::exhaustive;
use super::failed::least;
use crate::native::execution::VisibleAction;
use crate::native::findings::{CodeLine, last_line};
use crate::native::launcher::{LaunchOptions, ProgramOutput};
use crate::native::plan::RunStrategy;
use crate::native::race_text::{self, RaceText};
use crate::native::races::{RaceFails, RacePlan};
use crate::native::target::shrink::shrink_ops;
use crate::native::{
    Execution, Explained, LaunchError, Launcher, RunPlan, RunReproducer, Symbols, UserProgram,
    WorkLimit,
};
use crate::numbers::plural;
use crate::report::page::actions::ActionRow;

/// What `replay` and `shrink` run once more takes no longer than this.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How wide a timeline is where no terminal says.
const WIDTH: usize = 100;

/// Whether the file is a reproducer of `run`.
pub(in crate::cli) fn is_run(path: &Path) -> bool {
    // What is no plain file (a pipe, a device) cannot be read twice.
    is_text(path)
        && path.is_file()
        && std::fs::read_to_string(path).is_ok_and(|text| RunReproducer::is_one(&text))
}

/// `replay` of a reproducer of `run`: exit 0 when the program fails as it did, 1 when it does not.
/// With `adapt` the schedule is followed as far as a program that was changed lets it: exit 0 when
/// the failure is gone, 1 when there is one.
pub(in crate::cli) fn replay(path: &Path, adapt: bool, context: &Context) -> CommandOutcome {
    try_replay(path, adapt, context)
        .unwrap_or_else(|error| CommandOutcome::bad_input(error, context.format))
}

fn try_replay(
    path: &Path,
    adapt: bool,
    context: &Context,
) -> Result<CommandOutcome, Box<dyn std::error::Error>> {
    let started = Instant::now();
    let reproducer = RunReproducer::read(path)?;
    let (program, mut launcher) = launch(&reproducer)?;
    let changed = program.build_id != reproducer.program.build_id;
    let plan = RunPlan {
        strict: !adapt,
        ..reproducer.plan()
    };
    let plan = with_expected_race(&mut launcher, &reproducer, plan)?;
    let (execution, story) = show(&mut launcher, &plan)?;
    let difference = difference(&reproducer, &execution);
    let mut stderr = String::new();
    if changed {
        let _ = writeln!(
            stderr,
            "note: {} was changed since: its build id is {}, not {}",
            program.path.display(),
            program.build_id,
            reproducer.program.build_id
        );
    }
    if adapt {
        let adapted = Adapted {
            name: path.display().to_string(),
            reproducer: &reproducer,
            execution: &execution,
            story: &story,
            changed,
            stderr,
            elapsed_s: started.elapsed().as_secs_f64(),
        };
        return Ok(adapted.outcome(context.format));
    }
    let name = path.display();
    let stdout = match context.format {
        Format::Json => format!(
            "{}\n",
            json!({
                "replayed": difference.is_none(),
                "error": difference,
                "program_changed": changed,
                "failure": execution.failure.as_ref().map(|failure| json!({
                    "kind": failure.kind, "summary": failure.summary,
                })),
                "steps": execution.step_count,
                "threads": execution.threads,
                "preemptions": execution.preempted.len(),
                "elapsed_s": started.elapsed().as_secs_f64(),
            })
        ),
        Format::Human => {
            let how = match &difference {
                None => format!(
                    "{name}: as expected ({}), in {:.2} s\n",
                    reproducer.expect.failure,
                    started.elapsed().as_secs_f64()
                ),
                Some(difference) => format!("{name}: {difference}\n{}", advice(changed)),
            };
            format!("{how}{story}")
        }
    };
    let status = match difference {
        None => ExitStatus::Holds,
        Some(_) => ExitStatus::Diverged,
    };
    Ok(CommandOutcome {
        stdout,
        stderr,
        exit_code: status.code(),
    })
}

fn advice(changed: bool) -> &'static str {
    if changed {
        "  The program was changed since; --adapt follows the schedule as far as it can\n"
    } else {
        "  The program is the same: something that it reads (files, the network, another process) \
         is not\n"
    }
}

/// How it is not what was recorded.
fn difference(reproducer: &RunReproducer, execution: &Execution) -> Option<String> {
    let expected = reproducer.expect.failure;
    if let Some(thread) = execution.strayed {
        return Some(format!(
            "after {} thread {thread} could not take the step that it took when this was recorded",
            plural(execution.step_count, "step")
        ));
    }
    let places = execution
        .race
        .as_ref()
        .and_then(|accused| Some(accused.text.as_ref()?.places()));
    match &execution.failure {
        Some(failure) if failure.kind == expected && reproducer.expect.race == places => None,
        Some(failure) if failure.kind == expected => Some(format!(
            "it has a data race elsewhere: {}; {} was recorded",
            failure.summary, reproducer.expect.summary
        )),
        Some(failure) => Some(format!(
            "it failed otherwise: {} ({}), not {expected}",
            failure.kind, failure.summary
        )),
        None => Some(format!(
            "it did not fail; {expected} ({}) was recorded",
            reproducer.expect.summary
        )),
    }
}

/// The plan, with the race that is expected for the only one that counts; any, where that one does
/// not show.
fn with_expected_race(
    launcher: &mut Launcher,
    reproducer: &RunReproducer,
    plan: RunPlan,
) -> Result<RunPlan, LaunchError> {
    let Some(expected) = &reproducer.expect.race else {
        return Ok(plan);
    };
    let execution = launcher.run(&plan)?;
    let symbols = Symbols::new(launcher.maps());
    let found = execution
        .seen_races()
        .races
        .iter()
        .find(|race| RaceText::new(race, &symbols).places() == *expected);
    Ok(RunPlan {
        races: RacePlan {
            fails: found.map_or(RaceFails::Any, |race| RaceFails::Only(race.pair())),
            ..plan.races
        },
        ..plan
    })
}

fn launch(
    reproducer: &RunReproducer,
) -> Result<(UserProgram, Launcher), Box<dyn std::error::Error>> {
    let program = reproducer.program()?;
    let options = LaunchOptions {
        timeout: TIMEOUT,
        output: ProgramOutput::Kept,
    };
    let launcher = Launcher::start(&program, options)?;
    Ok((program, launcher))
}

/// A reproducer that was run again, with all that a page shows of it.
pub(in crate::cli) struct RerunProgram {
    pub(in crate::cli) reproducer: RunReproducer,
    pub(in crate::cli) execution: Execution,
    /// What was done, action by action.
    pub(in crate::cli) rows: Vec<ActionRow>,
    /// The same as text.
    pub(in crate::cli) story: String,
    /// What went wrong, in lines.
    pub(in crate::cli) told: Option<String>,
    /// How it is not what was recorded.
    pub(in crate::cli) difference: Option<String>,
    /// Whether the program is another than it was.
    pub(in crate::cli) changed: bool,
}

/// Runs a reproducer again, for a page.
pub(in crate::cli) fn for_page(path: &Path) -> Result<RerunProgram, Box<dyn std::error::Error>> {
    let reproducer = RunReproducer::read(path)?;
    let (program, mut launcher) = launch(&reproducer)?;
    let plan = with_expected_race(&mut launcher, &reproducer, reproducer.plan())?;
    let shown = show_rows(&mut launcher, &plan)?;
    Ok(RerunProgram {
        difference: difference(&reproducer, &shown.execution),
        changed: program.build_id != reproducer.program.build_id,
        reproducer,
        execution: shown.execution,
        rows: shown.rows,
        told: shown.told,
        story: shown.story,
    })
}

/// Runs a plan with the stack of each action, and tells what happened.
pub(super) fn show(
    launcher: &mut Launcher,
    plan: &RunPlan,
) -> Result<(Execution, String), LaunchError> {
    let shown = show_rows(launcher, plan)?;
    Ok((shown.execution, shown.story))
}

/// The same, and the line of the user's code that it passed last: of a target, in its library.
pub(super) fn show_with_line(
    launcher: &mut Launcher,
    plan: &RunPlan,
    library: Option<&str>,
) -> Result<(Execution, String, Option<CodeLine>), LaunchError> {
    let shown = show_rows(launcher, plan)?;
    let symbols = Symbols::new(launcher.maps());
    let line = last_line((&shown.execution, &shown.events), &symbols, library);
    Ok((shown.execution, shown.story, line))
}

/// An execution with what was done in it.
struct ShownExecution {
    execution: Execution,
    events: Vec<VisibleAction>,
    rows: Vec<ActionRow>,
    story: String,
    told: Option<String>,
}

fn show_rows(launcher: &mut Launcher, plan: &RunPlan) -> Result<ShownExecution, LaunchError> {
    let plan = RunPlan {
        stacks: true,
        ..plan.clone()
    };
    let mut execution = launcher.run(&plan)?;
    // When its accesses are is known now.
    if let Some(accused) = &execution.race {
        let races = plan.races.watching(&accused.race);
        execution = launcher.run(&RunPlan { races, ..plan })?;
    }
    let events = launcher.events(&execution)?;
    let symbols = Symbols::new(launcher.maps());
    race_text::name(&mut execution, &symbols);
    let width = terminal_style::width().unwrap_or(WIDTH);
    let explained = Explained::new(&execution, &events, &symbols).with_target(launcher.setup());
    let (rows, story, told) = (
        explained.actions(),
        explained.render(width),
        explained.told(),
    );
    Ok(ShownExecution {
        execution,
        events,
        rows,
        story,
        told,
    })
}

/// `shrink` of a reproducer of `run`.
pub(in crate::cli) fn shrink(
    path: &Path,
    output: Option<&Path>,
    context: &Context,
) -> CommandOutcome {
    try_shrink(path, output, context)
        .unwrap_or_else(|error| CommandOutcome::bad_input(error, context.format))
}

fn try_shrink(
    path: &Path,
    output: Option<&Path>,
    context: &Context,
) -> Result<CommandOutcome, Box<dyn std::error::Error>> {
    let reproducer = RunReproducer::read(path)?;
    let (program, mut launcher) = launch(&reproducer)?;
    let plan = with_expected_race(&mut launcher, &reproducer, reproducer.plan())?;
    let mut execution = launcher.run(&plan)?;
    race_text::name(&mut execution, &Symbols::new(launcher.maps()));
    if let Some(difference) = difference(&reproducer, &execution) {
        return Ok(CommandOutcome::undecided(
            format!("{}: {difference}", path.display()),
            context.format,
        ));
    }
    // Whoever asks for that alone says when it is enough.
    let limit = WorkLimit::new(None, Some(&context.interrupt));
    let mut progress = Progress::new(context.quiet, "shrink", "schedules", 0);
    let operations = launcher.within(&limit, |launcher| {
        shrink_ops(launcher, (&plan, &execution), &mut |tried| {
            progress.update(tried);
            true
        })
    })?;
    progress.finish();
    let plan = match operations {
        Some(shrunk) => {
            execution = shrunk.execution;
            shrunk.plan
        }
        None => plan,
    };
    let found = RunPlan {
        strategy: RunStrategy::First,
        ..plan
    };
    let (small, minimum) = launcher.within(&limit, |launcher| {
        let prove = exhaustive::PROVE_MINIMUM;
        least(launcher, prove, (&found, &execution), context)
    })?;
    let (shown, story) = show(&mut launcher, &small.plan)?;
    let Some(failure) = &shown.failure else {
        return Ok(CommandOutcome::undecided(
            format!("{}: it does not fail each time", path.display()),
            context.format,
        ));
    };
    if let Some(output) = output {
        let text = RunReproducer::new(&program, &small.plan, &shown, failure)
            .of_target(launcher.setup())
            .to_text()?;
        output::write(output, &text)?;
    }
    let stdout = match context.format {
        Format::Json => format!(
            "{}\n",
            json!({
                "verdict": crate::oracle::Verdict::Diverged,
                "failure": { "kind": failure.kind, "summary": failure.summary },
                "preemptions": shown.preempted.len(),
                "preemptions_before": small.preemptions_before,
                "tried": small.tried,
                "minimum": minimum.as_ref().map(exhaustive::minimum_json),
                "reproducer": output,
            })
        ),
        Format::Human => format!(
            "{}, before {} ({} tried)\n{}{story}",
            plural(shown.preempted.len() as u64, "preemption"),
            small.preemptions_before,
            plural(small.tried, "schedule"),
            minimum
                .as_ref()
                .map(|proof| exhaustive::minimum(proof, shown.preempted.len() as u64))
                .unwrap_or_default(),
        ),
    };
    Ok(CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: ExitStatus::Holds.code(),
    })
}
