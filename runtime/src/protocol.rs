//! What heisenbed and the runtime agree on: `c/protocol.h`, in Rust. A test compiles that file and
//! compares each number.
//!
//! The page is read as bytes: nothing that a program has written there is believed to be a length
//! or an enum before it was looked at.

/// `HB_MAGIC`.
pub const MAGIC: u64 = 0x3130_6e75_7262_6568;
/// `HB_VERSION`.
pub const VERSION: u32 = 5;
/// `HB_MAX_THREADS`.
pub const MAX_THREADS: usize = 1024;
/// `HB_MAX_DECISIONS`.
pub const MAX_DECISIONS: usize = 1 << 18;
/// `HB_MAX_EVENTS`.
pub const MAX_EVENTS: usize = 1 << 21;
/// `HB_MAX_FRAMES`.
pub const MAX_FRAMES: usize = 16;
/// `HB_MAX_STACKS`.
pub const MAX_STACKS: usize = 1 << 16;
/// `HB_PREEMPTED`.
pub const PREEMPTED: u32 = 0x8000_0000;
/// `HB_AFTER_PREEMPTION`.
pub const AFTER_PREEMPTION: u16 = 0x8000;
/// `HB_MAX_WAITING`.
pub const MAX_WAITING: usize = 64;

/// `HB_AT_CONFIG`.
pub const AT_CONFIG: u64 = 0;
/// `HB_AT_RESULT`.
pub const AT_RESULT: u64 = 0x80;
/// `HB_AT_EXPECTED`.
pub const AT_EXPECTED: u64 = 0x20000;
/// `HB_EXPECTED_END`.
pub const EXPECTED_END: u64 = u64::MAX;
/// `HB_AT_AIMS`.
pub const AT_AIMS: u64 = 0x22000;
/// `HB_MAX_AIMS`.
pub const MAX_AIMS: usize = 16;
/// `HB_MAX_SELECTED`.
pub const MAX_SELECTED: usize = 256;
/// `HB_ALL_SELECTED`.
pub const ALL_SELECTED: u32 = u32::MAX;
/// Size of `struct hb_aim`.
pub const AIM_BYTES: usize = 40;
/// Size of `struct hb_aims`.
pub const AIMS_BYTES: usize = 8 + MAX_AIMS * AIM_BYTES + MAX_SELECTED * 8;
/// `HB_AT_HOT`.
pub const AT_HOT: u64 = 0x30000;
/// Bytes of the map of hot instructions: a bit each, `HB_HOT_BITS` of them.
pub const HOT_BYTES: usize = (1 << 16) / 8;
/// `HB_AT_TAKEN`.
pub const AT_TAKEN: u64 = 0x40000;
/// `HB_AT_DECISIONS`.
pub const AT_DECISIONS: u64 = AT_TAKEN + MAX_DECISIONS as u64 * 8;
/// `HB_AT_EVENTS`.
pub const AT_EVENTS: u64 = AT_DECISIONS + MAX_DECISIONS as u64 * 8;
/// `HB_AT_STACKS`.
pub const AT_STACKS: u64 = AT_EVENTS + MAX_EVENTS as u64 * EVENT_BYTES as u64;
/// `HB_AT_RACES`.
pub const AT_RACES: u64 = AT_STACKS + (MAX_STACKS * MAX_FRAMES * 8) as u64;
/// `HB_AT_EXPLORATION`.
pub const AT_EXPLORATION: u64 = AT_RACES + 0x2000;
/// `HB_AT_PENDING`.
pub const AT_PENDING: u64 = AT_EXPLORATION + 64;
/// `HB_AT_TRANSITIONS`.
pub const AT_TRANSITIONS: u64 = AT_EXPLORATION + 0x2000;
/// `HB_MAX_TRANSITIONS`.
pub const MAX_TRANSITIONS: usize = 1 << 17;
/// `HB_MAX_EXPLORED`.
pub const MAX_EXPLORED: usize = 64;
/// Size of `struct hb_transition`.
pub const TRANSITION_BYTES: usize = 64;
/// Size of `struct hb_exploration`.
pub const EXPLORATION_BYTES: usize = 32;
/// `HB_AT_TRACK`.
pub const AT_TRACK: u64 = AT_TRANSITIONS + (MAX_TRANSITIONS * TRANSITION_BYTES) as u64;
/// `HB_AT_TRACK_HEAD`.
pub const AT_TRACK_HEAD: u64 = AT_TRACK + 0x4000;
/// `HB_AT_TRACK_LOG`.
pub const AT_TRACK_LOG: u64 = AT_TRACK_HEAD + 0x200;
/// `HB_TRACK_LOG_BYTES`.
pub const TRACK_LOG_BYTES: u64 = 64 << 20;
/// `HB_PAGE_SIZE`.
pub const PAGE_SIZE: u64 = AT_TRACK_LOG + TRACK_LOG_BYTES;

