//! What heisenbed and the runtime agree on: `c/protocol.h`, in Rust. A test compiles that file and
//! compares each number.
//!
//! The page is read as bytes: nothing that a program has written there is believed to be a length
//! or an enum before it was looked at.

/// `HB_MAGIC`.
pub const MAGIC: u64 = 0x3130_6e75_7262_6568;
/// `HB_VERSION`.
pub const VERSION: u32 = 2;
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
/// `HB_AT_EXPECTED`.
pub const AT_EXPECTED: u64 = 0x1000;
/// `HB_AT_AIMS`.
pub const AT_AIMS: u64 = 0x3000;
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
/// `HB_AT_RESULT`.
pub const AT_RESULT: u64 = 0x4000;
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
/// `HB_PAGE_SIZE`.
pub const PAGE_SIZE: u64 = AT_STACKS + (MAX_STACKS * MAX_FRAMES * 8) as u64;

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
/// Where `waits_outside` is in `struct hb_result`.
pub const RESULT_WAITS_OUTSIDE: usize = 64;
/// Where `waiting` is in `struct hb_result`.
pub const RESULT_WAITING: usize = 80;
/// Where `crash` is in `struct hb_result`.
pub const RESULT_CRASH: usize = 88;
/// Where `text` is in `struct hb_result`.
pub const RESULT_TEXT: usize = RESULT_CRASH + 16 * MAX_FRAMES;
/// Where `waits` is in `struct hb_result`.
pub const RESULT_WAITS: usize = RESULT_TEXT + 512;
/// Where `thread_steps` is in `struct hb_result`.
pub const RESULT_THREAD_STEPS: usize = RESULT_WAITS + MAX_WAITING * WAITING_BYTES;
/// Size of `struct hb_result`.
pub const RESULT_BYTES: usize = RESULT_THREAD_STEPS + 8 * MAX_THREADS;

/// `HB_DO_RUN`.
pub const DO_RUN: u8 = b'r';
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

/// Names of `enum hb_kind`, in its order.
pub const KINDS: [&str; 44] = [
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
    SAY(HB_MAGIC); SAY(HB_VERSION); SAY(HB_AT_CONFIG); SAY(HB_AT_EXPECTED); SAY(HB_AT_RESULT);
    SAY(HB_AT_HOT); SAY(HB_AT_TAKEN); SAY(HB_AT_DECISIONS); SAY(HB_AT_EVENTS); SAY(HB_AT_STACKS);
    SAY(HB_PAGE_SIZE); SAY(sizeof(struct hb_config));
    SAY(sizeof(struct hb_result)); SAY(offsetof(struct hb_result, crash));
    SAY(offsetof(struct hb_result, text)); SAY(offsetof(struct hb_result, waits));
    SAY(offsetof(struct hb_result, thread_steps)); SAY(sizeof(struct hb_waiting));
    SAY(sizeof(struct hb_event)); SAY(sizeof(struct hb_reply)); SAY(HB_K_COUNT);
    SAY(offsetof(struct hb_result, culprit)); SAY(offsetof(struct hb_result, waits_outside));
    SAY(offsetof(struct hb_result, waiting)); SAY(HB_K_OUTSIDE); SAY(HB_PREEMPTED); SAY(HB_K_DESTROY); SAY((1u << HB_HOT_BITS) / 8);
    SAY(HB_AT_AIMS); SAY(sizeof(struct hb_aims)); SAY(offsetof(struct hb_aims, select));
    SAY(HB_DO_SERVE);
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
            RESULT_WAITING as u64,
            kind("outside"),
            u64::from(PREEMPTED),
            kind("destroy"),
            HOT_BYTES as u64,
            AT_AIMS,
            AIMS_BYTES as u64,
            (8 + MAX_AIMS * AIM_BYTES) as u64,
            u64::from(DO_SERVE),
        ];
        assert_eq!(compiled(), ours);
    }
}
