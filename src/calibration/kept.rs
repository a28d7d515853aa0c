//! What was confident and wrong, kept: the record, so that it can be diagnosed again, and the truth
//! of it. What real threads made of a seed is never made again.
//!
//! Three files a run: the record as `heisenbed diagnose` reads it (the text of a log, else a
//! capture; a capture lacks the server's answers), every observation of it as text, and the truth
//! with what the diagnosis said, as JSON. No file that is there is written over; of one measurement
//! [`MAX_KEPT`] are kept.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::forms::Form;
use super::runs::PlantedRun;
use crate::diagnosis::{CONFIDENT, Cause, Diagnosis};
use crate::trace::capture::{CaptureEvent, CaptureRecord, CaptureWriter};
use crate::trace::file::{CaptureHeader, CaptureSource};
use crate::trace::observation::Observed;
use crate::tracking::wire;

/// Runs that are kept: many are one fault.
pub(super) const MAX_KEPT: u64 = 100;

/// Keeps run `run` of a measurement with this seed in `folder`, which is there.
pub(super) fn keep(
    folder: &Path,
    seed: u64,
    run: u64,
    planted: &PlantedRun,
    diagnosis: &Diagnosis,
) -> io::Result<()> {
    let cause = planted.cause.map_or("nothing", Cause::name);
    let (truth, base) = first_free(folder, &format!("{cause}-{seed}-{run}"))?;
    let record = match planted.shape.form {
        Form::Log => {
            let record = base.with_extension("log");
            fs::write(&record, planted.text.as_deref().unwrap_or_default())?;
            record
        }
        Form::Trace | Form::Capture => {
            let record = base.with_extension("hb");
            write_capture(File::create_new(&record)?, planted)?;
            record
        }
    };
    let mut seen = String::new();
    for observation in &planted.seen {
        let _ = writeln!(seen, "{observation:?}");
    }
    fs::write(base.with_extension("seen.txt"), seen)?;
    let said = diagnosis.causes.iter();
    let said = said.map(|it| json!({ "cause": it.cause, "score": it.score, "says": it.says }));
    let value = json!({
        "planted": planted.cause,
        "seed": seed,
        "run": run,
        "form": planted.shape.form.to_string(),
        "layout": planted.shape.layout.to_string(),
        "semantics": planted.shape.semantics.to_string(),
        "machine": planted.machine.map(|machine| machine.to_string()),
        "complete": planted.circumstances.complete,
        "confident_from": CONFIDENT,
        "said": said.collect::<Vec<_>>(),
        "record": record.file_name().map(|name| name.to_string_lossy().into_owned()),
    });
    serde_json::to_writer_pretty(truth, &value).map_err(io::Error::from)
}

/// A name in `folder` that no run has yet, taken by its file for the truth.
fn first_free(folder: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let mut number = 1;
    loop {
        let base = match number {
            1 => folder.join(name),
            _ => folder.join(format!("{name}-{number}")),
        };
        match File::create_new(base.with_extension("json")) {
            Ok(file) => return Ok((file, base)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The messages and connections of a record as a proxy captures them.
fn write_capture(file: File, planted: &PlantedRun) -> io::Result<()> {
    let layout = planted.shape.layout;
    let header = CaptureHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source: CaptureSource::Proxy,
        layout: Some(layout),
        started_unix_ns: 0,
    };
    let mut capture = CaptureWriter::create(file, header)?;
    for observation in &planted.seen {
        let frame;
        let what = match &observation.what {
            Observed::Message { message, .. } => {
                frame = wire::encode(layout, message).as_bytes().to_vec();
                CaptureEvent::ToServer(&frame)
            }
            Observed::UnknownFrame { kind } => {
                let mut unknown = vec![0; layout.frame_bytes()];
                unknown[0] = u8::try_from(*kind).unwrap_or(u8::MAX);
                frame = unknown;
                CaptureEvent::ToServer(&frame)
            }
            Observed::Opened => CaptureEvent::Opened,
            Observed::Closed => CaptureEvent::Closed,
            _ => continue,
        };
        capture.record(&CaptureRecord {
            at_ns: observation.at_ns.unwrap_or(0),
            conn: observation.conn.unwrap_or(0),
            what,
        })?;
    }
    capture.end().map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::ControlFlow;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::calibration::{CalibrationPlan, RunsOn};
    use crate::diagnosis::{Circumstances, Diagnoser};
    use crate::observe::{each, each_line};
    use crate::trace::file::TraceFile;
    use crate::trace::observation::Observation;

    /// What is made of a kept record.
    fn diagnosed(record: &Path) -> Diagnosis {
        let mut diagnoser = Diagnoser::default();
        let mut visit = |observation: Observation| {
            diagnoser.observe(&observation);
            ControlFlow::Continue(())
        };
        let seen = match record
            .extension()
            .is_some_and(|extension| extension == "log")
        {
            true => each_line(&*fs::read(record).expect("readable"), &mut visit),
            false => each(&TraceFile::open(record).expect("a trace"), &mut visit),
        };
        let complete = seen.expect("a record").complete;
        diagnoser.finish(Circumstances {
            complete,
            ..Circumstances::default()
        })
    }

    #[test]
    fn a_kept_record_is_diagnosed_as_it_was() {
        let interrupt = AtomicBool::new(false);
        let plan = CalibrationPlan {
            runs: 12,
            seed: 5,
            engine: RunsOn::Controlled,
            only: None,
            program: None,
            keep: None,
            interrupt: &interrupt,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let mut forms = BTreeSet::new();
        for run in 0..plan.runs {
            let planted = PlantedRun::new(Some(Cause::LateAttach), &plan, run).expect("a run");
            let diagnosis = planted.diagnose();
            keep(folder.path(), plan.seed, run, &planted, &diagnosis).expect("writable");
            let base = folder.path().join(format!("late-attach-5-{run}"));
            let truth = fs::read_to_string(base.with_extension("json")).expect("it is there");
            let truth: serde_json::Value = serde_json::from_str(&truth).expect("JSON");
            assert_eq!(truth["planted"], "late-attach");
            forms.insert(truth["form"].to_string());
            let record = truth["record"].as_str().expect("a name");
            let again = diagnosed(&folder.path().join(record));
            let ranked = |diagnosis: &Diagnosis| -> Vec<Cause> {
                diagnosis.causes.iter().map(|it| it.cause).collect()
            };
            assert_eq!(ranked(&again), ranked(&diagnosis), "{truth}");
        }
        assert_eq!(forms.len(), 3, "{forms:?}");
        // What is there is not written over.
        let planted = PlantedRun::new(Some(Cause::LateAttach), &plan, 0).expect("a run");
        keep(folder.path(), 5, 0, &planted, &planted.diagnose()).expect("writable");
        assert!(folder.path().join("late-attach-5-0-2.json").exists());
    }
}