/// `HB_MAX_CONNECTIONS`.
pub const MAX_CONNECTIONS: usize = 64;
/// `HB_MAX_TRUTH_SYMBOLS`.
pub const MAX_TRUTH_SYMBOLS: usize = 32;
/// `HB_MAX_ANSWER`.
pub const MAX_ANSWER: usize = 16384;
/// Size of `struct hb_track_config`.
pub const TRACK_CONFIG_BYTES: usize = 16 + 128 + 128 + MAX_TRUTH_SYMBOLS * TRUTH_SYMBOL_BYTES;
/// Size of `struct hb_truth_symbol`.
pub const TRUTH_SYMBOL_BYTES: usize = 256;
/// How long the name of a symbol may be, in `struct hb_truth_symbol`, its end included.
pub const TRUTH_NAME_BYTES: usize = 208;
/// How long a path may be, in `struct hb_track_config`, its end included.
pub const TRACK_PATH_BYTES: usize = 128;
/// Size of `struct hb_track_head`.
pub const TRACK_HEAD_BYTES: usize = 24 + 8 * MAX_TRUTH_SYMBOLS;
/// Size of `struct hb_track_record`.
pub const TRACK_RECORD_BYTES: usize = 32;
/// Size of `struct hb_ask`.
pub const ASK_BYTES: usize = 16;

/// Size of `struct hb_config`.
pub const CONFIG_BYTES: usize = 80;
/// Size of `struct hb_event`.
pub const EVENT_BYTES: usize = 32;
/// Size of `struct hb_reply`.
pub const REPLY_BYTES: usize = 24;
/// Size of `struct hb_waiting`.
pub const WAITING_BYTES: usize = 32 + 8 * MAX_FRAMES;
/// Where `culprit` is in `struct hb_result`.
pub const RESULT_CULPRIT: usize = 36;
/// Where `handlers` is in `struct hb_result`.
pub const RESULT_HANDLERS: usize = 44;
/// Where `waits_outside` is in `struct hb_result`.
pub const RESULT_WAITS_OUTSIDE: usize = 64;
/// Where `refused` is in `struct hb_result`.
pub const RESULT_REFUSED: usize = 68;
/// Where `waiting` is in `struct hb_result`.
pub const RESULT_WAITING: usize = 80;
/// Where `others` is in `struct hb_result`.
pub const RESULT_OTHERS: usize = 88;
/// Where `crash` is in `struct hb_result`.
pub const RESULT_CRASH: usize = 96;
/// Where `text` is in `struct hb_result`.
pub const RESULT_TEXT: usize = RESULT_CRASH + 16 * MAX_FRAMES;
/// Where `thread_steps` is in `struct hb_result`.
pub const RESULT_THREAD_STEPS: usize = RESULT_TEXT + 512;
/// Where `waits` is in `struct hb_result`.
pub const RESULT_WAITS: usize = RESULT_THREAD_STEPS + 8 * MAX_THREADS;
/// Size of `struct hb_result`.
pub const RESULT_BYTES: usize = RESULT_WAITS + MAX_WAITING * WAITING_BYTES;

