//! Is this locking protocol safe? Proves it, workload by workload, or draws the smallest run that
//! refutes it.
//!
//!     cargo run --example prove_my_lock

use heisenbed::facade::{FacadeError, Schedules, Verdict, explore, small_scenario, timeline};

/// The steps of an allocate and of a release, as they stand in the C++.
pub const MY_LOCK: &str = r#"
name       = "my-lock"
allocate   = ["alloc", "mark-live", "lock tracker", "send ALLOC", "unlock tracker", "publish"]
deallocate = ["check-live", "lock tracker", "send FREE", "unlock tracker", "free", "mark-dead"]
"#;

/// Each thread releases its own buffers; one releases another's; two release the same one.
const WORKLOADS: [&str; 3] = ["own-buffers", "handoff", "shared-free"];

fn main() -> Result<(), FacadeError> {
    print!("{}", answer(MY_LOCK)?);
    Ok(())
}

/// What is proved of `discipline`, up to the first workload in which it fails.
pub fn answer(discipline: &str) -> Result<String, FacadeError> {
    let mut text = String::new();
    for workload in WORKLOADS {
        let scenario = small_scenario(workload, Some(discipline))?;
        let found = explore(&scenario, Schedules::default())?;
        let states = found.states.unwrap_or(0);
        text += &format!("{workload}: {} ({states} states)\n", found.verdict);
        if let Some(note) = &found.note {
            text += &format!("  {note}\n");
        }
        if let Some(smallest) = &found.smallest {
            text += &format!("\n{}\n\n{}", smallest.size, timeline(smallest));
        }
        if found.verdict == Verdict::Diverged {
            break;
        }
    }
    Ok(text)
}
