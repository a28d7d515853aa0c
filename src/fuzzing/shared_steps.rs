//! Programs with cells, ledgers, branches and locks of other sorts.
//!
//! Input: bytes that choose phrases of a few steps and where they come in, then one byte a choice
//! of the [`Bytes`] scheduler. Phrases rather than steps, because nearly no program made of random
//! steps has blocks that close.
//!
//! Demanded, whatever the programs: they survive their text, and a scenario takes them exactly when
//! the lint finds no error. Of what it accepts: the run does not contradict itself, that is, engine
//! and oracle take every step alike; each event survives the trace's encoding; what diverges before
//! the end has raised the alarm by then, on which searches rely; and where every schedule was
//! searched and none diverged, the drawn one did not either.

use std::collections::BTreeMap;

use arbitrary::Unstructured;

use crate::engine::controlled::exhaustive::{self, Goal, SearchOptions};
use crate::engine::controlled::machine::{Machine, RunEnd, Setup};
use crate::engine::controlled::schedule::NotingScheduler;
use crate::engine::controlled::schedulers::Bytes;
use crate::lifecycle::{Discipline, MicroStep, Program, Severity, lint};
use crate::oracle::{Checker, Verdict};
use crate::scenario::{Scenario, ScenarioFile};
use crate::trace::codec::{Decoder, Encoder};
use crate::trace::event::Event;
use crate::trace::merge::MergedEvent;

const MAX_PHRASES: usize = 8;
/// More than two threads can take: the loops end after a few rounds.
const MAX_STEPS: u64 = 20_000;
const MAX_STATES: u64 = 1_500;

const CELLS: [(&str, &str); 8] = [
    ("total", "device atomic counts bytes at most 12288"),
    ("mine", "process plain counts bytes"),
    ("users", "global plain counts users"),
    ("pid", "global[2] atomic owner"),
    ("made", "global plain region"),
    ("refs", "buffer atomic = 1"),
    ("map", "global ledger"),
    ("amap", "device atomic ledger"),
];

/// Phrases; the steps of each stand apart by `;`.
const PHRASES: [&str; 42] = [
    "x = load total",
    "store total x + size",
    "fetch-add total size",
    "y = fetch-sub total size",
    "x = load total;won = cas total x -> x + size",
    "add mine size",
    "sub mine size",
    "x = load total;retry 2;won = cas total x -> x - size or 0;if won == 1;break;end;end",
    "x = load pid[0];if x == 0;store pid[0] process;else;store pid[1] process;end",
    "cas pid[0] 0 -> process",
    "store pid[0] 0",
    "store made 1",
    "join made;fetch-add refs 1",
    "leave made",
    "add users 1;join users",
    "leave users;sub users 1",
    "entry = find map",
    "insert map",
    "erase map",
    "insert amap",
    "old = erase amap",
    "entry = find amap;use entry",
    "use buffer",
    "lock global;insert map;unlock global",
    "lock-shared global;entry = find map;unlock-shared global",
    "lock tracker",
    "unlock tracker",
    "got = try-lock tracker;if got == 1;erase map;unlock tracker;end",
    "lock global;wait global;unlock global",
    "notify global",
    "notify-all global",
    "await refs != 0",
    "if size > 4096;return;end",
    "repeat 2;add mine 1;end",
    "x = load refs;if x == 1;free;end",
    "x = thread;y = x - 1;if y == 0;store refs buffer;end",
    "send FREE",
    "send ALLOC",
    "else",
    "end",
    "died = lock-robust global;fetch-add refs 1;unlock global",
    "x = load made;if x != 0;tell made;end",
];

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some((discipline, schedule)) = draw(bytes) else {
        return;
    };
    let text = toml::to_string(&discipline).expect("a discipline has string keys");
    let again: Discipline = toml::from_str(&text).expect("its own text parses");
    assert_eq!(
        again, discipline,
        "another discipline comes out of its text"
    );
    let findings = lint(&discipline);
    let accepted = !(findings.iter()).any(|finding| finding.severity == Severity::Error);
    let Some(scenario) = scenario(&discipline) else {
        assert!(!accepted, "a scenario refuses what the lint accepts");
        return;
    };
    assert!(
        accepted,
        "a scenario takes what the lint refuses: {findings:?}"
    );
    holds(scenario, schedule);
}

/// The input as a discipline, with what the lint says of it. `None`: it is too short to be one.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    let (discipline, _) = draw(bytes)?;
    Some(super::linted(&discipline))
}