/// `HB_MAX_RACES`.
pub const MAX_RACES: usize = 64;
/// `HB_RACE_RANGE`.
pub const RACE_RANGE: u16 = 0x8000;
/// Size of `struct hb_race`.
pub const RACE_BYTES: usize = 56;
/// Where `stopped` is in `struct hb_races`: what heisenbed writes is before it.
pub const RACES_STOPPED: usize = 24;
/// Where `seen` is in `struct hb_races`.
pub const RACES_SEEN: usize = 32;
/// Where `races` is in `struct hb_races`.
pub const RACES_LIST: usize = 40;

/// `HB_DO_RUN`.
pub const DO_RUN: u8 = b'r';
/// `HB_DO_AGAIN`.
pub const DO_AGAIN: u8 = b'n';
/// `HB_DO_SERVE`.
pub const DO_SERVE: u8 = b's';

/// Numbers of `enum hb_mode`.
pub mod mode {
    /// The program runs as if the runtime were not there.
    pub const OFF: u32 = 0;
    /// Threads run in parallel; what they do is recorded.
    pub const OBSERVE: u32 = 1;
    /// The same, with delays.
    pub const PERTURB: u32 = 2;
    /// One thread at a time.
    pub const CONTROL: u32 = 3;
}

/// Numbers of `enum hb_strategy`.
pub mod strategy {
    /// The random walk.
    pub const RANDOM: u32 = 0;
    /// Partial order sampling.
    pub const POS: u32 = 1;
    /// Priorities that change at few steps.
    pub const PCT: u32 = 2;
    /// The walk that is uniform over the orders of selected steps.
    pub const SURW: u32 = 3;
    /// Whoever runs goes on.
    pub const FIRST: u32 = 4;
    /// Some are held; partial order sampling for the others.
    pub const HELD_POS: u32 = 5;
    /// Some are held; the others run on.
    pub const HELD_RUN: u32 = 6;
}

/// Bits of `enum hb_flag`.
pub mod flag {
    /// Record the stack of each visible action.
    pub const STACKS: u32 = 1;
    /// Condition variables may wake up without a signal.
    pub const SPURIOUS: u32 = 2;
    /// The decisions must be possible.
    pub const STRICT: u32 = 4;
    /// All threads of the program share one core.
    pub const PIN: u32 = 8;
    /// A program that can begins anew in the same process.
    pub const AGAIN: u32 = 16;
    /// Record where operations begin and end, and all accesses in them.
    pub const OPS: u32 = 32;
    /// The driver's threads share one thread of the system.
    pub const SWIFT: u32 = 64;
    /// Each action is a choice, and what it touches is told.
    pub const EXPLORE: u32 = 256;
}

/// Numbers of `enum hb_outcome`.
pub mod outcome {
    /// The runtime ended nothing.
    pub const RUNNING: u32 = 0;
    /// Nobody could go on.
    pub const DEADLOCK: u32 = 1;
    /// More steps than the limit.
    pub const LIVELOCK: u32 = 2;
    /// A decision that could not be followed.
    pub const STRAYED: u32 = 3;
    /// A signal.
    pub const CRASH: u32 = 4;
    /// Misuse of a lock.
    pub const MISUSE: u32 = 5;
    /// A limit of the runtime.
    pub const TOO_MUCH: u32 = 6;
    /// What a target did is wrong.
    pub const ALLOCATOR: u32 = 7;
    /// It must be run without `SWIFT`.
    pub const NOT_SWIFT: u32 = 8;
    /// Whoever can go on is asleep.
    pub const ASLEEP: u32 = 16;
}

/// Numbers of `enum hb_touch`.
pub mod touch {
    /// Nothing.
    pub const NOTHING: u8 = 0;
    /// It reads.
    pub const READ: u8 = 1;
    /// It writes.
    pub const WRITE: u8 = 2;
    /// It may not be exchanged with anything.
    pub const ALL: u8 = 3;
    /// `HB_OF_CLOCK`: where the clock would be in memory.
    pub const CLOCK_ADDRESS: u64 = 2;
}

