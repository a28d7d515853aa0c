//! What no server wrote as it stands: shipped, filtered and joined logs, and allocators' own
//! records with names and numbers of their own. No cause is named of them.

use std::fmt::Write as _;

use serde_json::Value;

use super::{amid, first, log, normal, of_text};
use crate::common::{run, run_json};
use heisenbed::diagnosis::{CONFIDENT, PROBABLE};

/// Lives at 80 addresses on two processes, some of them live at the end.
fn sound() -> String {
    let mut text = String::from("🚀 Allocation Server started\n");
    let address = |life: u32| 0x1000 + (life * 7 % 80) * 64;
    let line = |text: &mut String, life: u32, opens: bool| {
        let (pid, address) = (1 + life % 80 % 2, address(life));
        let _ = match opens {
            true => writeln!(
                text,
                "✓ [PID {pid}] Allocated 64 bytes of DRAM on device 0 (buffer_id={address:#x})"
            ),
            false => writeln!(
                text,
                "✗ [PID {pid}] Freed buffer {address:#x} on device 0 (64 bytes)"
            ),
        };
    };
    for life in 0..400 {
        line(&mut text, life, true);
        if life >= 40 {
            line(&mut text, life - 40, false);
        }
    }
    text
}

/// The lines that `keep` keeps, or makes of one.
fn filtered(text: &str, keep: impl Fn(&str) -> Vec<String>) -> String {
    let lines: Vec<String> = text.lines().flat_map(keep).collect();
    lines.join("\n") + "\n"
}

/// No cause is named, the verdict is open, and a note says why.
fn assert_undecided((diagnosis, code): &(Value, i32), why: &str) {
    assert!(
        first(diagnosis).is_none_or(|first| first.1 < PROBABLE),
        "{why}: {diagnosis:#}"
    );
    assert_eq!(*code, 1, "{why}: {diagnosis:#}");
    assert_eq!(diagnosis["verdict"], "inconclusive", "{why}");
    assert!(
        diagnosis["notes"].to_string().contains(why),
        "{diagnosis:#}"
    );
}

#[test]
fn logs_that_no_server_wrote_as_they_stand_have_no_cause() {
    let sound = sound();
    assert_eq!(of_text(&sound).1, 0, "the correct twin");
    let body = sound.split_once('\n').expect("lines").1;
    let doubled = filtered(&sound, |line| vec![line.to_owned(); 2]);
    assert_undecided(&of_text(&doubled), "each line seems to stand twice");
    let allocs = filtered(&sound, |line| {
        line.contains("Allocated")
            .then(|| line.to_owned())
            .into_iter()
            .collect()
    });
    assert_undecided(&of_text(&allocs), "FREEs were left out");
    let twice = body.repeat(2);
    assert_undecided(&of_text(&twice), "its second half says word by word");
    let apart = (0..40).map(|at| {
        let address = 0x9000 + at * 64;
        format!(
            "✗ [PID 1] Freed buffer {address:#x} on device 0 (64 bytes)\n\
             ✓ [PID 1] Allocated 64 bytes of DRAM on device 0 (buffer_id={address:#x})\n"
        )
    });
    let turned: String = apart.collect();
    assert_undecided(&of_text(&turned), "stand in another order");
    let elsewhere = (0..20).map(|at| {
        let address = 0x9000 + at * 64;
        format!(
            "✓ [PID 1] Allocated 64 bytes of DRAM on device 0 (buffer_id={address:#x})\n\
             ⚠ [PID 1] Deallocation for unknown buffer {address:#x} on device 1 (allocated before \
             tracking started)\n"
        )
    });
    let elsewhere: String = elsewhere.collect();
    assert_undecided(&of_text(&elsewhere), "live on another device");
}

#[test]
fn two_servers_in_one_log_contradict_each_other() {
    let one = "✓ [PID 1] Allocated 64 bytes of DRAM on device 0 (buffer_id=0x40)\n";
    let free = "✗ [PID 1] Freed buffer 0x40 on device 0 (64 bytes)\n";
    let text = log(&normal(64)) + &[one, one, free, free].concat().repeat(3);
    assert_undecided(&of_text(&text), "released what it had released before");
}

