//! What looks like a cause and is another one, or none: records that are in another order than they
//! tell, addresses that one thread handed out twice, buffers that two hold, FREEs that name another
//! buffer, buffers that grow in place. No wrong cause is certain, and a twin with the cause itself
//! is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use heisenbed::diagnosis::CONFIDENT;
use serde_json::Value;

use super::{Drawn, amid, first, log, of_text};
use crate::common::run_json;

/// An allocation or a release.
#[derive(Clone, Copy, Debug)]
struct Act {
    opens: bool,
    device: i32,
    address: u64,
    size: u64,
    thread: u64,
    at: u64,
}

/// A sound program: its threads hold up to eight buffers each, at the first address that is free,
/// and release all in the end.
fn program(seed: u64, steps: u64, threads: u64) -> Vec<Act> {
    let mut drawn = Drawn(seed);
    let mut held: Vec<Vec<Act>> = vec![Vec::new(); threads as usize];
    let mut taken = vec![false; 256];
    let mut acts = Vec::new();
    for at in 1..=steps {
        let thread = drawn.below(threads);
        let buffers = &mut held[thread as usize];
        let releases = buffers.len() == 8 || (!buffers.is_empty() && drawn.below(2) == 0);
        if releases {
            let buffer = buffers.swap_remove(drawn.below(buffers.len() as u64) as usize);
            taken[(buffer.address >> 12) as usize] = false;
            acts.push(Act {
                opens: false,
                at,
                ..buffer
            });
        } else {
            let slot = taken.iter().skip(1).position(|taken| !taken).expect("room") + 1;
            taken[slot] = true;
            let buffer = Act {
                opens: true,
                device: 0,
                address: (slot as u64) << 12,
                size: [2048, 4096, 8192, 65536][drawn.below(4) as usize],
                thread,
                at,
            };
            buffers.push(buffer);
            acts.push(buffer);
        }
    }
    for buffer in held.into_iter().flatten() {
        acts.push(Act {
            opens: false,
            at: steps + acts.len() as u64,
            ..buffer
        });
    }
    acts
}

/// Each thread's acts in pieces of `most`, as threads that write what they gathered.
fn in_pieces(acts: &[Act], most: usize) -> Vec<Act> {
    let mut gathered: BTreeMap<u64, Vec<Act>> = BTreeMap::new();
    let mut written = Vec::new();
    for act in acts {
        let own = gathered.entry(act.thread).or_default();
        own.push(*act);
        if own.len() == most {
            written.append(own);
        }
    }
    written.extend(gathered.into_values().flatten());
    written
}

/// With every `one_in`th FREE as late as its thread may be: up to what that does next.
fn late(acts: &[Act], one_in: u64) -> Vec<Act> {
    let mut drawn = Drawn(9);
    let mut timed: Vec<(usize, Act)> = Vec::new();
    for (number, act) in acts.iter().enumerate() {
        let rest = acts[number + 1..].iter();
        let own = rest.take_while(|other| other.thread != act.thread).count();
        let is_late = !act.opens && drawn.below(one_in) == 0;
        timed.push((number + if is_late { own } else { 0 }, *act));
    }
    timed.sort_by_key(|(number, _)| *number);
    timed.into_iter().map(|(_, act)| act).collect()
}

/// As a CSV log; `times`: with the time of each.
fn csv(acts: &[Act], times: bool) -> String {
    let mut text = String::from("op,address,size,thread,time\n");
    for (number, act) in (1..).zip(acts) {
        let op = if act.opens { "alloc" } else { "free" };
        let at = if times { act.at } else { number };
        let Act {
            address,
            size,
            thread,
            ..
        } = act;
        let _ = writeln!(text, "{op},{address:#x},{size},{thread},{at}");
    }
    text
}

/// As the log of a server that counts references.
fn counted(acts: &[Act]) -> String {
    let mut live: BTreeMap<(i32, u64), (u64, u64)> = BTreeMap::new();
    let mut text = String::from("🚀 Allocation Server started\n");
    for act in acts {
        let (device, address, size) = (act.device, act.address, act.size);
        let key = (device, address);
        let _ = if act.opens {
            let (_, count) = live
                .entry(key)
                .and_modify(|(_, count)| *count += 1)
                .or_insert((size, 1));
            let count = match count {
                1 => String::new(),
                count => format!(", ref_count={count}"),
            };
            writeln!(
                text,
                "✓ [PID 7] Allocated {size} bytes of DRAM on device {device} \
                 (buffer_id={address:#x}{count})"
            )
        } else if let Some((size, count)) = live.get_mut(&key) {
            *count -= 1;
            let (size, left) = (*size, *count);
            if left == 0 {
                live.remove(&key);
            }
            let left = match left {
                0 => "FINAL".to_owned(),
                left => format!("ref_count={left} remaining"),
            };
            writeln!(
                text,
                "✗ [PID 7] Freed buffer {address:#x} on device {device} ({size} bytes, {left})"
            )
        } else {
            writeln!(
                text,
                "⚠ [PID 7] Deallocation for unknown buffer {address:#x} on device {device} \
                 (allocated before tracking started)"
            )
        };
    }
    text
}