/// Bits of `enum hb_transition_flag`.
pub mod transition {
    /// The thread is about to do this.
    pub const PENDING: u8 = 1;
    /// Part of the transition before.
    pub const EXTRA: u8 = 2;
    /// Another thread would be a preemption.
    pub const COSTS: u8 = 4;
    /// It may have to wait.
    pub const BLOCKS: u8 = 8;
    /// Before it nobody could have what it gives back.
    pub const FREES: u8 = 16;
    /// The clock goes on by it.
    pub const ADVANCES: u8 = 32;
}

/// Bits of `enum hb_limit`.
pub mod limit {
    /// The program handles signals.
    pub const SIGNALS: u32 = 1;
    /// Everybody waited for something from outside.
    pub const OUTSIDE: u32 = 2;
    /// A loop was not followed for ever.
    pub const HELD: u32 = 4;
    /// It talks with other processes.
    pub const CONNECTS: u32 = 8;
    /// The C library makes threads for it.
    pub const FOREIGN: u32 = 16;
}

/// Numbers of `enum hb_races_stopped`.
pub mod races_stopped {
    /// They were looked for to the end.
    pub const GO_ON: u32 = 0;
    /// The program touches too much memory.
    pub const MEMORY: u32 = 1;
    /// What its allocator gets back is not seen.
    pub const ALLOCATOR: u32 = 2;
    /// It has more threads than are kept account of.
    pub const THREADS: u32 = 3;
}

/// Numbers of `enum hb_reply_kind`.
pub mod reply {
    /// The fork server waits for commands.
    pub const READY: u32 = 1;
    /// A child was started.
    pub const STARTED: u32 = 2;
    /// It ended.
    pub const ENDED: u32 = 3;
    /// It could not be started.
    pub const FAILED: u32 = 4;
}

/// Numbers of `enum hb_track_kind`.
pub mod track {
    /// A connection to the tracking server.
    pub const OPENED: u16 = 1;
    /// Bytes to it.
    pub const SENT: u16 = 2;
    /// The server takes the oldest of a connection.
    pub const TAKEN: u16 = 3;
    /// Bytes that had no room.
    pub const DROPPED: u16 = 4;
    /// A connection to another path.
    pub const ELSEWHERE: u16 = 5;
    /// The allocator hands out an address.
    pub const ALLOC: u16 = 6;
    /// It takes one back.
    pub const FREE: u16 = 7;
    /// What it says is live.
    pub const TOTAL: u16 = 8;
}

/// Numbers of `enum hb_truth_from`.
pub mod truth_from {
    /// Not given.
    pub const NOWHERE: u16 = 0;
    /// A number itself.
    pub const VALUE: u16 = 1;
    /// An argument.
    pub const ARGUMENT: u16 = 2;
    /// What is returned.
    pub const RETURN: u16 = 3;
    /// What an argument points to after the return.
    pub const POINTER: u16 = 4;
}

/// Numbers of `enum hb_op_mark`.
pub mod op_mark {
    /// A buffer is about to be allocated.
    pub const ALLOCATES: u32 = 1;
    /// A buffer is about to be released.
    pub const RELEASES: u32 = 2;
    /// That is done.
    pub const ENDS: u32 = 3;
    /// The buffer becomes known to other threads.
    pub const PUBLISHES: u32 = 4;
    /// Something is written to a file.
    pub const LOGS: u32 = 5;
}

/// `HB_K_OP`.
pub const KIND_OP: u16 = 47;