fn draw(bytes: &[u8]) -> Option<(Discipline, &[u8])> {
    let (&[count], rest) = bytes.split_first_chunk()?;
    let mut programs = [
        vec!["alloc", "mark-live", "publish"],
        vec!["claim", "free", "mark-dead"],
        vec!["debug-log"],
    ];
    let mut draws = Unstructured::new(rest);
    for _ in 0..=usize::from(count) % MAX_PHRASES {
        let [which, at, phrase]: [u8; 3] = draws.arbitrary().ok()?;
        let program = &mut programs[usize::from(which) % 3];
        let at = usize::from(at) % (program.len() + 1);
        let phrase = PHRASES[usize::from(phrase) % PHRASES.len()];
        program.splice(at..at, phrase.split(';'));
    }
    let parsed = programs.map(|steps| {
        let steps = steps.into_iter().map(str::parse::<MicroStep>);
        let steps: Option<Vec<MicroStep>> = steps.map(Result::ok).collect();
        Program::new(steps?).ok()
    });
    let [allocate, deallocate, other] = parsed;
    let cells = CELLS.iter().map(|(name, spec)| {
        let name = name.parse().expect("a name");
        (name, spec.parse().expect("a declaration"))
    });
    let discipline = Discipline {
        name: "fuzzed".to_owned(),
        origin: String::new(),
        semantics: None,
        allocate: allocate?,
        deallocate: deallocate?,
        mesh: None,
        cells: cells.collect(),
        programs: BTreeMap::from([("other".parse().expect("a name"), other?)]),
    };
    Some((discipline, draws.take_rest()))
}

/// Two threads of two processes, where the discipline is accepted.
fn scenario(discipline: &Discipline) -> Option<Scenario> {
    let mut scenario = ScenarioFile::load("own-buffers")
        .expect("it is built in")
        .condensed(Some(2), Some(4))
        .resolve()
        .expect("it is sound");
    scenario.discipline = discipline.clone();
    (scenario.order, scenario.publish) = (discipline.order(), discipline.publication());
    scenario.workload.processes = 2;
    let script = [
        ["allocate s0#1 4096 l1 d0", "run other s2#1", "release s0#1"],
        ["allocate s2#1 8192 l1 d0", "release s2#1", "run other s0#1"],
    ];
    scenario.workload.script = Some(script.map(|ops| ops.map(str::to_owned).to_vec()).to_vec());
    scenario.check().ok()?;
    Some(scenario)
}

fn holds(scenario: Scenario, schedule: &[u8]) {
    let setup = Setup::new(scenario, 0).expect("it is small");
    let mut machine = Machine::new(&setup);
    let mut events: Vec<MergedEvent> = Vec::new();
    let mut scheduler = NotingScheduler::new(Bytes::new(schedule));
    let end = machine.run(&mut scheduler, &mut events, MAX_STEPS);
    let mut checker = Checker::new(&setup.scenario, true);
    events.iter().for_each(|event| checker.observe(event));
    assert_eq!(checker.contradiction(), None);
    let early = checker.listed().len();
    assert!(
        early == 0 || machine.alarmed(),
        "a divergence without an alarm: {:?}",
        checker.listed()
    );
    survive_their_encoding(&setup, &events);
    let mut diverged = end == RunEnd::Deadlock || early > 0;
    if end == RunEnd::Completed {
        checker.rest();
        diverged |= !checker.listed().is_empty();
    }
    let options = SearchOptions {
        goal: Goal::First,
        max_states: MAX_STATES,
        ..SearchOptions::default()
    };
    let found = exhaustive::search(&setup, &options, &mut |_| true);
    let (verdict, _) = found.verdict(None);
    assert!(
        !diverged || verdict != Verdict::Proved,
        "proved, and a schedule diverges: {:?}",
        checker.listed()
    );
}

fn survive_their_encoding(setup: &Setup, events: &[MergedEvent]) {
    for stream in 0..setup.scenario.threads {
        let mut encoder = Encoder::new(setup.scenario.objects());
        let mut bytes = Vec::new();
        let own = || events.iter().filter(|event| event.stream == stream);
        own().for_each(|event| encoder.encode(&event.event, &mut bytes));
        let mut decoder = Decoder::new(setup.scenario.objects());
        let mut rest = &bytes[..];
        let mut decoded: Vec<Event> = Vec::new();
        while !rest.is_empty() {
            decoded.push(
                decoder
                    .decode(&mut rest)
                    .expect("what was written can be read"),
            );
        }
        assert!(
            own().map(|event| event.event).eq(decoded),
            "other events come out"
        );
    }
}
