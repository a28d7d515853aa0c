use super::*;
use crate::lifecycle::{Order, Publication, builtin};

/// A discipline from two lists of steps, one a line in a text whose allocate begins at line 3.
fn discipline(allocate: &[&str], deallocate: &[&str]) -> Discipline {
    let list = |steps: &[&str]| {
        steps
            .iter()
            .map(|step| format!("\"{step}\",\n"))
            .collect::<String>()
    };
    let text = format!(
        "name = \"mine\"\nallocate = [\n{}]\ndeallocate = [\n{}]\n",
        list(allocate),
        list(deallocate)
    );
    Discipline::from_toml("mine.toml", &text).expect("the steps are known")
}

const ALLOCATE: [&str; 4] = ["alloc", "mark-live", "send ALLOC", "publish"];
const DEALLOCATE: [&str; 4] = ["check-live", "send FREE", "free", "mark-dead"];

fn lines(findings: &[LintFinding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| format!("{}: {}", finding.severity, finding.located("mine.toml")))
        .collect()
}

#[test]
fn every_built_in_in_every_form_is_free_of_findings() {
    for discipline in builtin::all() {
        for order in [Order::TrackFirst, Order::FreeFirst] {
            for publication in [Publication::Late, Publication::Early] {
                let findings = lint(&discipline.with(order, publication));
                assert_eq!(findings, [], "{} {order} {publication}", discipline.name);
            }
        }
    }
}

/// What each is, and the steps of the program that it is in.
const SLIPS: [(&str, ProgramKind, &[&str]); 28] = [
    (
        "unlock of what is not held",
        ProgramKind::Deallocate,
        &[
            "check-live",
            "unlock lifecycle",
            "send FREE",
            "free",
            "mark-dead",
        ],
    ),
    (
        "unlock of another table",
        ProgramKind::Deallocate,
        &[
            "check-live",
            "lock lifecycle[8]",
            "send FREE",
            "free",
            "mark-dead",
            "unlock lifecycle[4]",
        ],
    ),
    (
        "lock of what is held",
        ProgramKind::Allocate,
        &[
            "lock global",
            "alloc",
            "mark-live",
            "lock global",
            "send ALLOC",
            "unlock global",
            "publish",
        ],
    ),
    (
        "lock held at the end",
        ProgramKind::Allocate,
        &[
            "alloc",
            "mark-live",
            "lock tracker",
            "send ALLOC",
            "publish",
        ],
    ),
    (
        "send before the address",
        ProgramKind::Allocate,
        &["send ALLOC", "alloc", "mark-live", "publish"],
    ),
    (
        "circular send before the address",
        ProgramKind::Allocate,
        &["send CB_ALLOC", "alloc", "mark-live", "publish"],
    ),
    (
        "publish before the address",
        ProgramKind::Allocate,
        &["publish", "alloc", "mark-live", "send ALLOC"],
    ),
    (
        "FREE in allocate",
        ProgramKind::Allocate,
        &["alloc", "mark-live", "send FREE", "publish"],
    ),
    (
        "ALLOC in deallocate",
        ProgramKind::Deallocate,
        &["check-live", "send ALLOC", "free", "mark-dead"],
    ),
    (
        "never allocates",
        ProgramKind::Allocate,
        &["mark-live", "send ALLOC", "publish"],
    ),
    (
        "allocates twice",
        ProgramKind::Allocate,
        &["alloc", "alloc", "mark-live", "send ALLOC", "publish"],
    ),
    (
        "never publishes",
        ProgramKind::Allocate,
        &["alloc", "mark-live", "send ALLOC"],
    ),
    (
        "publishes twice",
        ProgramKind::Allocate,
        &["alloc", "mark-live", "publish", "send ALLOC", "publish"],
    ),
    (
        "never releases",
        ProgramKind::Deallocate,
        &["check-live", "send FREE", "mark-dead"],
    ),
    (
        "releases twice",
        ProgramKind::Deallocate,
        &["check-live", "free", "send FREE", "free", "mark-dead"],
    ),
    (
        "release steps in allocate",
        ProgramKind::Allocate,
        &[
            "check-live",
            "alloc",
            "mark-live",
            "claim",
            "send ALLOC",
            "free",
            "mark-dead",
            "publish",
        ],
    ),
    (
        "allocate steps in deallocate",
        ProgramKind::Deallocate,
        &[
            "check-live",
            "alloc",
            "send FREE",
            "free",
            "publish",
            "mark-live",
            "mark-dead",
        ],
    ),
    (
        "a check after the claim",
        ProgramKind::Deallocate,
        &["claim", "check-live", "send FREE", "free", "mark-dead"],
    ),
    (
        "a claim after the end",
        ProgramKind::Deallocate,
        &["mark-dead", "claim", "send FREE", "free"],
    ),
    (
        "never marked live",
        ProgramKind::Allocate,
        &["alloc", "send ALLOC", "publish"],
    ),
    (
        "a stamp without a message",
        ProgramKind::Deallocate,
        &["check-live", "send FREE", "free", "stamp", "mark-dead"],
    ),
    (
        "two stamps for a message",
        ProgramKind::Deallocate,
        &[
            "check-live",
            "stamp",
            "stamp",
            "send FREE",
            "free",
            "mark-dead",
        ],
    ),
    (
        "a stamp before the check",
        ProgramKind::Deallocate,
        &["stamp", "check-live", "send FREE", "free", "mark-dead"],
    ),
    (
        "nothing to send",
        ProgramKind::Deallocate,
        &["check-live", "free", "mark-dead"],
    ),
    (
        "no check before the release",
        ProgramKind::Deallocate,
        &["send FREE", "free", "mark-dead"],
    ),
    (
        "a check after the release",
        ProgramKind::Deallocate,
        &["send FREE", "free", "check-live", "mark-dead"],
    ),
    (
        "a status that never changes",
        ProgramKind::Deallocate,
        &["check-live", "send FREE", "free"],
    ),
    (
        "a lock order of its own",
        ProgramKind::Allocate,
        &[
            "lock tracker",
            "lock global",
            "alloc",
            "mark-live",
            "send ALLOC",
            "unlock global",
            "unlock tracker",
            "lock global",
            "lock tracker",
            "unlock tracker",
            "unlock global",
            "publish",
        ],
    ),
];

