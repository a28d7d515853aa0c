//! What cells and ledgers are compared with: each check has a program of a few steps that it finds
//! wrong, and a twin that it does not. The defects of real reports are in `protocols`.

use std::collections::BTreeMap;

use heisenbed::engine::controlled::exhaustive::Searched;
use heisenbed::lifecycle::Discipline;
use heisenbed::oracle::{Kind, Verdict, check_trace};
use heisenbed::scenario::Scenario;

use crate::common::{all_kinds, recorded, scenario, searched, verdict, with_scenario};

/// Threads under a discipline of their own.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    /// Operations of each thread.
    pub(crate) script: &'a [&'a [&'a str]],
    pub(crate) processes: u16,
    /// Steps are parted by commas, as are those of programs.
    pub(crate) allocate: &'a str,
    pub(crate) deallocate: &'a str,
    pub(crate) cells: &'a [(&'a str, &'a str)],
    pub(crate) programs: &'a [(&'a str, &'a str)],
}

/// One thread that tracks nothing.
pub(crate) const ALONE: Case<'_> = Case {
    script: &[],
    processes: 1,
    allocate: "alloc, publish",
    deallocate: "free",
    cells: &[],
    programs: &[],
};

const KEPT: &str = "allocate s0#1 4096 l1 d0 releases=0";
const TAKEN: &str = "allocate s0#1 4096 l1 d0";
const GIVEN_BACK: &str = "release s0#1";
/// At the address of the one that was given back.
const NEXT_KEPT: &str = "allocate s1#1 4096 l1 d0 releases=0";

impl Case<'_> {
    pub(crate) fn scenario(&self) -> Scenario {
        let steps = |program: &str| {
            let steps: Vec<String> = (program.split(','))
                .map(|step| format!("{:?}", step.trim()))
                .collect();
            format!("[{}]", steps.join(", "))
        };
        let mut text = format!(
            "name = 'planted'\norigin = 'a test'\nallocate = {}\ndeallocate = {}\n[cells]\n",
            steps(self.allocate),
            steps(self.deallocate)
        );
        for (name, declared) in self.cells {
            text += &format!("{name} = {declared:?}\n");
        }
        text += "[programs]\n";
        for (name, program) in self.programs {
            text += &format!("{name} = {}\n", steps(program));
        }
        let mut scenario = scenario("name = 'planted'\ndevices = 2");
        scenario.threads = self.script.len() as u16;
        scenario.workload.processes = self.processes;
        let owned = |ops: &&[&str]| ops.iter().map(|op| (*op).to_owned()).collect();
        scenario.workload.script = Some(self.script.iter().map(owned).collect());
        scenario.discipline = Discipline::from_toml("planted", &text)
            .and_then(|discipline| discipline.accepted("planted"))
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        scenario.order = scenario.discipline.order();
        scenario.publish = scenario.discipline.publication();
        scenario.check().expect("the script fits its scenario");
        scenario
    }

    fn searched(&self) -> Searched {
        searched(&self.scenario(), &all_kinds())
    }

    /// Of one thread, which has one schedule: just these divergences, and whatever shows before the
    /// end has raised the alarm by then.
    #[track_caller]
    fn finds(&self, expected: &[(Kind, u64)]) {
        let found = self.searched();
        let example = found.example.as_ref().expect("it diverges");
        let expected: BTreeMap<Kind, u64> = expected.iter().copied().collect();
        assert_eq!(example.report.divergences, expected);
        let first = example.report.first.expect("the first is named");
        // What shows at rest is no operation's.
        if first.op.is_some() {
            let looked = found.divergences[&first.kind];
            assert!(looked > 1, "{first:?}: no alarm, it was seen at rest only");
        }
    }

    /// Of several threads: just these kinds.
    #[track_caller]
    fn shows(&self, expected: &[Kind]) {
        let found = self.searched();
        let kinds: Vec<Kind> = found.divergences.keys().copied().collect();
        assert_eq!(kinds, expected);
    }

    #[track_caller]
    fn is_proved(&self) {
        let found = self.searched();
        assert_eq!(found.divergences, BTreeMap::new());
        assert_eq!(verdict(&found), Verdict::Proved);
    }
}

