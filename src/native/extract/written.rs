//! A discipline, from operations that agree, and its text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::locks::{LockRole, LockScope};
use super::steps::{Told, ToldOperation, ToldStep};
use super::{Reading, is_mark, may_return};
use crate::lifecycle::{
    BufferPath, Discipline, MeshPath, MicroStep, Program, ProgramKind, Severity, TooLong, lint,
};
use crate::numbers::plural;

/// What was extracted.
#[derive(Clone, Debug)]
pub(crate) struct Extracted {
    /// The discipline, if it can be written down at all.
    pub(crate) discipline: Option<Discipline>,
    /// The file.
    pub(crate) text: String,
    /// Why it is not the whole truth; none: it is.
    pub(crate) problems: Vec<String>,
    /// What is to be known beside.
    pub(crate) notes: Vec<String>,
}

/// Operations of one path and kind that went on.
struct Gathered<'a> {
    /// The number of an operation of each form, and how many have it; the most common first.
    forms: Vec<(usize, &'a ToldOperation, u64)>,
    /// Of those that returned early, likewise.
    returned: Vec<(usize, &'a ToldOperation, u64)>,
}

type Key = (BufferPath, ProgramKind);

/// Puts them together. `name` is the discipline's, `origin` says what it was extracted from.
pub(crate) fn write(reading: &Reading<'_>, name: &str, origin: &str) -> Extracted {
    let told = with_marks_that_matter(reading);
    let gathered = gather(&told);
    let mut problems = problems(reading, &gathered);
    let mut notes = reading.notes.clone();
    let program = |path, kind| {
        let key: Key = (path, kind);
        let forms = gathered.get(&key).map(|gathered| &gathered.forms);
        forms.and_then(|forms| forms.first()).copied()
    };
    for (path, one, other) in [
        (
            BufferPath::Plain,
            ProgramKind::Allocate,
            ProgramKind::Deallocate,
        ),
        (
            BufferPath::Mesh,
            ProgramKind::Allocate,
            ProgramKind::Deallocate,
        ),
        (
            BufferPath::Mesh,
            ProgramKind::Deallocate,
            ProgramKind::Allocate,
        ),
    ] {
        if path == BufferPath::Mesh && program(path, one).is_none() {
            continue;
        }
        for kind in [one, other] {
            if program(path, kind).is_none() {
                problems.push(format!("no {}{kind} of a buffer was seen", path.prefix()));
            }
        }
    }
    problems.dedup();
    let built = |path, kind| -> Option<Result<Program, TooLong>> {
        let (_, told, _) = program(path, kind)?;
        let steps = told.steps.iter().map(|told| match told.step {
            ToldStep::Step(step) => Some(step),
            ToldStep::Lock(_) | ToldStep::Unlock(_) => None,
        });
        let steps: Option<Vec<MicroStep>> = steps.collect();
        steps.map(Program::new)
    };
    let pair = |path| {
        let allocate = built(path, ProgramKind::Allocate)?.ok()?;
        Some((allocate, built(path, ProgramKind::Deallocate)?.ok()?))
    };
    let discipline = pair(BufferPath::Plain).map(|(allocate, deallocate)| Discipline {
        name: name.to_owned(),
        origin: origin.to_owned(),
        semantics: None,
        allocate,
        deallocate,
        cells: Default::default(),
        programs: Default::default(),
        mesh: pair(BufferPath::Mesh).map(|(allocate, deallocate)| MeshPath {
            allocate,
            deallocate,
        }),
    });
    if let Some(discipline) = &discipline {
        for finding in lint(discipline) {
            match finding.severity {
                Severity::Error => problems.push(finding.located("the discipline")),
                Severity::Warning => notes.push(finding.located("the discipline")),
            }
        }
    }
    let mut text = heading(reading, name, origin, &problems, &notes);
    for path in BufferPath::ALL {
        if path == BufferPath::Mesh && program(path, ProgramKind::Allocate).is_some() {
            text.push_str("\n[mesh]\n");
        }
        for kind in ProgramKind::ALL {
            if let Some(gathered) = gathered.get(&(path, kind)) {
                write_program(&mut text, reading, kind, gathered);
            }
        }
    }
    Extracted {
        discipline,
        text,
        problems,
        notes,
    }
}

/// What a status is marked as where nothing looks at it is no step.
fn with_marks_that_matter(reading: &Reading<'_>) -> BTreeMap<usize, ToldOperation> {
    let mut told = reading.told.clone();
    for one in told.values_mut() {
        if !reading.looks_at_status(one.path) {
            one.steps.retain(|one| !is_mark(one.step));
        }
    }
    told
}

fn gather(told: &BTreeMap<usize, ToldOperation>) -> BTreeMap<Key, Gathered<'_>> {
    type Forms<'a> = BTreeMap<Vec<ToldStep>, (usize, &'a ToldOperation, u64)>;
    let mut forms: BTreeMap<(Key, bool), Forms<'_>> = BTreeMap::new();
    for (at, told) in told {
        let steps = told.steps.iter().map(|told| told.step).collect();
        let of_kind = forms.entry(((told.path, told.kind), told.returned));
        let form = of_kind.or_default().entry(steps).or_insert((*at, told, 0));
        form.2 += 1;
    }
    let mut gathered: BTreeMap<Key, Gathered<'_>> = BTreeMap::new();
    for ((key, returned), forms) in forms {
        let mut forms: Vec<_> = forms.into_values().collect();
        forms.sort_by_key(|(at, _, count)| (u64::MAX - count, *at));
        let entry = gathered.entry(key).or_insert(Gathered {
            forms: Vec::new(),
            returned: Vec::new(),
        });
        match returned {
            true => entry.returned = forms,
            false => entry.forms = forms,
        }
    }
    gathered
}

