//! The cases: what the server does, and what its client must not do of it.

use std::io;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::super::Trouble;
use super::ClientSuiteOptions;
use super::program::{ProgramEnd, RunningClient, run_traced};
use super::stage::{MESSAGES_BEFORE, Manner, SeenClient, Stage};
use crate::numbers::plural;
use crate::tracking::Layout;

/// One case.
#[derive(Debug)]
pub struct ClientCase {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Which misbehaviour it would show.
    pub(crate) about: &'static str,
    /// What the server does.
    pub(crate) server: &'static str,
    /// What a sound client does.
    pub(crate) expected: &'static str,
    pub(super) run: fn(&Theatre<'_>) -> Result<String, Trouble>,
}

/// Every case, in the order in which they are run.
pub const CLIENT_CASES: &[ClientCase] = &[
    ClientCase {
        name: "server-lives",
        about: "a client that does not do its work: the measure of all other cases",
        server: "takes everything and answers",
        expected: "whole messages over no more connections than it is to have, and exit code 0",
        run: lives,
    },
    ClientCase {
        name: "server-dies",
        about: "a client that dies of SIGPIPE with its server",
        server: "closes every connection and its socket after 10 messages",
        expected: "ends by itself, with any exit code",
        run: |theatre| theatre.survives(Manner::Dies),
    },
    ClientCase {
        name: "server-stops",
        about: "a client that hangs on a stopped server",
        server: "neither reads nor answers after 10 messages, and closes nothing",
        expected: "ends by itself, with any exit code",
        run: |theatre| theatre.survives(Manner::Stops),
    },
    ClientCase {
        name: "no-server",
        about: "a client that connects again for every message, or closes what is closed",
        server: "is not there",
        expected: "ends by itself; no more connects than one a 10 messages (10 to 100); closes nothing twice",
        run: no_server,
    },
    ClientCase {
        name: "server-late",
        about: "a client whose threads connect each for itself when a server comes",
        server: "listens after a quarter of the time for which the client usually has a connection",
        expected: "ends by itself, with no more connections at once than it is to have",
        run: late,
    },
    ClientCase {
        name: "server-restarts",
        about: "a client that dies with its server, or whose threads connect each for itself to the next",
        server: "closes everything after 10 messages; 0.1 s later one listens that knows nothing",
        expected: "ends by itself, with no more connections at once than it is to have",
        run: restarts,
    },
    ClientCase {
        name: "server-turns-away",
        about: "a client that connects again for every message",
        server: "closes every connection as soon as it has accepted it",
        expected: "ends by itself; no more connects than one a 10 messages (10 to 100)",
        run: turns_away,
    },
    ClientCase {
        name: "server-slow",
        about: "a client that tears messages where the socket is full",
        server: "reads 4 KiB every 2 ms, and answers after 50 ms",
        expected: "ends by itself; what it sends is whole messages",
        run: slow,
    },
    ClientCase {
        name: "other-layout",
        about: "a client that waits for ever for an answer of its own length, or dies of another",
        server: "answers in the next shorter and in the next longer layout",
        expected: "ends by itself, with any exit code",
        run: other_layout,
    },
];

/// What all cases share.
pub(super) struct Theatre<'a> {
    options: &'a ClientSuiteOptions,
    interrupt: &'a AtomicBool,
    /// What the client does with a server that lives.
    usual: Performance,
}

/// A client that has run, as its server saw it.
#[derive(Clone, Copy)]
struct Performance {
    end: ProgramEnd,
    seen: SeenClient,
}