#[test]
fn every_slip_has_its_own_message() {
    let allocate = |steps: &[&str]| lines(&lint(&discipline(steps, &DEALLOCATE)));
    let deallocate = |steps: &[&str]| lines(&lint(&discipline(&ALLOCATE, steps)));
    let cases = SLIPS.iter().map(|(case, program, steps)| match program {
        ProgramKind::Allocate => (*case, allocate(steps)),
        ProgramKind::Deallocate => (*case, deallocate(steps)),
    });
    let empty = ("empty programs", lines(&lint(&discipline(&[], &[]))));
    let text: Vec<String> = cases
        .chain([empty])
        .map(|(case, lines)| format!("{case}:\n    {}", lines.join("\n    ")))
        .collect();
    crate::lifecycle::testing::snapshot("discipline_lint", &text.join("\n"));
}

#[test]
fn an_inverted_lock_order_between_the_programs_is_a_warning_not_an_error() {
    let findings = lint(&discipline(
        &[
            "lock lifecycle",
            "lock tracker",
            "alloc",
            "mark-live",
            "send ALLOC",
            "unlock tracker",
            "unlock lifecycle",
            "publish",
        ],
        &[
            "check-live",
            "lock tracker",
            "lock lifecycle",
            "send FREE",
            "free",
            "mark-dead",
            "unlock lifecycle",
            "unlock tracker",
        ],
    ));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Warning);
    assert_eq!(
        (findings[0].program, findings[0].step),
        (ProgramKind::Deallocate, Some(2))
    );
}

#[test]
fn the_allocators_own_mutex_counts_in_the_lock_order() {
    let findings = lint(&discipline(
        &[
            "lock lifecycle",
            "alloc",
            "mark-live",
            "send ALLOC",
            "unlock lifecycle",
            "publish",
        ],
        &[
            "check-live",
            "lock allocator",
            "lock lifecycle",
            "send FREE",
            "free",
            "mark-dead",
            "unlock lifecycle",
            "unlock allocator",
        ],
    ));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].message.contains("deadlock"), "{findings:?}");
}

