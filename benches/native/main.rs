//! The yardstick of `heisenbed run`: how many schedules each strategy needs to the first failure of
//! each program of `programs/`, beside what was published for other tools.
//!
//!     cargo build --release
//!     cargo bench -p heisenbed-benches --bench native                   # seeds 1 to 20
//!     cargo bench -p heisenbed-benches --bench native -- --quick        # seeds 1 to 5
//!     cargo bench -p heisenbed-benches --bench native -- reorder wsq    # some programs
//!     cargo bench -p heisenbed-benches --bench native -- --state FILE   # goes on where it ended
//!
//! `--twins` runs the correct twins instead, 100,000 schedules of each by mix, and counts false
//! alarms (with --quick 1,000). It takes hours; with `--state` it goes on.
//!
//! Options: `--strategies mix,rff`, `--seeds N`, `--schedules N` and `--seconds S` (the limits of
//! one search; 2,000 and 60; with --quick 500 and 10), `--binary FILE` (else `HEISENBED`, else
//! `target/release/heisenbed`). With the usual limits all of it takes about two hours on one core,
//! most of it by pos and random with 50 and 100 threads. SafeStack has a table of its own, and only
//! if it is asked for by name: a search of it takes minutes; give it `--schedules 1000000 --seconds
//! 1200`.
//!
//! What was published is about other programs of the same idioms, and was not run here. Nothing
//! here fails: what was not found is printed as not found.

mod measure;
mod options;
mod programs;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let options = options::Options::parse(std::env::args().skip(1))?;
    let all = programs::read()?;
    let chosen: Vec<_> = all
        .iter()
        .filter(|program| options.wants(&program.name))
        .collect();
    if chosen.is_empty() {
        return Err(format!("no program is called {:?}", options.filters));
    }
    let folder = programs::build(&options.binary)?;
    let mut measured = measure::Measured::open(&options)?;
    for program in &chosen {
        for strategy in &options.strategies {
            eprintln!("{} by {strategy} …", program.name);
            for seed in 1..=options.seeds {
                let name = match options.twins {
                    true => &program.twin,
                    false => &program.name,
                };
                measured.search(&options, &folder, name, strategy, seed)?;
            }
        }
    }
    if options.twins {
        return Ok(table::twins(&options, &chosen, &measured));
    }
    let published = programs::published();
    Ok(table::markdown(&options, &chosen, &measured, &published))
}
