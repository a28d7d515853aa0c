//! Several fork servers of one program, which share the schedules of an epoch.
//!
//! Each schedule begins with the same knowledge of which instructions touch shared memory, whoever
//! runs it and whatever ran before it in the epoch; so what comes of it does not depend on how many
//! there are.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::cores;
use super::execution::{Execution, VisibleAction};
use super::launcher::{LaunchError, LaunchOptions, Launcher};
use super::learnt::MOST_EVENTS;
use super::plan::RunPlan;
use super::program::UserProgram;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Run the schedules. Dropped before who made them.
    servers: Vec<Launcher>,
    /// Made the others, if there are several.
    _maker: Option<Launcher>,
    /// Instructions that touch shared memory: see `Page::hot`.
    hot: Vec<u8>,
}

/// A schedule to run.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    /// What it is to do.
    pub(crate) plan: RunPlan,
    /// Whether what was done is asked for.
    pub(crate) learns: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct DoneErrand {
    /// The execution.
    pub(crate) execution: Execution,
    /// What was done, if it was asked for: the first of it.
    pub(crate) events: Option<Vec<VisibleAction>>,
    /// Instructions that touch shared memory, if there are more than were known.
    pub(crate) hot: Option<Vec<u8>>,
}

/// How often somebody looks whether to go on while others work.
const LOOK: Duration = Duration::from_millis(50);

impl Fleet {
    /// Starts `workers` servers of `program`, at the same time.
    pub(crate) fn start(
        program: &UserProgram,
        options: LaunchOptions,
        workers: usize,
    ) -> Result<Fleet, LaunchError> {
        let first = Launcher::start(program, options)?;
        let hot = first.hot()?;
        if workers <= 1 {
            return Ok(Fleet {
                servers: vec![first],
                _maker: None,
                hot,
            });
        }
        let mut maker = first;
        let servers = (0..workers)
            .map(|_| maker.beside())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Fleet {
            servers,
            _maker: Some(maker),
            hot,
        })
    }

    /// One of the servers, for what is done after a search.
    pub(crate) fn one(&mut self) -> Result<&mut Launcher, LaunchError> {
        let first = self.servers.first_mut().expect("there is at least one");
        first.write_hot(&self.hot)?;
        Ok(first)
    }

    /// Instructions that touch shared memory are known from now on; which of them are new: their
    /// bits.
    pub(crate) fn know(&mut self, hot: Option<&[u8]>) -> Vec<u16> {
        let mut new = Vec::new();
        let both = self.hot.iter_mut().zip(hot.unwrap_or_default());
        for (at, (known, more)) in both.enumerate() {
            new.extend(
                (0..8)
                    .filter(|bit| (*more & !*known) >> bit & 1 != 0)
                    .map(|bit| (at * 8 + bit) as u16),
            );
            *known |= more;
        }
        new
    }

    /// The same of bits.
    pub(crate) fn know_bits(&mut self, bits: &[u16]) {
        for bit in bits {
            if let Some(known) = self.hot.get_mut(usize::from(bit / 8)) {
                *known |= 1 << (bit % 8);
            }
        }
    }

    /// Runs the schedules of an epoch: as many as `go_on` lets it, without a gap; with
    /// `until_failure`, up to the first that fails.
    pub(crate) fn run(
        &mut self,
        epoch: &[Errand],
        until_failure: bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<DoneErrand>, LaunchError> {
        let hot = &self.hot;
        if let [only] = &mut self.servers[..] {
            let mut all = Vec::with_capacity(epoch.len());
            for errand in epoch {
                if !go_on() {
                    break;
                }
                let done = do_one(only, errand, hot)?;
                let ends = until_failure && done.execution.failure.is_some();
                all.push(done);
                if ends {
                    break;
                }
            }
            return Ok(all);
        }
        let (next, end, stop) = (
            AtomicUsize::new(0),
            AtomicUsize::new(epoch.len()),
            AtomicBool::new(!go_on()),
        );
        let mut all: Vec<Option<DoneErrand>> = epoch.iter().map(|_| None).collect();
        let mut problem = None;
        cores::leave();
        std::thread::scope(|scope| {
            let (send, receive) = mpsc::channel();
            for server in &mut self.servers {
                let (send, next, end, stop) = (send.clone(), &next, &end, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        // What comes before a failure is still to be run: it may fail, too.
                        if at >= end.load(Ordering::Relaxed) {
                            break;
                        }
                        let done = do_one(server, &epoch[at], hot);
                        let failed = done
                            .as_ref()
                            .is_ok_and(|done| done.execution.failure.is_some());
                        if failed && until_failure {
                            end.fetch_min(at + 1, Ordering::Relaxed);
                        }
                        if send.send((at, done)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            loop {
                match receive.recv_timeout(LOOK) {
                    Ok((at, Ok(done))) => all[at] = Some(done),
                    Ok((_, Err(error))) => {
                        stop.store(true, Ordering::Relaxed);
                        problem.get_or_insert(error);
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                }
                if !go_on() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        match problem {
            Some(error) => Err(error),
            None => Ok(all
                .into_iter()
                .take(end.into_inner())
                .map_while(|done| done)
                .collect()),
        }
    }
}

fn do_one(server: &mut Launcher, errand: &Errand, hot: &[u8]) -> Result<DoneErrand, LaunchError> {
    server.write_hot(hot)?;
    let execution = server.run(&errand.plan)?;
    let events = if errand.learns {
        Some(server.first_events(&execution, MOST_EVENTS)?)
    } else {
        None
    };
    let hot = match execution.accesses {
        // Nobody has touched what stands there.
        0 => None,
        _ => Some(server.hot()?).filter(|after| after != hot),
    };
    Ok(DoneErrand {
        execution,
        events,
        hot,
    })
}
