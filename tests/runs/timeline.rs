//! The text timeline of small runs, each driven by a schedule that is written out, as snapshots in
//! `snapshots/`.
//!
//! The snapshots are reviewed as what they are: text that has to explain a race to someone who
//! never saw the run.

use std::collections::VecDeque;

use crate::common::{scripted, under};
use heisenbed::engine::backend::Outgoing;
use heisenbed::engine::code::Code;
use heisenbed::engine::controlled::world::{Network, ThreadView, World};
use heisenbed::engine::step::{Stepped, Thread};
use heisenbed::lifecycle::{self, Lock, Order, Publication};
use heisenbed::registry::Semantics;
use heisenbed::report::Timeline;
use heisenbed::scenario::objects::ConnId;
use heisenbed::scenario::{Connections, Scenario};
use heisenbed::trace::event::{Event, ReceiveCode, SendOutcome};
use heisenbed::trace::file::SERVER_STREAM;
use heisenbed::trace::merge::MergedEvent;
use heisenbed::tracking::sent::Handle;

/// What a driven run left.
struct Driven {
    scenario: Scenario,
    events: Vec<MergedEvent>,
    deciding: Option<usize>,
    completed: bool,
}

impl Driven {
    fn timeline(&self) -> Timeline<'_> {
        Timeline {
            scenario: &self.scenario,
            events: &self.events,
            deciding: self.deciding,
            completed: self.completed,
        }
    }
}

/// A kernel that takes every write, or has no room.
struct Kernel {
    full: bool,
}

impl Network for Kernel {
    fn send(&mut self, _: &World, _: u16, _: &Handle, _: &Outgoing) -> Option<SendOutcome> {
        Some(if self.full {
            SendOutcome::Dropped
        } else {
            SendOutcome::Sent
        })
    }
}

/// Drives `scenario` by a schedule such as `t0*7 !t1*9 t0* t1*`: thread and steps, no figure for
/// all that it can do. A `!` marks the deciding preemption, and `t1-` is a step whose send finds
/// the socket full.
fn drive(scenario: Scenario, schedule: &str) -> Driven {
    let mut world = World::new(&scenario).expect("the devices can be built");
    let code = Code::new(&scenario);
    let mut threads: Vec<_> = (0..scenario.threads)
        .map(|thread| (Thread::new(thread), scenario.ops_of(thread, 0)))
        .collect();
    let (mut events, mut deciding) = (Vec::new(), None);
    for run in schedule.split_whitespace() {
        let marked = run.strip_prefix('!');
        let full = run.ends_with('-');
        let (name, count) = marked
            .unwrap_or(run)
            .trim_end_matches('-')
            .split_once('*')
            .unwrap_or((run.trim_matches(['!', '-']), "1"));
        let index: usize = name.trim_start_matches('t').parse().expect("a thread");
        if marked.is_some() {
            deciding = Some(events.len());
        }
        for _ in 0..count.parse().unwrap_or(u32::MAX) {
            let (thread, ops) = &mut threads[index];
            let mut happened = VecDeque::new();
            let stepped = thread.step(
                &code,
                &mut ThreadView {
                    world: &mut world,
                    thread: index as u16,
                    ops,
                    record: &mut happened,
                    network: &mut Kernel { full },
                    stop: None,
                },
            );
            assert!(
                stepped != Stepped::Blocked || count.is_empty(),
                "{run}: t{index} cannot take that many steps"
            );
            events.extend(happened.into_iter().map(|event| MergedEvent {
                stream: index as u16,
                event,
            }));
            if stepped != Stepped::Ran {
                break;
            }
        }
    }
    let completed = threads.iter().all(|(thread, _)| thread.has_ended());
    Driven {
        scenario,
        events,
        deciding,
        completed,
    }
}

/// Scripted threads on one device under a built-in discipline.
fn race(discipline: &str, order: Order, publish: Publication, threads: &[&[&str]]) -> Scenario {
    race_on(1, discipline, order, publish, threads)
}

