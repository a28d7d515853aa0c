//! `HEISENBED_LOG`: lines on stderr about what the rooms do, for whoever looks for the reason of
//! something.
//!
//! Each line has the seconds since the start, a level and the room that says it. The rooms write
//! through the crate `log`, so a program that uses heisenbed as a library sees the same lines in
//! its own logger. Nothing is logged step by step or message by message: where nobody listens a
//! line costs one comparison, and there are few.

use std::ffi::OsStr;
use std::io::Write;
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};
use thiserror::Error;

/// The variable that says what is logged.
pub(crate) const VARIABLE: &str = "HEISENBED_LOG";

/// The rooms that log.
pub const ROOMS: [&str; 4] = ["campaign", "engine", "server", "shrink"];

/// What is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FilterError {
    /// It is not UTF-8.
    #[error("{VARIABLE} is no text")]
    NoText,
    /// A word that is none of a filter's.
    #[error(
        "{VARIABLE}: `{0}` is neither a level (off, error, warn, info, debug, trace) nor \
         ROOM=LEVEL, as in server=debug,shrink=info"
    )]
    Word(String),
    /// A room that does not log, or is none.
    #[error("{VARIABLE}: `{0}` has no log; these rooms have: {rooms}", rooms = ROOMS.join(", "))]
    Room(String),
}

/// How much each room may say, in the order of [`ROOMS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogFilter([LevelFilter; ROOMS.len()]);

impl LogFilter {
    /// Levels for all rooms and `ROOM=LEVEL` for one, separated by commas; what comes later wins.
    fn parse(text: &str) -> Result<LogFilter, FilterError> {
        let mut levels = [LevelFilter::Off; ROOMS.len()];
        let words = text.split(',').map(str::trim);
        for word in words.filter(|word| !word.is_empty()) {
            let (room, level) = match word.split_once('=') {
                Some((room, level)) => (Some(room.trim()), level.trim()),
                None => (None, word),
            };
            let level = level
                .parse()
                .map_err(|_| FilterError::Word(word.to_owned()))?;
            match room {
                None => levels = [level; ROOMS.len()],
                Some(room) => {
                    let index = ROOMS.iter().position(|known| *known == room);
                    levels[index.ok_or_else(|| FilterError::Room(room.to_owned()))?] = level;
                }
            }
        }
        Ok(LogFilter(levels))
    }

    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let room = room_of(metadata.target());
        let index = ROOMS.iter().position(|known| Some(*known) == room);
        index.is_some_and(|index| metadata.level() <= self.0[index])
    }

    fn loudest(&self) -> LevelFilter {
        self.0.into_iter().max().unwrap_or(LevelFilter::Off)
    }
}

/// The room of a log line: its target is the path of a module. `None`: it is another crate's.
fn room_of(target: &str) -> Option<&str> {
    target.strip_prefix("heisenbed::")?.split("::").next()
}

/// Writes log lines to stderr.
struct Logger {
    filter: LogFilter,
    started: Instant,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.allows(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let room = room_of(record.target()).unwrap_or_default();
        let (style, level) = (style(record.level()), record.level());
        // Whole lines, whoever else writes; and a reader that went away is no reason to stop.
        let line = format!(
            "{seconds:9.3} {style}{level:5}{style:#} {room}: {}\n",
            record.args()
        );
        let _ = anstream::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Colours, which [`anstream`] leaves out where there is no terminal or `NO_COLOR` is set.
fn style(level: Level) -> anstyle::Style {
    use anstyle::AnsiColor::{Blue, Cyan, Green, Red, Yellow};
    let colour = match level {
        Level::Error => Red,
        Level::Warn => Yellow,
        Level::Info => Green,
        Level::Debug => Blue,
        Level::Trace => Cyan,
    };
    colour.on_default()
}

/// Begins to log what the variable's `value` asks for; nothing where it is not set.
pub(crate) fn start(value: Option<&OsStr>) -> Result<(), FilterError> {
    let Some(value) = value else { return Ok(()) };
    let filter = LogFilter::parse(value.to_str().ok_or(FilterError::NoText)?)?;
    let logger = Logger {
        filter,
        started: Instant::now(),
    };
    // Where the process has a logger already, it is that one's to say what is written.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(filter.loudest());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(filter: &str, level: Level, target: &str) -> bool {
        let metadata = Metadata::builder().level(level).target(target).build();
        let filter = LogFilter::parse(filter).expect("a filter");
        filter.allows(&metadata)
    }

    #[test]
    fn a_filter_goes_by_level_and_by_room() {
        let server = "heisenbed::server::event_loop";
        assert!(allows("debug", Level::Debug, server));
        assert!(!allows("info", Level::Debug, server));
        assert!(allows("shrink=info, server=DEBUG", Level::Debug, server));
        assert!(allows("warn,server=debug", Level::Debug, server));
        assert!(!allows("trace,server=off", Level::Error, server));
        assert!(!allows("shrink=trace", Level::Error, server));
        assert!(!allows("", Level::Error, server));
        assert!(!allows("trace", Level::Error, "another_crate::server"));
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_what_would_be_one() {
        let error = |text| LogFilter::parse(text).expect_err("no filter").to_string();
        assert!(error("loud").contains("`loud` is neither a level (off, error"));
        assert!(error("server").contains("`server` is neither"));
        assert!(error("server=loud").contains("`server=loud` is neither"));
        assert!(error("sender=debug").contains("campaign, engine, server, shrink"));
    }
}