impl<'a> Theatre<'a> {
    /// Runs the client once, to know what is usual.
    pub(crate) fn new(
        options: &'a ClientSuiteOptions,
        interrupt: &'a AtomicBool,
    ) -> io::Result<Theatre<'a>> {
        let usual = perform(options, Manner::Serves, options.patience, interrupt)?;
        Ok(Theatre {
            options,
            interrupt,
            usual,
        })
    }

    fn perform(&self, manner: Manner) -> Result<Performance, Trouble> {
        perform(self.options, manner, self.limit(), self.interrupt).map_err(|error| skipped(&error))
    }

    /// How long the client may run.
    fn limit(&self) -> Duration {
        const TIMES: u32 = 5;
        self.options.patience.max(self.usual.end.ran * TIMES)
    }

    /// How often it may connect where that is in vain.
    fn most_connects(&self) -> u64 {
        (self.usual.seen.messages / 10).clamp(10, 100)
    }

    /// Whether the client does enough for anything to be seen.
    fn is_fit(&self, messages: u64) -> Result<(), Trouble> {
        let Performance { end, seen } = self.usual;
        if end.is_hung {
            return Err(Trouble::Skipped(
                "it does not end with a server that lives".to_owned(),
            ));
        }
        if seen.messages < messages {
            let sent = plural(seen.messages, "message");
            return Err(Trouble::Skipped(format!(
                "it sends {sent} to a server that lives: {messages} are needed"
            )));
        }
        Ok(())
    }

    /// The client ends by itself, whatever its exit code.
    fn survives(&self, manner: Manner) -> Result<String, Trouble> {
        self.is_fit(2 * MESSAGES_BEFORE)?;
        let played = self.perform(manner)?;
        ends_by_itself(played.end)?;
        Ok(played.end.words())
    }

    fn has_few_connections(&self, seen: SeenClient) -> Result<(), Trouble> {
        let allowed = self.options.connections;
        if seen.most_open > allowed {
            return Err(Trouble::Failed(format!(
                "it had {} open at once ({} allowed)",
                plural(seen.most_open as u64, "connection"),
                allowed
            )));
        }
        Ok(())
    }
}

fn perform(
    options: &ClientSuiteOptions,
    manner: Manner,
    limit: Duration,
    interrupt: &AtomicBool,
) -> io::Result<Performance> {
    let stage = Stage::open(&options.path, manner)?;
    let end = RunningClient::start(&options.command, &options.path)
        .and_then(|client| client.wait(limit, interrupt));
    let seen = stage.close();
    Ok(Performance { end: end?, seen })
}

fn lives(theatre: &Theatre<'_>) -> Result<String, Trouble> {
    let Performance { end, seen } = theatre.perform(Manner::Serves)?;
    if !end.is_success() {
        return Err(Trouble::Failed(end.words()));
    }
    if seen.messages == 0 {
        return Err(Trouble::Failed(format!(
            "it sent no message to its server in {}: the path stands in the environment as {} and for {} in the command",
            theatre.options.path.display(),
            super::SOCKET_VARIABLE,
            super::SOCKET_PLACEHOLDER
        )));
    }
    are_whole(seen)?;
    theatre.has_few_connections(seen)?;
    Ok(format!(
        "{} over {}, and exit code 0",
        plural(seen.messages, "message"),
        plural(seen.connects, "connection")
    ))
}

fn no_server(theatre: &Theatre<'_>) -> Result<String, Trouble> {
    theatre.is_fit(1)?;
    let ClientSuiteOptions { command, path, .. } = theatre.options;
    // Followed it runs more slowly.
    let limit = theatre.limit();
    let (end, counts) = match run_traced(command, path, limit, theatre.interrupt) {
        Ok((end, counts)) => (end, Some(counts)),
        Err(error) if error.raw_os_error().is_some() => {
            let client = RunningClient::start(command, path);
            let end = client.and_then(|client| client.wait(limit, theatre.interrupt));
            (end.map_err(|error| skipped(&error))?, None)
        }
        Err(error) => return Err(skipped(&error)),
    };
    ends_by_itself(end)?;
    let Some(counts) = counts else {
        return Ok(format!(
            "{}; its connects were not counted: the system lets nobody follow it",
            end.words()
        ));
    };
    let (connects, most) = (counts.connects, theatre.most_connects());
    let closed = format!(
        "{} of descriptors that were not open",
        plural(counts.closed_twice, "close")
    );
    if connects > most {
        return Err(Trouble::Failed(format!(
            "it tried to connect {connects} times ({most} allowed); {closed}"
        )));
    }
    if counts.closed_twice > 0 {
        return Err(Trouble::Failed(closed));
    }
    Ok(format!(
        "{}; it tried no more often than it may",
        end.words()
    ))
}