fn problems(reading: &Reading<'_>, gathered: &BTreeMap<Key, Gathered<'_>>) -> Vec<String> {
    let mut problems: Vec<String> = reading.doubt().map(str::to_owned).into_iter().collect();
    problems.extend(reading.unnamed());
    for ((path, kind), gathered) in gathered {
        let name = format!("{}{kind}", path.prefix());
        let both = gathered.forms.iter().chain(&gathered.returned);
        let mut said: Vec<String> = both
            .filter_map(|(_, told, _)| Some(format!("{name}: {}", told.problem.as_ref()?)))
            .collect();
        said.dedup();
        problems.extend(said);
        if let [main, other, ..] = &gathered.forms[..] {
            problems.push(difference(reading, &name, main, other));
        }
        for (at, told, count) in &gathered.returned {
            let main = gathered.forms.first().map(|(_, told, _)| &told.steps[..]);
            if !main.is_some_and(|main| is_return_of(&told.steps, main)) {
                let what = match told.steps.iter().rfind(|told| told.act.is_some()) {
                    Some(Told {
                        act: Some(act),
                        step,
                    }) => format!(
                        "; the last that was seen is `{}` at {}",
                        step.text(&reading.locks),
                        reading.place(*at, *act)
                    ),
                    _ => String::new(),
                };
                problems.push(format!(
                    "{name}: {} did nothing, and it was not seen why{what}",
                    plural(*count, "operation")
                ));
            }
        }
    }
    problems
}

/// In words, with the places.
fn difference(
    reading: &Reading<'_>,
    name: &str,
    main: &(usize, &ToldOperation, u64),
    other: &(usize, &ToldOperation, u64),
) -> String {
    let step = |told: &(usize, &ToldOperation, u64), at: usize| match told.1.steps.get(at) {
        Some(one) => {
            let place = one.act.map(|act| reading.place(told.0, act));
            let place = place.map_or_else(String::new, |place| format!(" at {place}"));
            format!("`{}`{place}", one.step.text(&reading.locks))
        }
        None => "nothing more".to_owned(),
    };
    let first = (0..)
        .find(|at| {
            let of =
                |told: &(usize, &ToldOperation, u64)| told.1.steps.get(*at).map(|one| one.step);
            of(main) != of(other)
        })
        .unwrap_or_default();
    let circular = match main.1.is_circular == other.1.is_circular {
        true => "",
        false => " of circular buffers",
    };
    format!(
        "{name} is not always the same: step {} is {} in {}, and {} in {}{circular}",
        first + 1,
        step(main, first),
        plural(main.2, "operation"),
        step(other, first),
        other.2,
    )
}