#[test]
fn one_pair_in_the_wrong_order_is_no_confident_cause() {
    let (diagnosis, code) = of_text(&amid("+a0 +a0 -a0 -a0"));
    assert_eq!(code, 1, "{diagnosis:#}");
    assert!(first(&diagnosis).is_some_and(|first| first.1 < CONFIDENT));
}

/// Of a CSV.
fn of_csv(text: &str) -> (Value, i32) {
    let file = tempfile::Builder::new()
        .suffix(".csv")
        .tempfile()
        .expect("a temporary file");
    std::fs::write(file.path(), text).expect("writable");
    run_json(&format!("diagnose {}", file.path().display()))
}

#[test]
fn records_of_an_allocator_have_no_frames_to_misread() {
    for (header, tail) in [
        ("op,address,size,memory", "hbm"),
        ("op,address,size,device", "5000"),
        ("op,address,size,process", "4000000000"),
    ] {
        let life = format!("alloc,64,100000000000000,{tail}\nfree,64,100000000000000,{tail}\n");
        let (diagnosis, code) = of_csv(&format!("{header}\n{}", life.repeat(20)));
        assert_eq!((first(&diagnosis), code), (None, 0), "{diagnosis:#}");
        // What is wrong with them is still found.
        let (diagnosis, code) = of_csv(&format!(
            "{header}\n{}",
            life.repeat(20) + &format!("free,64,100000000000000,{tail}\n").repeat(4)
        ));
        assert_eq!(code, 1, "{diagnosis:#}");
    }
}

#[test]
fn memories_and_processes_have_addresses_of_their_own_in_an_allocators_record() {
    let text = "op,address,size,process,memory\n\
                alloc,0x1000,64,1,dram\nalloc,0x1000,64,2,dram\nalloc,0x1000,64,1,l1\n\
                free,0x1000,64,1,dram\nfree,0x1000,64,2,dram\nfree,0x1000,64,1,l1\n";
    let (diagnosis, code) = of_csv(text);
    assert_eq!((first(&diagnosis), code), (None, 0), "{diagnosis:#}");
}

#[test]
fn defects_without_a_cause_of_their_own_get_no_confident_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for defect in [
        "free-to-device-0",
        "unknown-address-ignored",
        "preallocated-tracked",
        "zero-size-shares-address",
        "coalescing-off-by-one",
        "circular-never-released",
        "counter-underflow",
    ] {
        let trace = folder.path().join("run.hb");
        let trace = trace.display();
        run(&format!(
            "stress --defect {defect} --perturb --ops 400 --record {trace} --quiet"
        ));
        let (diagnosis, _) = run_json(&format!("diagnose {trace}"));
        let confident = first(&diagnosis).filter(|first| first.1 >= CONFIDENT);
        assert!(confident.is_none(), "{defect}: {confident:?}");
    }
}

#[test]
fn a_server_that_forgot_what_it_had_is_said_and_names_no_cause() {
    let allocs: String = (0..20)
        .map(|at| format!("+{:x} ", 0x100 + at * 16))
        .collect();
    let text = log(&format!("{} {allocs}", normal(200)));
    // It begins anew without a word: what follows is as if nothing had been allocated.
    let last = text.lines().count();
    let frees: String = (0..20)
        .map(|at| {
            let address = 0x100 + at * 16;
            format!("⚠ [PID 7] Deallocation for unknown buffer 0x{address:x} on device 0\n")
        })
        .collect();
    let after = log(&normal(200));
    let (_, after) = after.split_once('\n').expect("a first line");
    let (diagnosis, code) = of_text(&format!("{text}{frees}{after}"));
    assert_eq!(code, 1, "{diagnosis}");
    assert_eq!(diagnosis["causes"], serde_json::json!([]), "{diagnosis}");
    let says =
        format!("did not know 20 buffers that this record shows as live, allocated up to {last}:");
    assert!(
        diagnosis["notes"].to_string().contains(&says),
        "{diagnosis}"
    );
}
