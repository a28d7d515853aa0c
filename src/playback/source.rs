//! A trace as observations, whatever kind it is, with the truth that it has.

use crate::oracle::run_messages::{LiveBytes, RunMessages};
use crate::trace::capture;
use crate::trace::file::{Header, ImportFormat, ImportHeader, RunHeader, TraceFile};
use crate::trace::import::allocation::{self, observations};
use crate::trace::import::server_log::{LogEvent, LogRecord, ServerLogReader, to_message};
use crate::trace::journal;
use crate::trace::merge::{Merge, MergeEnd};
use crate::trace::observation::{Observation, Observed};
use crate::trace::text::TextReader;

use super::PlaybackError;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// What the allocators had live at the end, by device; where the recording knows, and reaches its end.
    pub truth: Option<Vec<LiveBytes>>,
    /// Why it could not be read to its end.
    pub damage: Option<String>,
    /// What makes its order of messages uncertain.
    pub order: Option<&'static str>,
}

/// Shows each observation of `trace` to `visit`, in order, until that says `false`.
pub fn each(
    trace: &TraceFile,
    visit: &mut impl FnMut(&Observation) -> Result<bool, PlaybackError>,
) -> Result<Recorded, PlaybackError> {
    match trace.header() {
        Header::Run(header) => each_of_run(trace, header, visit),
        Header::Import(header) if header.format == ImportFormat::ServerLog => {
            let mut text = TextReader::new(trace);
            let records = ServerLogReader::new(&mut text);
            let shown = records.filter_map(|record| record.map(|r| logged(&r)).transpose());
            each_of(shown, visit)?;
            Ok(Recorded {
                damage: text.damage().map(str::to_owned),
                ..Recorded::default()
            })
        }
        Header::Import(header) => each_allocation(trace, header, visit),
        Header::Capture(header) => {
            let mut damage = None;
            each_pushed(visit, |sink| {
                damage = capture::messages(trace, header, sink).damage;
            })?;
            Ok(Recorded {
                damage,
                ..Recorded::default()
            })
        }
        Header::Journal(_) => {
            let mut damage = None;
            each_pushed(visit, |sink| damage = journal::observations(trace, sink))?;
            Ok(Recorded {
                damage,
                ..Recorded::default()
            })
        }
    }
}

/// Of a source that pushes its observations; what comes after `visit` has had enough is not shown.
fn each_pushed(
    visit: &mut impl FnMut(&Observation) -> Result<bool, PlaybackError>,
    push: impl FnOnce(&mut dyn FnMut(Observation)),
) -> Result<(), PlaybackError> {
    let mut went = Ok(true);
    push(&mut |observation| {
        if matches!(went, Ok(true)) {
            went = visit(&observation);
        }
    });
    went.map(|_| ())
}

fn each_of_run(
    trace: &TraceFile,
    header: &RunHeader,
    visit: &mut impl FnMut(&Observation) -> Result<bool, PlaybackError>,
) -> Result<Recorded, PlaybackError> {
    let scenario = &header.scenario;
    scenario.check()?;
    let objects = scenario.objects();
    let mut merge = Merge::new(trace, objects, scenario.transport.chunks);
    let mut run = RunMessages::new(header);
    let mut whole = true;
    while let Some(merged) = merge.next_in_place() {
        if let Some(observation) = run.observe(merged)
            && !visit(&observation)?
        {
            whole = false;
            break;
        }
    }
    if let Some(why) = run.contradiction() {
        return Err(PlaybackError::Contradiction(why.to_owned()));
    }
    let damage = match merge.end() {
        _ if !whole => None,
        Ok(MergeEnd::Complete) => None,
        Ok(MergeEnd::Prefix { why }) => Some(why),
        Err(error) => return Err(PlaybackError::Contradiction(error.to_string())),
    };
    let ended = whole && damage.is_none() && trace.end().is_some_and(|end| end.completed);
    Ok(Recorded {
        truth: ended.then(|| run.live_bytes(scenario.devices)),
        damage,
        order: (!header.server_recorded && objects.conns > 1).then_some(
            "the trace does not say in which order the server took the messages of several connections",
        ),
    })
}

fn each_allocation(
    trace: &TraceFile,
    header: &ImportHeader,
    visit: &mut impl FnMut(&Observation) -> Result<bool, PlaybackError>,
) -> Result<Recorded, PlaybackError> {
    let mut text = TextReader::new(trace);
    let Some(records) = allocation::source(header, &mut text) else {
        return Err(PlaybackError::NotPlayable {
            what: "an import that is not about allocations",
        });
    };
    each_of(observations(records), visit)?;
    Ok(Recorded {
        damage: text.damage().map(str::to_owned),
        ..Recorded::default()
    })
}

fn each_of(
    shown: impl Iterator<Item = std::io::Result<Observation>>,
    visit: &mut impl FnMut(&Observation) -> Result<bool, PlaybackError>,
) -> Result<(), PlaybackError> {
    for observation in shown {
        if !visit(&observation?)? {
            break;
        }
    }
    Ok(())
}

/// What a line of a server's log shows; `None` for what no client sent.
fn logged(record: &LogRecord) -> Option<Observation> {
    let what = match record.what {
        LogEvent::UnknownMessageType(kind) => Observed::UnknownFrame { kind },
        _ => {
            let imported = to_message(record)?;
            Observed::Message {
                message: imported.message,
                complete: imported.complete,
                said: Some(imported.said),
            }
        }
    };
    Some(Observation {
        position: record.line,
        at_ns: None,
        conn: None,
        what,
    })
}