#[test]
fn a_lock_order_that_is_a_cycle_of_three_is_found() {
    let findings = lint(&discipline(
        &[
            "lock global",
            "lock lifecycle",
            "unlock lifecycle",
            "unlock global",
            "lock lifecycle",
            "lock tracker",
            "alloc",
            "mark-live",
            "send ALLOC",
            "unlock tracker",
            "unlock lifecycle",
            "publish",
        ],
        &[
            "check-live",
            "lock tracker",
            "lock global",
            "unlock global",
            "send FREE",
            "unlock tracker",
            "free",
            "mark-dead",
        ],
    ));
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn a_lock_may_be_held_where_the_program_returns_early() {
    let findings = lint(&discipline(
        &ALLOCATE,
        &[
            "lock lifecycle",
            "check-live",
            "send FREE",
            "free",
            "mark-dead",
            "unlock lifecycle",
        ],
    ));
    assert_eq!(findings, []);
}

#[test]
fn messages_without_a_number_are_noticed_only_where_numbers_are_used() {
    let mut plain = discipline(&ALLOCATE, &DEALLOCATE);
    assert_eq!(lint(&plain), []);
    plain.semantics = Some(Semantics::Sequenced);
    assert_eq!(lint(&plain).len(), 2);
    let half = discipline(
        &ALLOCATE,
        &["check-live", "stamp", "send FREE", "free", "mark-dead"],
    );
    assert_eq!(lines(&lint(&half)).len(), 1);
}

#[test]
fn a_finding_without_lines_names_program_and_step() {
    let program = |steps: &[&str]| {
        Program::new(steps.iter().map(|step| step.parse().expect("a known step"))).expect("short")
    };
    let discipline = Discipline {
        name: "mine".to_string(),
        origin: String::new(),
        semantics: None,
        allocate: program(&ALLOCATE),
        deallocate: program(&[
            "check-live",
            "unlock tracker",
            "send FREE",
            "free",
            "mark-dead",
        ]),
        mesh: None,
        cells: Default::default(),
        programs: Default::default(),
    };
    let error = discipline
        .accepted("mine")
        .expect_err("rejected")
        .to_string();
    assert_eq!(
        error,
        "mine: deallocate step 2: unlock tracker: the program does not hold it; lock it before, or remove this step"
    );
}

/// What the lint says of these programs for mesh buffers, beside sound ones for others.
fn mesh_findings(allocate: &str, deallocate: &str) -> Vec<String> {
    let lines = |steps: &str| -> String {
        steps
            .split("; ")
            .map(|step| format!("'{step}',\n"))
            .collect()
    };
    let text = format!(
        "name = 'mine'\nallocate = ['alloc', 'mark-live', 'send ALLOC', 'publish']\n\
         deallocate = ['check-live', 'send FREE', 'free', 'mark-dead']\n\
         [mesh]\nallocate = [\n{}]\ndeallocate = [\n{}]\n",
        lines(allocate),
        lines(deallocate)
    );
    let discipline = Discipline::from_toml("my.toml", &text).expect("it parses");
    lint(&discipline)
        .iter()
        .map(|finding| finding.located("my.toml"))
        .collect()
}

const MESH_ALLOCATE: &str = "each device; alloc; end; each device; send ALLOC; end; publish";
const MESH_DEALLOCATE: &str = "each device; send FREE; end; each device; free; end";

#[test]
fn a_mesh_path_of_blocks_is_accepted() {
    assert_eq!(mesh_findings(MESH_ALLOCATE, MESH_DEALLOCATE), [""; 0]);
    let locked = MESH_DEALLOCATE.replace("each device; send", "lock global; each device; send");
    assert_eq!(
        mesh_findings(MESH_ALLOCATE, &format!("{locked}; unlock global")),
        [""; 0]
    );
    let each = "each device; lock lifecycle; end; each device; send FREE; end; \
                each device; free; unlock lifecycle; end";
    assert_eq!(mesh_findings(MESH_ALLOCATE, each), [""; 0]);
}

#[test]
fn what_a_mesh_path_may_not_hold_is_named_with_its_line() {
    for (allocate, deallocate, says) in [
        (
            "alloc; each device; send ALLOC; end; publish",
            MESH_DEALLOCATE,
            "my.toml:6: alloc: it is done to one device, and of which is not said",
        ),
        (
            "each device; alloc; send ALLOC; publish; end",
            MESH_DEALLOCATE,
            "my.toml:9: publish: a mesh buffer becomes visible as a whole",
        ),
        (
            "each device; alloc; send ALLOC; publish",
            MESH_DEALLOCATE,
            "my.toml:6: each device: no `end` follows",
        ),
        (
            "each device; each device; alloc; end; end; each device; send ALLOC; end; publish",
            MESH_DEALLOCATE,
            "my.toml:7: each device: it stands in another block of this sort",
        ),
        (
            MESH_ALLOCATE,
            "each device; send FREE; end; claim; each device; free; end",
            "claim: a mesh buffer is released as a whole, or not",
        ),
        (
            MESH_ALLOCATE,
            "each device; lock global; send FREE; end; each device; free; unlock global; end",
            "lock global: the first device keeps it, and the second waits for it",
        ),
        (
            MESH_ALLOCATE,
            "lock tracker; each device; send FREE; unlock tracker; end; each device; free; end",
            "unlock tracker: it was locked once, and is unlocked for each device",
        ),
        (
            MESH_ALLOCATE,
            "each device; stamp; end; each device; send FREE; end; each device; free; end",
            "the block ends before it is sent",
        ),
        (
            MESH_ALLOCATE,
            "each device; end; each device; send FREE; end; each device; free; end",
            "end: nothing stands in the block",
        ),
    ] {
        let said = mesh_findings(allocate, deallocate);
        assert!(
            said.iter().any(|line| line.contains(says)),
            "{says}: {said:#?}"
        );
    }
}

#[test]
fn a_block_stands_in_a_mesh_path_only() {
    let text = "name = \"mine\"\nallocate = [\"each device\", \"alloc\", \"end\", \"mark-live\", \
                \"send ALLOC\", \"publish\"]\ndeallocate = [\"check-live\", \"send FREE\", \"free\", \
                \"mark-dead\"]\n";
    let discipline = Discipline::from_toml("my.toml", text).expect("it parses");
    let said = lint(&discipline)[0].located("my.toml");
    assert!(
        said.contains("each device: this program is for one device"),
        "{said}"
    );
}
