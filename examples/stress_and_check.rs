//! Plays a protocol on real threads and a real socket until a run diverges, and makes the recorded
//! run small.
//!
//!     cargo run --example stress_and_check

use std::error::Error;

use heisenbed::facade::{Verdict, check, scenario, smallest, stress, timeline};

/// `perturb` delays random steps, which widens whatever window there is.
const SCENARIO: &str = r#"
name    = "narrow lock"
order   = "free-first"
threads = 2
ops     = 2000
perturb = true
"#;

const MOST_RUNS: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", answer("lifecycle-narrow")?);
    Ok(())
}

/// What runs under `discipline` show.
pub fn answer(discipline: &str) -> Result<String, Box<dyn Error>> {
    let scenario = scenario(SCENARIO, Some(discipline))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.hb");
    for run in 0..MOST_RUNS {
        let played = stress(&scenario, run, Some(&path))?;
        let messages = played.report.messages;
        if played.report.verdict != Verdict::Diverged {
            continue;
        }
        // Whoever has the file can check it again, here or elsewhere.
        let report = check(&path)?;
        let mut text = format!("run {run} of {messages} messages diverged:\n");
        for (kind, count) in &report.divergences {
            text += &format!("  {count} × {kind}: {}\n", kind.explain());
        }
        if let Some(trace) = &played.trace {
            text += &format!("\nThe smallest:\n\n{}", timeline(&smallest(trace)?));
        }
        return Ok(text);
    }
    Ok(format!("none of {MOST_RUNS} runs diverged\n"))
}