/// As [`race`], on so many devices.
fn race_on(
    devices: u16,
    discipline: &str,
    order: Order,
    publish: Publication,
    threads: &[&[&str]],
) -> Scenario {
    let mut scenario = scripted(&vec![&[][..]; threads.len()]);
    let owned = |ops: &&[&str]| ops.iter().map(|op| (*op).to_owned()).collect();
    scenario.workload.script = Some(threads.iter().map(owned).collect());
    scenario.devices = devices;
    scenario.check().expect("the script fits");
    let written = lifecycle::load(discipline).expect("a built-in one");
    scenario.discipline = written.with(order, publish);
    scenario.order = order;
    scenario.publish = publish;
    scenario
}

fn rendered(name: &str, driven: &Driven) -> String {
    let text = driven.timeline().render();
    let allowed = |c: char| c.is_ascii_graphic() || " \n─│▶✗·…".contains(c);
    assert!(text.chars().all(allowed), "{name} has other characters");
    for line in text.lines() {
        assert_eq!(line, line.trim_end(), "{name} has trailing blanks");
        if driven.scenario.threads <= 3 {
            assert!(line.chars().count() <= 110, "{name} is too wide: {line}");
        }
    }
    text
}

/// Compares the timeline with `snapshots/timeline_NAME.snap`.
fn snapshot(name: &str, driven: &Driven) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let text = rendered(name, driven);
    settings.bind(|| insta::assert_snapshot!(format!("timeline_{name}"), text));
}

const ONE_EACH: [&[&str]; 2] = [
    &["allocate s0#1 4096 l1 d0", "release s0#1"],
    &["allocate s1#1 4096 l1 d0 releases=0"],
];

const HANDED_OVER: [&[&str]; 2] = [&["allocate s0#1 4096 l1 d0"], &["release s0#1"]];

const BOTH_RELEASE: [&[&str]; 2] = [
    &["allocate s0#1 4096 l1 d0 releases=2", "release s0#1"],
    &["release s0#1"],
];

#[test]
fn an_address_that_is_reused_before_its_release_is_told() {
    let narrow = race(
        "lifecycle-narrow",
        Order::FreeFirst,
        Publication::Late,
        &ONE_EACH,
    );
    snapshot("free_first_narrow", &drive(narrow, "t0*12 !t1* t0*"));
}

#[test]
fn a_counting_server_keeps_what_was_there_before() {
    let mut counting = race(
        "lifecycle-narrow",
        Order::FreeFirst,
        Publication::Late,
        &[
            &["allocate s0#1 4096 l1 d0", "release s0#1"],
            &["allocate s1#1 2048 l1 d0 releases=0"],
        ],
    );
    counting.semantics = Semantics::Refcount;
    snapshot("refcount", &drive(counting, "t0*12 !t1* t0*"));
}

#[test]
fn a_handle_that_is_seen_before_its_announcement() {
    let early = race(
        "lifecycle-narrow",
        Order::TrackFirst,
        Publication::Early,
        &HANDED_OVER,
    );
    snapshot("early_publication", &drive(early, "t0*4 !t1* t0*"));
}

#[test]
fn two_releases_that_both_see_a_live_buffer() {
    let wide = race(
        "lifecycle-wide",
        Order::TrackFirst,
        Publication::Late,
        &BOTH_RELEASE,
    );
    snapshot("double_release", &drive(wide, "t0*11 !t1*2 t0* t1*"));
}

#[test]
fn the_second_release_may_hit_a_third_buffer() {
    let wide = race(
        "lifecycle-wide",
        Order::TrackFirst,
        Publication::Late,
        &[
            BOTH_RELEASE[0],
            BOTH_RELEASE[1],
            &["allocate s1#1 4096 l1 d0"],
        ],
    );
    snapshot(
        "double_release_of_three",
        &drive(wide, "t0*11 t1*2 t0* !t2* t1*"),
    );
}