#[test]
fn a_counter_of_buffers_is_compared_at_rest() {
    let case = Case {
        script: &[&[TAKEN, GIVEN_BACK]],
        allocate: "alloc, fetch-add held 1, publish",
        cells: &[("held", "global atomic counts buffers")],
        ..ALONE
    };
    case.finds(&[(Kind::DriftedTotal, 1)]);
    Case {
        deallocate: "fetch-sub held 1, free",
        ..case
    }
    .is_proved();
}

/// Each has its own: the bytes of another device, memory, process or thread are not in it.
#[test]
fn a_counter_counts_what_is_in_its_scope_and_nothing_else() {
    let case = Case {
        script: &[
            &["allocate s0#1 4096 l1 d0 releases=0"],
            &["allocate s1#1 8192 dram d1 releases=0"],
        ],
        processes: 2,
        allocate: "alloc, fetch-add all size, fetch-add of-device size, fetch-add of-memory size, \
                   fetch-add of-process size, fetch-add of-thread size, publish",
        cells: &[
            ("all", "global atomic counts bytes"),
            ("of-device", "device atomic counts bytes"),
            ("of-memory", "memory atomic counts bytes"),
            ("of-process", "process atomic counts bytes"),
            ("of-thread", "thread atomic counts bytes"),
        ],
        ..ALONE
    };
    case.is_proved();
    for (right, wrong) in [
        ("fetch-add of-device size", "fetch-add of-device[0] size"),
        ("fetch-add of-process size", "fetch-add of-process[1] size"),
    ] {
        let allocate = case.allocate.replace(right, wrong);
        Case {
            allocate: &allocate,
            ..case
        }
        .shows(&[Kind::DriftedTotal]);
    }
}

#[test]
fn a_process_that_two_of_its_threads_join_is_one_user() {
    let case = Case {
        script: &[&["run attach"], &["run attach"]],
        cells: &[("users", "global atomic counts users")],
        programs: &[("attach", "fetch-add users 1, join users")],
        ..ALONE
    };
    case.shows(&[Kind::DriftedTotal]);
    Case {
        programs: &[("attach", "cas users 0 -> 1, join users")],
        ..case
    }
    .is_proved();
}

#[test]
fn a_counter_below_nothing_and_one_beyond_its_most_are_counted_where_they_get_there() {
    let case = Case {
        script: &[&["run up", "run down"]],
        cells: &[("used", "global atomic counts bytes at most 10")],
        programs: &[("up", "store used 20"), ("down", "store used 15")],
        ..ALONE
    };
    case.finds(&[(Kind::Overrun, 1), (Kind::DriftedTotal, 1)]);
    Case {
        programs: &[("up", "store used 10"), ("down", "store used 0")],
        ..case
    }
    .is_proved();
    Case {
        cells: &[("used", "global atomic counts bytes")],
        programs: &[("up", "fetch-sub used 1"), ("down", "fetch-sub used 1")],
        ..case
    }
    .finds(&[(Kind::Underflow, 1), (Kind::DriftedTotal, 1)]);
}

#[test]
fn a_slot_that_is_taken_twice_is_a_conflict_and_one_of_a_dead_process_is_free() {
    let case = Case {
        script: &[&["run claim", "run claim"]],
        cells: &[("pid", "global[2] atomic owner")],
        programs: &[
            ("claim", "store pid[0] process"),
            ("another", "store pid[1] process"),
            ("give-up", "store pid[0] 0"),
        ],
        ..ALONE
    };
    case.finds(&[(Kind::SlotConflict, 1)]);
    Case {
        script: &[&["run claim", "run another"]],
        ..case
    }
    .finds(&[(Kind::SlotConflict, 1)]);
    Case {
        script: &[&["run claim", "run give-up", "run another"]],
        ..case
    }
    .is_proved();
    let two = Case {
        script: &[&["run claim"], &["run claim"]],
        processes: 2,
        ..case
    };
    two.shows(&[Kind::SlotConflict]);
    Case {
        script: &[&["run claim"], &["kill p1", "run claim"]],
        ..two
    }
    .is_proved();
}