/// What `diagnose` says of a file of this name.
fn of_file(name: &str, text: &str) -> (Value, i32) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("writable");
    run_json(&format!("diagnose {}", file.display()))
}

fn of_csv(text: &str) -> (Value, i32) {
    of_file("log.csv", text)
}

fn score(said: &Value, cause: &str) -> f64 {
    let causes = said["causes"].as_array().expect("a list");
    let named = causes.iter().find(|named| named["cause"] == cause);
    named.map_or(0.0, |named| named["score"].as_f64().expect("a score"))
}

fn assert_certain((said, _): &(Value, i32), cause: &str) {
    assert!(score(said, cause) >= CONFIDENT, "{cause}: {said:#}");
}

/// No cause is certain, and a note says `why`.
fn assert_open((said, code): &(Value, i32), why: &str) {
    let most = first(said).map_or(0.0, |(_, score)| score);
    assert_eq!((most < CONFIDENT, *code), (true, 1), "{said:#}");
    assert!(said["notes"].to_string().contains(why), "{why}: {said:#}");
}

#[test]
fn rows_of_a_profiler_are_read_by_time_as_an_import_keeps_them() {
    let mut text = String::from(
        "\"Kind\",\"Operation\",\"Agent_Id\",\"Allocation_Size\",\"Address\",\
         \"Correlation_Id\",\"Start_Timestamp\",\"End_Timestamp\"\n",
    );
    for act in in_pieces(&program(3, 400, 4), 8) {
        let (operation, agent) = match act.opens {
            true => ("ALLOCATE", "Agent 1"),
            false => ("FREE", ""),
        };
        let (size, address, at) = (act.size, act.address, act.at * 100);
        let _ = writeln!(
            text,
            "\"MEMORY_ALLOCATION\",\"MEMORY_ALLOCATION_{operation}\",\"{agent}\",{size},\
             \"{address:#x}\",1,{at},{}",
            at + 10
        );
    }
    let (said, code) = of_file("1_memory_allocation_trace.csv", &text);
    assert_eq!((first(&said), code), (None, 0), "{said:#}");
    assert!(
        said["notes"]
            .to_string()
            .contains("in the order of their times")
    );
}

#[test]
fn a_record_that_is_in_order_by_its_times_is_no_reordering() {
    let acts = program(5, 2000, 4);
    let said = of_csv(&csv(&in_pieces(&acts, 8), true));
    assert_open(&said, "sort it by time");
    // Twins: by time, and late by time as well.
    assert_eq!(of_csv(&csv(&acts, true)).1, 0);
    assert_certain(&of_csv(&csv(&late(&acts, 2), false)), "reordering");
}

#[test]
fn a_thread_does_not_overtake_itself() {
    let mut drawn = Drawn(4);
    let mut acts = program(6, 800, 1);
    // The allocator hands out what is live.
    let mut live: Vec<Act> = Vec::new();
    let mut twice = Vec::new();
    for act in std::mem::take(&mut acts) {
        match act.opens {
            true => live.push(act),
            false => live.retain(|other| other.address != act.address),
        }
        twice.push(act);
        if act.opens && drawn.below(20) == 0 {
            let other = live[drawn.below(live.len() as u64) as usize];
            let again = Act {
                size: act.size,
                ..other
            };
            twice.push(again);
            let release = Act {
                opens: false,
                ..again
            };
            twice.push(release);
        }
    }
    let said = of_csv(&csv(&twice, false));
    assert_open(&said, "one thread did both");
    assert_eq!(score(&said.0, "reordering"), 0.0, "{:#}", said.0);
}

/// With a second holder for one in `one_in` buffers, who lets go before the first does.
fn held_by_two(acts: &[Act], one_in: u64) -> Vec<Act> {
    let mut drawn = Drawn(8);
    let mut timed: Vec<(u64, Act)> = (0..).step_by(10).zip(acts.iter().copied()).collect();
    for (at, act) in timed.clone() {
        let releases =
            |(end, other): &&(u64, Act)| *end > at && !other.opens && other.address == act.address;
        let end = timed.iter().find(releases).map(|(end, _)| *end);
        let Some(end) = end.filter(|end| act.opens && *end > at + 40) else {
            continue;
        };
        if drawn.below(one_in) == 0 {
            let from = at + 1 + drawn.below(end - at - 20);
            let to = from + 1 + drawn.below(end - from - 1);
            timed.push((from, act));
            timed.push((
                to,
                Act {
                    opens: false,
                    ..act
                },
            ));
        }
    }
    timed.sort_by_key(|(at, _)| *at);
    timed.into_iter().map(|(_, act)| act).collect()
}