#[test]
fn a_run_without_a_divergence() {
    let wide = race(
        "lifecycle-wide",
        Order::FreeFirst,
        Publication::Late,
        &ONE_EACH,
    );
    snapshot("clean", &drive(wide, "t0* t1*"));
}

#[test]
fn locks_taken_in_opposite_orders() {
    let inverted = under(
        scripted(&[
            &["allocate s0#1 4096 l1 d0", "allocate s1#1 4096 l1 d0"],
            &["release s0#1"],
        ]),
        "lock tracker, lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, unlock tracker, publish",
        "claim, lock lifecycle, lock tracker, send FREE, free, mark-dead, unlock tracker, unlock lifecycle",
    );
    let mut driven = drive(inverted, "t0*11 !t1*3");
    let objects = driven.scenario.objects();
    let device = heisenbed::device::DeviceId(0);
    for (stream, lock) in [(0, Lock::Lifecycle), (1, Lock::Tracker)] {
        let lock = objects.resolve(lock, device).expect("no table");
        let event = Event::BlockedOnLock { lock };
        driven.events.push(MergedEvent { stream, event });
    }
    snapshot("deadlock", &driven);
}

#[test]
fn a_device_beyond_the_lock_table() {
    let array = race_on(
        12,
        "lifecycle-array8",
        Order::FreeFirst,
        Publication::Late,
        &[
            &["allocate s0#1 4096 l1 d9", "release s0#1"],
            &["allocate s1#1 4096 l1 d9 releases=0"],
        ],
    );
    snapshot("lock_out_of_bounds", &drive(array, "t0*12 !t1* t0*"));
}

#[test]
fn three_threads() {
    let narrow = race(
        "tracker-mutex",
        Order::FreeFirst,
        Publication::Late,
        &[
            ONE_EACH[0],
            &["allocate s1#1 4096 l1 d0", "release s1#1"],
            &["allocate s2#1 65536 dram d0 releases=0"],
        ],
    );
    snapshot(
        "three_threads",
        &drive(narrow, "t0*8 t2*3 t0*2 !t1* t0* t2*"),
    );
}

#[test]
fn a_mesh_buffer_is_one_buffer_on_several_devices() {
    let mesh = race_on(
        2,
        "unlocked",
        Order::FreeFirst,
        Publication::Late,
        &[
            &["allocate s0#1 4096 l1 d0 mesh*2", "release s0#1"],
            &["allocate s1#1 4096 l1 d1"],
        ],
    );
    snapshot("mesh", &drive(mesh, "t0*13 !t1* t0*"));
}

#[test]
fn a_message_that_found_the_socket_full() {
    let unlocked = race(
        "unlocked",
        Order::TrackFirst,
        Publication::Late,
        &[&["allocate s0#1 4096 l1 d0", "release s0#1"]],
    );
    snapshot("lost_message", &drive(unlocked, "t0*7 t0- t0*"));
}

#[test]
fn messages_that_tear() {
    let mut split = race(
        "unlocked",
        Order::TrackFirst,
        Publication::Late,
        &[
            &["allocate s0#1 4096 l1 d0 releases=0"],
            &["allocate s1#1 4096 l1 d0 releases=0"],
        ],
    );
    split.transport.chunks = 2;
    snapshot("torn_frame", &drive(split, "t0*4 !t1*5 t0* t1*"));
}

#[test]
fn two_memories_with_one_address_and_a_key_without_memory() {
    let mut mixed = race(
        "unlocked",
        Order::TrackFirst,
        Publication::Late,
        &[&[
            "allocate s0#1 4096 dram d0 releases=0",
            "allocate s1#1 4096 l1 d0",
            "release s1#1",
        ]],
    );
    mixed.profile = "custom:1x65536".parse().expect("a profile");
    mixed.transport.layout = "112".parse().expect("a layout");
    snapshot("misattributed", &drive(mixed, "t0*"));
}