#[test]
fn a_region_is_lost_where_it_is_made_anew_under_another_living_process() {
    let case = Case {
        script: &[&["run attach"], &["run make"]],
        processes: 2,
        cells: &[("made", "global plain region"), ("gone", "global atomic")],
        programs: &[
            ("attach", "join made"),
            ("make", "store made 1"),
            ("detach", "leave made, store gone 1"),
            ("make-later", "await gone == 1, store made 1"),
            ("idle", "x = load gone"),
        ],
        ..ALONE
    };
    case.shows(&[Kind::LostRegion]);
    for script in [
        // By its only user; after its only user has left; after that one was ended.
        [&["run attach", "run make"][..], &["run idle"]],
        [&["run attach", "run detach"], &["run make-later"]],
        [&["run attach"], &["kill p1", "run make"]],
    ] {
        Case {
            script: &script,
            ..case
        }
        .is_proved();
    }
}

#[test]
fn an_entry_in_the_ledger_of_another_device_is_misattributed() {
    let case = Case {
        script: &[&[TAKEN, GIVEN_BACK]],
        allocate: "alloc, insert blocks, publish",
        deallocate: "erase blocks, free",
        cells: &[("blocks", "device atomic ledger")],
        ..ALONE
    };
    case.is_proved();
    Case {
        allocate: "alloc, insert blocks[1], publish",
        deallocate: "erase blocks[1], free",
        ..case
    }
    .finds(&[(Kind::Misattributed, 1)]);
    Case {
        deallocate: "erase blocks[1], free",
        ..case
    }
    .finds(&[(Kind::Misattributed, 1), (Kind::PhantomLive, 1)]);
}

/// The late erasing of an entry hits whatever is entered at the address by then.
#[test]
fn what_an_erase_takes_out_is_told_by_whose_it_was() {
    let case = Case {
        script: &[&[TAKEN, GIVEN_BACK, "run again s0#1"]],
        allocate: "alloc, insert blocks, publish",
        deallocate: "erase blocks, free",
        cells: &[("blocks", "global atomic ledger")],
        programs: &[("again", "erase blocks")],
        ..ALONE
    };
    // Nobody's.
    case.finds(&[(Kind::UnknownFree, 1)]);
    // That of a buffer that lives; at rest it is missing, once more.
    Case {
        script: &[&[TAKEN, GIVEN_BACK, NEXT_KEPT, "run again s0#1"]],
        ..case
    }
    .finds(&[(Kind::MissingLive, 2)]);
    // That of a buffer that is gone, by the one that lives there now and is not entered.
    Case {
        script: &[&[TAKEN, GIVEN_BACK, NEXT_KEPT, "run again s1#1"]],
        allocate: "alloc, seen = find blocks, if seen == 0, insert blocks, end, publish",
        deallocate: "free",
        ..case
    }
    .finds(&[(Kind::UnknownFree, 1), (Kind::MissingLive, 1)]);
}