fn late(theatre: &Theatre<'_>) -> Result<String, Trouble> {
    const SHORTEST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_millis(500);
    theatre.is_fit(1)?;
    let Performance { end, seen } = theatre.usual;
    let first = seen.first_connect.unwrap_or_default();
    let delay = first + (end.ran.saturating_sub(first) / 4).clamp(SHORTEST, LONGEST);
    let Performance { end, seen } = theatre.perform(Manner::Late(delay))?;
    ends_by_itself(end)?;
    theatre.has_few_connections(seen)?;
    let how = match seen.connects {
        0 => "it did without",
        _ => "it found the server",
    };
    Ok(format!("{}; {how}", end.words()))
}

fn restarts(theatre: &Theatre<'_>) -> Result<String, Trouble> {
    theatre.is_fit(2 * MESSAGES_BEFORE)?;
    let Performance { end, seen } = theatre.perform(Manner::Restarts)?;
    ends_by_itself(end)?;
    theatre.has_few_connections(seen)?;
    let how = match seen.reconnects {
        0 => "it did not come back",
        _ => "it came back",
    };
    Ok(format!("{}; {how}", end.words()))
}

fn turns_away(theatre: &Theatre<'_>) -> Result<String, Trouble> {
    theatre.is_fit(1)?;
    let Performance { end, seen } = theatre.perform(Manner::TurnsAway)?;
    ends_by_itself(end)?;
    let (connects, most) = (seen.connects, theatre.most_connects());
    if connects > most {
        return Err(Trouble::Failed(format!(
            "it connected {connects} times ({most} allowed)"
        )));
    }
    Ok(format!(
        "{}; it tried no more often than it may",
        end.words()
    ))
}

fn slow(theatre: &Theatre<'_>) -> Result<String, Trouble> {
    theatre.is_fit(1)?;
    let Performance { end, seen } = theatre.perform(Manner::Slow)?;
    ends_by_itself(end)?;
    are_whole(seen)?;
    Ok(format!("{}; whole messages only", end.words()))
}

fn other_layout(theatre: &Theatre<'_>) -> Result<String, Trouble> {
    theatre.is_fit(1)?;
    let seen = theatre.usual.seen;
    let Some(own) = seen.layout.filter(|_| seen.asked > 0) else {
        return Err(Trouble::Skipped("it asks for nothing".to_owned()));
    };
    let bytes = own.frame_bytes();
    let sorted = Layout::LEGACY.into_iter();
    let shorter = sorted.clone().rfind(|other| other.frame_bytes() < bytes);
    let longer = sorted.clone().find(|other| other.frame_bytes() > bytes);
    for layout in [shorter, longer].into_iter().flatten() {
        let played = theatre.perform(Manner::Answers(layout))?;
        ends_by_itself(played.end).map_err(|trouble| match trouble {
            Trouble::Failed(seen) => Trouble::Failed(format!(
                "answered in the {layout} layout and not in the {own}: {seen}"
            )),
            other => other,
        })?;
    }
    Ok("it ended by itself".to_owned())
}

fn ends_by_itself(end: ProgramEnd) -> Result<(), Trouble> {
    match end.is_hung || end.is_killed() {
        true => Err(Trouble::Failed(end.words())),
        false => Ok(()),
    }
}

fn are_whole(seen: SeenClient) -> Result<(), Trouble> {
    if seen.torn_frames > 0 || seen.unknown_frames > 0 {
        return Err(Trouble::Failed(format!(
            "{} ended inside a message, {} no message",
            plural(seen.torn_frames, "connection"),
            match seen.unknown_frames {
                1 => "1 frame was".to_owned(),
                frames => format!("{frames} frames were"),
            }
        )));
    }
    Ok(())
}

fn skipped(error: &io::Error) -> Trouble {
    Trouble::Skipped(error.to_string())
}
