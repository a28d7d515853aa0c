//! `run --tracking`: how a program's messages to its tracking server are read, and what is printed
//! of them.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::super::scenario_args::word;
use super::super::serve::{LayoutChoice, parse_layout};
use super::super::verdict;
use crate::native::tracked::{TrackedTally, TrackingPlan, USUAL_PATH, symbols};
use crate::numbers::plural;
use crate::registry::Semantics;

/// Options of `heisenbed run` about tracking.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tracking")]
pub(crate) struct TrackingArgs {
    /// Be the tracking server that the program connects to at PATH, and check what it sends against
    /// what its allocator does; nothing of the real path is touched
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = USUAL_PATH)]
    pub(crate) tracking: Option<String>,
    /// How ALLOC and FREE are understood [default: refcount]
    #[arg(long, requires = "tracking", value_parser = word::<Semantics>,
          value_name = "overwrite|refcount|typed|sequenced")]
    pub(crate) semantics: Option<Semantics>,
    /// The wire layout of clients that don't announce theirs [default: auto]
    #[arg(long, requires = "tracking", value_parser = parse_layout,
          value_name = "auto|72|112|128|144|648|extended")]
    pub(crate) layout: Option<LayoutChoice>,
    /// How many devices there are: ids from 0 to below this are accepted [default: 256]
    #[arg(long, requires = "tracking", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) devices: Option<u32>,
    /// How many bytes a connection holds that the server has not taken: then a send waits, or has
    /// no room. Without it the server keeps up
    #[arg(long, requires = "tracking", value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) room: Option<u32>,
    /// Which exported functions allocate and release: FILE says where address and size are in a
    /// call. Without it the allocator says so itself (hb_truth_alloc of heisenbed.h)
    #[arg(long, requires = "tracking", value_name = "FILE")]
    pub(crate) truth_symbols: Option<PathBuf>,
    /// A command that reports totals after each schedule, to be compared with the server's: a line
    /// `DEVICE MEMORY BYTES` each, as `0 l1 4096`
    #[arg(long, requires = "tracking", value_name = "CMD")]
    pub(crate) probe: Option<String>,
    /// The same by an exported function of the program, called when it ends:
    /// int NAME(uint32_t device, uint32_t memory, uint64_t *bytes), 0 where it knows
    #[arg(long, requires = "tracking", value_name = "NAME")]
    pub(crate) probe_symbol: Option<String>,
}

impl TrackingArgs {
    /// The same for commands that always track: at the usual path where none is given.
    pub(super) fn always(&self) -> Result<TrackingPlan, Box<dyn std::error::Error>> {
        let tracking = Some(
            self.tracking
                .clone()
                .unwrap_or_else(|| USUAL_PATH.to_owned()),
        );
        let asked = TrackingArgs {
            tracking,
            ..self.clone()
        };
        Ok(asked.plan()?.expect("a path was given"))
    }

    /// How the program is tracked, if it is.
    pub(super) fn plan(&self) -> Result<Option<TrackingPlan>, Box<dyn std::error::Error>> {
        let Some(path) = &self.tracking else {
            return Ok(None);
        };
        if path.is_empty() || path.len() > TrackingPlan::MAX_PATH_BYTES {
            return Err(format!(
                "--tracking {path}: no socket has such a path; it has 1 to {} bytes",
                TrackingPlan::MAX_PATH_BYTES
            )
            .into());
        }
        if let Some(name) = &self.probe_symbol
            && (name.is_empty() || name.len() > 127)
        {
            return Err("--probe-symbol: a name has 1 to 127 bytes".into());
        }
        let symbols = match &self.truth_symbols {
            Some(file) => symbols::read(file)?,
            None => Vec::new(),
        };
        Ok(Some(TrackingPlan {
            path: path.clone(),
            semantics: self.semantics.unwrap_or(Semantics::Refcount),
            layout: match self.layout {
                Some(LayoutChoice::Fixed(layout)) => Some(layout),
                Some(LayoutChoice::Auto) | None => None,
            },
            devices: self.devices,
            room: self.room.unwrap_or(0),
            symbols,
            probe: self.probe.clone(),
            probe_symbol: self.probe_symbol.clone(),
        }))
    }
}

/// The JSON keys of a check.
pub(super) fn json(tally: &TrackedTally) -> Value {
    json!({
        "divergences": tally.divergences,
        "leaks": tally.leaks,
        "first": tally.first,
        "messages": tally.messages,
        "ops": tally.ops,
        "check": tally.check,
    })
}

/// What was checked, in lines.
pub(super) fn text(tally: &TrackedTally) -> String {
    let mut text = String::new();
    let check = match tally.check {
        Some(check) => serde_json::to_value(check).ok(),
        None => None,
    };
    let check = check.as_ref().and_then(Value::as_str).unwrap_or("none");
    let _ = writeln!(
        text,
        "  tracking: {}, {} of the allocator; check: {check}",
        plural(tally.messages, "message"),
        plural(tally.ops, "operation"),
    );
    text.push_str(&verdict::divergence_table(&tally.divergences));
    if tally.leaks > 0 {
        let _ = write!(text, "  {}", verdict::leak_line(tally.leaks));
    }
    text
}

/// Why less than everything was checked, of so many schedules.
pub(super) fn note(tally: &TrackedTally, schedules: u64) -> Option<String> {
    let note = tally.note.as_ref().filter(|_| tally.weak > 0)?;
    Some(match tally.weak == schedules {
        true => note.clone(),
        false => format!("in {} of {schedules} schedules {note}", tally.weak),
    })
}