#[test]
fn at_rest_each_entry_is_a_live_buffer_and_each_live_buffer_has_one() {
    let case = Case {
        script: &[&[TAKEN, GIVEN_BACK]],
        allocate: "alloc, seen = find blocks, if seen == 0, insert blocks, end, publish",
        deallocate: "free",
        cells: &[("blocks", "global atomic ledger")],
        ..ALONE
    };
    case.finds(&[(Kind::PhantomLive, 1)]);
    Case {
        script: &[&[TAKEN, GIVEN_BACK, NEXT_KEPT]],
        ..case
    }
    .finds(&[(Kind::StaleMetadata, 1)]);
    Case {
        script: &[&[KEPT]],
        allocate: "alloc, publish",
        ..case
    }
    .finds(&[(Kind::MissingLive, 1)]);
    Case {
        script: &[&[TAKEN, GIVEN_BACK, NEXT_KEPT]],
        deallocate: "erase blocks, free",
        ..case
    }
    .is_proved();
    // One that is entered twice over, and one that is taken.
    Case {
        script: &[&[KEPT]],
        allocate: "alloc, insert blocks, insert blocks, publish",
        ..case
    }
    .finds(&[(Kind::DuplicateAlloc, 1)]);
}

#[test]
fn a_buffer_that_is_gone_is_not_used_and_a_tracker_that_is_gone_is_told_nothing() {
    let case = Case {
        script: &[&[TAKEN, "run read s0#1", GIVEN_BACK]],
        cells: &[("up", "global atomic = 1")],
        programs: &[
            ("read", "use buffer"),
            ("tell", "tell up"),
            ("teardown", "store up 0"),
        ],
        ..ALONE
    };
    case.is_proved();
    Case {
        script: &[&[TAKEN, GIVEN_BACK, "run read s0#1"]],
        ..case
    }
    .finds(&[(Kind::UseAfterRelease, 1)]);
    Case {
        script: &[&["run tell", "run teardown"]],
        ..case
    }
    .is_proved();
    Case {
        script: &[&["run teardown", "run tell"]],
        ..case
    }
    .finds(&[(Kind::LateMessage, 1)]);
}

#[test]
fn a_cell_of_a_buffer_begins_anew_with_each() {
    Case {
        script: &[&[TAKEN, GIVEN_BACK, "allocate s0#2 4096 l1 d0 releases=0"]],
        allocate: "alloc, had = fetch-add uses 1, if had == 0, fetch-add held 1, end, publish",
        deallocate: "fetch-sub held 1, free",
        cells: &[
            ("uses", "buffer atomic"),
            ("held", "global atomic counts buffers"),
        ],
        ..ALONE
    }
    .is_proved();
}

/// A process allocates after another one was killed that had, too.
pub(crate) const AFTER_A_KILL: Case = Case {
    script: &[
        &["allocate s0#1 4096 l1 d0 releases=0"],
        &["kill p1", "allocate s1#1 4096 l1 d0 releases=0"],
    ],
    processes: 2,
    // Of the one that lives on: nobody mends the other's.
    allocate: "alloc, if process == 2, fetch-add held 1, end, publish",
    cells: &[("held", "process atomic counts buffers")],
    ..ALONE
};

/// With no message on its way, what is live is nothing that a server should know of.
#[test]
fn who_allocates_after_another_process_was_killed_has_done_nothing_wrong() {
    AFTER_A_KILL.is_proved();
}

/// A record that says otherwise is not of this run, or of no run.
#[test]
fn what_a_step_found_in_a_cell_is_what_was_left_there() {
    let with = |declared| Case {
        script: &[&[KEPT]],
        allocate: "alloc, seen = load limit, fetch-add held 1, publish",
        cells: declared,
        ..ALONE
    };
    let held = ("held", "global atomic counts buffers");
    let (right, wrong) = (
        [held, ("limit", "global atomic = 3")],
        [held, ("limit", "global atomic = 4")],
    );
    let (right, wrong) = (with(&right).scenario(), with(&wrong).scenario());
    let (_, trace) = recorded(&right, 0);
    for (of, expected) in [(right, Some(Verdict::Clean)), (wrong, None)] {
        let report = check_trace(&with_scenario(&trace, &of), |_| ());
        let verdict = report.as_ref().ok().map(|report| report.verdict);
        assert_eq!(verdict, expected, "{report:?}");
    }
}