#[test]
fn a_server_that_puts_messages_back_in_order() {
    let mut stamped = race(
        "sequenced",
        Order::FreeFirst,
        Publication::Late,
        &[
            &["allocate s0#1 4096 l1 d0 releases=0"],
            &["allocate s1#1 4096 l1 d0 releases=0"],
        ],
    );
    stamped.semantics = Semantics::Sequenced;
    let text = rendered("sequenced", &drive(stamped, "t0*5 t1* t0*"));
    assert!(text.contains("send ALLOC 0x19800 #2  "), "{text}");
    assert!(text.contains("held back"), "{text}");
    assert!(text.contains("t1's ALLOC 0x19800: inserted"), "{text}");
    assert!(text.contains("No divergence."), "{text}");
}

/// The server took a message from a connection.
fn received(conn: u16, code: ReceiveCode) -> MergedEvent {
    MergedEvent {
        stream: SERVER_STREAM,
        event: Event::Receive {
            conn: ConnId(conn),
            code,
        },
    }
}

#[test]
fn messages_that_overtake_each_other_on_two_connections() {
    let mut two = race(
        "lifecycle-wide",
        Order::FreeFirst,
        Publication::Late,
        &ONE_EACH,
    );
    two.transport.connections = Connections::PerThread;
    let mut driven = drive(two, "t0* t1*");
    let mut taken = [
        Some(received(0, ReceiveCode::Inserted)),
        None,
        Some(received(1, ReceiveCode::Replaced)),
    ]
    .into_iter();
    driven.events = driven
        .events
        .iter()
        .flat_map(|merged| {
            let answer = match merged.event {
                Event::Send { .. } => taken.next().flatten(),
                _ => None,
            };
            std::iter::once(*merged).chain(answer)
        })
        .collect();
    driven.events.push(received(0, ReceiveCode::Removed));
    driven.deciding = Some(driven.events.len() - 1);
    snapshot("overtaken", &driven);
}

#[test]
fn a_server_that_lags_has_rows_of_its_own() {
    let alone = race(
        "unlocked",
        Order::FreeFirst,
        Publication::Late,
        &[&["allocate s0#1 4096 l1 d0", "release s0#1"]],
    );
    let mut driven = drive(alone, "t0*");
    let received = |code| received(0, code);
    let sent = |merged: &MergedEvent| matches!(merged.event, Event::Send { .. });
    let first = driven.events.iter().position(sent).expect("a send");
    driven
        .events
        .insert(first + 1, received(ReceiveCode::Inserted));
    driven.events.push(received(ReceiveCode::Removed));
    let text = rendered("lagging", &driven);
    let line = |words: &str| {
        let found = text.lines().find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("no {words}: {text}"))
    };
    assert!(line("send ALLOC").ends_with("inserted"), "{text}");
    assert!(line("send FREE").ends_with("FREE 0x19000"), "{text}");
    assert!(line("t0's FREE 0x19000: removed").contains("13"), "{text}");
}

#[test]
fn a_run_that_was_cut_off_says_so() {
    let narrow = race(
        "lifecycle-narrow",
        Order::FreeFirst,
        Publication::Late,
        &ONE_EACH,
    );
    let text = rendered("cut off", &drive(narrow, "t0*5"));
    assert!(text.contains("The run was cut off here"), "{text}");
    assert!(!text.contains("at rest ─"), "{text}");
}

#[test]
fn without_an_order_of_reception_nothing_is_said_of_the_server() {
    let mut own = race("unlocked", Order::FreeFirst, Publication::Late, &ONE_EACH);
    own.transport.connections = Connections::PerThread;
    let text = rendered("unordered", &drive(own, "t0* t1*"));
    assert!(text.contains("nobody recorded in which order"), "{text}");
}