#[test]
fn buffers_that_two_hold_are_no_reordering() {
    let acts = program(7, 1500, 4);
    let shared = held_by_two(&acts, 8);
    let said = of_text(&counted(&shared));
    assert_open(&said, "two hold these buffers");
    assert_eq!(said.0["verdict"], "inconclusive", "{:#}", said.0);
    // The views of a mesh buffer that two hold.
    let on_both = |act: &Act| [*act, Act { device: 1, ..*act }];
    let views: Vec<Act> = shared.iter().flat_map(on_both).collect();
    assert_open(&of_text(&counted(&views)), "two hold these buffers");
    // Twin: an address that comes back before its FREE does has any size.
    let late = late(&acts, 2);
    assert_certain(&of_text(&counted(&late)), "reordering");
}

#[test]
fn what_a_sweep_kept_was_not_dropped() {
    let acts = program(2, 600, 2);
    let text = counted(&acts);
    let lines: Vec<&str> = text.lines().collect();
    let (before, after) = lines.split_at(300);
    let swept = "   PID 7 is dead, removing its buffers...\n   Removed 0 buffers from PID 7\n";
    let text = format!("{}\n{swept}{}\n", before.join("\n"), after.join("\n"));
    let (said, code) = of_text(&text);
    assert_eq!((first(&said), code), (None, 0), "{said:#}");
    assert!(said["notes"].to_string().contains("it had dropped none"));
}

#[test]
fn frees_of_two_sizes_are_no_second_releases() {
    let mut drawn = Drawn(3);
    let acts = program(11, 800, 1);
    let kept: Vec<Act> = acts
        .into_iter()
        .filter(|act| !act.opens || drawn.below(20) > 0)
        .collect();
    let (said, code) = of_csv(&csv(&kept, false));
    assert_eq!(code, 1);
    assert!(score(&said, "double-release") < 0.5, "{said:#}");
    assert_eq!(first(&said).map(|first| first.0), Some("loss".to_owned()));
}

#[test]
fn frees_that_name_another_buffer_are_no_certain_loss() {
    let mut drawn = Drawn(12);
    let acts = program(13, 2000, 4);
    let named: Vec<Act> = acts
        .iter()
        .map(|act| match !act.opens && drawn.below(40) == 0 {
            true => Act {
                address: act.address + 0x40,
                ..*act
            },
            false => *act,
        })
        .collect();
    assert_open(&of_text(&counted(&named)), "name another buffer");
    // Twin: as many messages are lost.
    let kept = acts.into_iter().filter(|_| drawn.below(40) > 0);
    let kept: Vec<Act> = kept.collect();
    assert_certain(&of_text(&counted(&kept)), "loss");
}

#[test]
fn a_buffer_that_grows_in_place_is_no_loss() {
    let mut drawn = Drawn(14);
    let grown: Vec<Act> = program(15, 1500, 1)
        .into_iter()
        .flat_map(|act| {
            let size = act.size * 2;
            let again = (act.opens && drawn.below(20) == 0).then_some(Act { size, ..act });
            std::iter::once(act).chain(again)
        })
        .collect();
    assert_open(&of_text(&counted(&grown)), "resized in place");
}

#[test]
fn a_note_does_not_say_that_the_record_is_silent_of_what_it_says() {
    // The sweep drops them.
    let swept: String = (0..4)
        .map(|at| format!("+{:x} ", 0x100 + at * 16))
        .collect();
    let (said, _) = of_text(&amid(&format!("{swept} !7 {}", swept.replace('+', "-"))));
    assert!(
        !said["notes"].to_string().contains("did not know"),
        "{said:#}"
    );
    assert!(score(&said, "dead-client-sweep") > 0.5, "{said:#}");
    // Another memory's buffer takes the entry.
    let mut aliased = String::new();
    for at in 0..8 {
        let address = 0x100 + at * 16;
        for memory in ["DRAM", "L1"] {
            let _ = writeln!(
                aliased,
                "✓ [PID 7] Allocated 64 bytes of {memory} on device 0 (buffer_id={address:#x})"
            );
        }
        let _ = writeln!(
            aliased,
            "✗ [PID 7] Freed buffer {address:#x} on device 0 (64 bytes)\n\
             ⚠ [PID 7] Deallocation for unknown buffer {address:#x} on device 0"
        );
    }
    let (said, _) = of_text(&format!("{}{aliased}", log("")));
    assert!(
        !said["notes"].to_string().contains("did not know"),
        "{said:#}"
    );
    assert!(score(&said, "type-aliasing") >= CONFIDENT, "{said:#}");
}

#[test]
fn a_buffer_that_is_left_in_a_short_record_is_a_leak_and_no_riddle() {
    let (said, code) = of_csv("op,address,size\nalloc,64,64\nfree,64,64\nalloc,128,64\n");
    assert_eq!(
        (&said["verdict"], &said["leaks"], code),
        (&"clean".into(), &1.into(), 1),
        "{said:#}"
    );
}