/// Whether `steps` is `main` up to a step that may return, and then no more than giving locks back.
pub(super) fn is_return_of(steps: &[Told], main: &[Told]) -> bool {
    let same = steps.iter().zip(main);
    let common = same
        .take_while(|(one, other)| one.step == other.step)
        .count();
    let ends = (1..=common)
        .rev()
        .find(|end| may_return(main[*end - 1].step));
    ends.is_some_and(|end| {
        steps[end..].iter().all(|told| {
            matches!(
                told.step,
                ToldStep::Unlock(_) | ToldStep::Step(MicroStep::Unlock(_))
            )
        })
    })
}

fn heading(
    reading: &Reading<'_>,
    name: &str,
    origin: &str,
    problems: &[String],
    notes: &[String],
) -> String {
    let mut text = String::new();
    let recorded = reading.recorded;
    comment(
        &mut text,
        &format!(
            "Extracted by heisenbed from {} of {}. Behind each step: where the code does it.",
            plural(reading.told.len() as u64, "operation"),
            plural(recorded.schedules, "schedule")
        ),
    );
    for family in &reading.locks.families {
        let role = match &family.role {
            LockRole::Idle => "guards only itself, and is left out".to_owned(),
            LockRole::Allocators => {
                "the allocator's own: `alloc` and `free` take it for themselves".to_owned()
            }
            LockRole::Named(lock) => format!("is `{lock}`"),
            LockRole::Unnamed(_) => "has no name in the language".to_owned(),
        };
        let doubt = match (&family.scope, &family.role) {
            (LockScope::OneDevice, LockRole::Named(_)) => {
                "; only one device was seen, so that it may be one a device or the same for all"
            }
            _ => "",
        };
        comment(
            &mut text,
            &format!(
                "{} ({}): {role}{doubt}",
                family.name,
                family.scope_in_words()
            ),
        );
    }
    for problem in problems {
        comment(&mut text, &format!("NOT THE WHOLE TRUTH: {problem}"));
    }
    for note in notes {
        comment(&mut text, &format!("Note: {note}"));
    }
    let string = |value: &str| toml::Value::String(value.to_owned()).to_string();
    let _ = writeln!(text, "name   = {}", string(name));
    let _ = writeln!(text, "origin = {}", string(origin));
    text
}

fn write_program(
    text: &mut String,
    reading: &Reading<'_>,
    kind: ProgramKind,
    gathered: &Gathered<'_>,
) {
    for (number, (at, told, count)) in gathered.forms.iter().enumerate() {
        let lead = if number == 0 { "" } else { "# " };
        text.push('\n');
        if gathered.forms.len() > 1 {
            let of = plural(*count, "operation");
            comment(text, &format!("What {of} did:"));
        }
        let _ = writeln!(text, "{lead}{kind} = [");
        let lines: Vec<(String, String)> = told
            .steps
            .iter()
            .map(|told| {
                let step = format!("\"{}\",", told.step.text(&reading.locks));
                (step, place(reading, *at, told))
            })
            .collect();
        let width = lines.iter().map(|(step, _)| step.len()).max().unwrap_or(0);
        for (step, place) in lines {
            let line = match place.is_empty() {
                true => format!("{lead}    {step}"),
                false => format!("{lead}    {step:width$}  # {}", printable(&place)),
            };
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "{lead}]");
    }
}

/// What stands behind a step.
fn place(reading: &Reading<'_>, operation: usize, told: &Told) -> String {
    let Some(act) = told.act else {
        return match told.step {
            ToldStep::Step(MicroStep::Publish) => "the operation ends".to_owned(),
            _ => String::new(),
        };
    };
    let place = reading.place(operation, act);
    match told.step {
        ToldStep::Step(MicroStep::CheckLive) if !reading.returns_at(operation, act) => {
            format!("{place}: no release was seen to return here")
        }
        _ => place,
    }
}

fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in printable(words).split(' ') {
        if line.chars().count() + word.chars().count() >= 100 && line.len() > 1 {
            let _ = writeln!(text, "{line}");
            line = "#  ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

/// A comment ends with its line.
fn printable(words: &str) -> String {
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    words.chars().map(clean).collect()
}