/// Names of `enum hb_kind`, in its order.
pub const KINDS: [&str; 54] = [
    "none",
    "start",
    "end",
    "create",
    "join",
    "detach",
    "cancel",
    "lock",
    "try-lock",
    "unlock",
    "read-lock",
    "write-lock",
    "rw-unlock",
    "wait",
    "wake",
    "signal",
    "broadcast",
    "sem-wait",
    "sem-post",
    "barrier",
    "barrier-leave",
    "spin-lock",
    "spin-unlock",
    "once",
    "once-done",
    "yield",
    "sleep",
    "futex-wait",
    "futex-wake",
    "send",
    "receive",
    "poll",
    "connect",
    "accept",
    "fork",
    "exec",
    "outside",
    "read",
    "write",
    "atomic-load",
    "atomic-store",
    "atomic-update",
    "fence",
    "destroy",
    "track",
    "take",
    "truth",
    "op",
    "publish",
    "await",
    "mark",
    "kill",
    "handler",
    "pause",
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The numbers of protocol.h, as a C compiler sees them.
    fn compiled() -> Vec<u64> {
        let folder = std::env::temp_dir().join(format!("hb-protocol-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("numbers");
        let source = folder.join("numbers.c");
        std::fs::write(
            &source,
            r#"#include <stddef.h>
#include <stdio.h>
#include "protocol.h"
#define SAY(number) printf("%llu\n", (unsigned long long)(number))
int main(void) {
    SAY(HB_MAGIC); SAY(HB_VERSION); SAY(HB_AT_CONFIG); SAY(HB_AT_EXPECTED);
    SAY(HB_EXPECTED_END); SAY(HB_AT_RESULT);
    SAY(HB_AT_HOT); SAY(HB_AT_TAKEN); SAY(HB_AT_DECISIONS); SAY(HB_AT_EVENTS); SAY(HB_AT_STACKS);
    SAY(HB_PAGE_SIZE); SAY(sizeof(struct hb_config));
    SAY(sizeof(struct hb_result)); SAY(offsetof(struct hb_result, crash));
    SAY(offsetof(struct hb_result, text)); SAY(offsetof(struct hb_result, waits));
    SAY(offsetof(struct hb_result, thread_steps)); SAY(sizeof(struct hb_waiting));
    SAY(sizeof(struct hb_event)); SAY(sizeof(struct hb_reply)); SAY(HB_K_COUNT);
    SAY(offsetof(struct hb_result, culprit)); SAY(offsetof(struct hb_result, waits_outside));
    SAY(offsetof(struct hb_result, refused)); SAY(offsetof(struct hb_result, handlers));
    SAY(offsetof(struct hb_result, others));
    SAY(HB_AT_EXPLORATION); SAY(HB_AT_PENDING); SAY(HB_AT_TRANSITIONS); SAY(HB_MAX_TRANSITIONS);
    SAY(HB_MAX_EXPLORED); SAY(sizeof(struct hb_transition)); SAY(sizeof(struct hb_exploration));
    SAY(HB_EXPLORE); SAY(HB_ASLEEP); SAY(HB_TOUCH_ALL); SAY(HB_OF_CLOCK); SAY(HB_T_ADVANCES);
    SAY(HB_L_CONNECTS); SAY(HB_L_FOREIGN);
    SAY(offsetof(struct hb_result, waiting)); SAY(HB_K_OUTSIDE); SAY(HB_PREEMPTED); SAY(HB_K_DESTROY); SAY((1u << HB_HOT_BITS) / 8);
    SAY(HB_AT_RACES); SAY(HB_MAX_RACES); SAY(HB_RACE_RANGE); SAY(sizeof(struct hb_race));
    SAY(offsetof(struct hb_races, stopped)); SAY(offsetof(struct hb_races, seen));
    SAY(offsetof(struct hb_races, races)); SAY(HB_RACES_THREADS);
    SAY(HB_AT_TRACK); SAY(HB_AT_TRACK_HEAD); SAY(HB_AT_TRACK_LOG); SAY(HB_TRACK_LOG_BYTES);
    SAY(HB_MAX_CONNECTIONS); SAY(HB_MAX_TRUTH_SYMBOLS); SAY(HB_MAX_ANSWER);
    SAY(sizeof(struct hb_track_config)); SAY(sizeof(struct hb_truth_symbol));
    SAY(offsetof(struct hb_truth_symbol, does)); SAY(offsetof(struct hb_track_config, probe) - 16);
    SAY(sizeof(struct hb_track_head)); SAY(sizeof(struct hb_track_record)); SAY(sizeof(struct hb_ask));
    SAY(HB_T_TOTAL); SAY(HB_FROM_POINTER); SAY(HB_K_TRUTH);
    SAY(HB_AT_AIMS); SAY(sizeof(struct hb_aims)); SAY(offsetof(struct hb_aims, select));
    SAY(HB_DO_SERVE); SAY(HB_DO_AGAIN); SAY(HB_AGAIN); SAY(HB_ALLOCATOR); SAY(HB_K_OP);
    SAY(HB_SWIFT); SAY(HB_NOT_SWIFT);
}
"#,
        )
        .unwrap();
        let include = concat!(env!("CARGO_MANIFEST_DIR"), "/c");
        let status = Command::new("cc")
            .args(["-I", include, "-o"])
            .arg(&program)
            .arg(&source)
            .status()
            .unwrap();
        assert!(status.success());
        let output = Command::new(&program).output().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| line.parse().unwrap())
            .collect()
    }

    #[test]
    fn both_sides_agree_on_every_number() {
        let kind = |name| KINDS.iter().position(|kind| *kind == name).unwrap() as u64;
        let ours = [
            MAGIC,
            u64::from(VERSION),
            AT_CONFIG,
            AT_EXPECTED,
            EXPECTED_END,
            AT_RESULT,
            AT_HOT,
            AT_TAKEN,
            AT_DECISIONS,
            AT_EVENTS,
            AT_STACKS,
            PAGE_SIZE,
            CONFIG_BYTES as u64,
            RESULT_BYTES as u64,
            RESULT_CRASH as u64,
            RESULT_TEXT as u64,
            RESULT_WAITS as u64,
            RESULT_THREAD_STEPS as u64,
            WAITING_BYTES as u64,
            EVENT_BYTES as u64,
            REPLY_BYTES as u64,
            KINDS.len() as u64,
            RESULT_CULPRIT as u64,
            RESULT_WAITS_OUTSIDE as u64,
            RESULT_REFUSED as u64,
            RESULT_HANDLERS as u64,
            RESULT_OTHERS as u64,
            AT_EXPLORATION,
            AT_PENDING,
            AT_TRANSITIONS,
            MAX_TRANSITIONS as u64,
            MAX_EXPLORED as u64,
            TRANSITION_BYTES as u64,
            EXPLORATION_BYTES as u64,
            flag::EXPLORE.into(),
            outcome::ASLEEP.into(),
            touch::ALL.into(),
            touch::CLOCK_ADDRESS,
            transition::ADVANCES.into(),
            limit::CONNECTS.into(),
            limit::FOREIGN.into(),
            RESULT_WAITING as u64,
            kind("outside"),
            u64::from(PREEMPTED),
            kind("destroy"),
            HOT_BYTES as u64,
            AT_RACES,
            MAX_RACES as u64,
            u64::from(RACE_RANGE),
            RACE_BYTES as u64,
            RACES_STOPPED as u64,
            RACES_SEEN as u64,
            RACES_LIST as u64,
            u64::from(races_stopped::THREADS),
            AT_TRACK,
            AT_TRACK_HEAD,
            AT_TRACK_LOG,
            TRACK_LOG_BYTES,
            MAX_CONNECTIONS as u64,
            MAX_TRUTH_SYMBOLS as u64,
            MAX_ANSWER as u64,
            TRACK_CONFIG_BYTES as u64,
            TRUTH_SYMBOL_BYTES as u64,
            TRUTH_NAME_BYTES as u64,
            TRACK_PATH_BYTES as u64,
            TRACK_HEAD_BYTES as u64,
            TRACK_RECORD_BYTES as u64,
            ASK_BYTES as u64,
            u64::from(track::TOTAL),
            u64::from(truth_from::POINTER),
            kind("truth"),
            AT_AIMS,
            AIMS_BYTES as u64,
            (8 + MAX_AIMS * AIM_BYTES) as u64,
            u64::from(DO_SERVE),
            u64::from(DO_AGAIN),
            flag::AGAIN.into(),
            outcome::ALLOCATOR.into(),
            u64::from(KIND_OP),
            flag::SWIFT.into(),
            outcome::NOT_SWIFT.into(),
        ];
        assert_eq!(compiled(), ours);
    }
}
