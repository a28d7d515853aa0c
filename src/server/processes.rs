//! Which client processes are alive, so that what a dead one left can be dropped.
//!
//! A process is known by what the kernel says of the socket's other end, never by the pid in its messages, which may be another namespace's. It is dead when
//! all its connections are closed *and* its pidfd says that it has exited: a pid that is used again does not revive it, a process that
//! only closed its socket is not dead, and one that the kernel does not name (a parent namespace's) is never held for dead.
//!
//! What it left are the entries under the pids that its messages named, except for those that a living process names too: with two
//! namespaces one pid can mean two processes, and then nothing is dropped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustc_hash::FxHashMap;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// More pids than that on one connection are no client's of its own: a proxy's. The rest is not tracked, so never dropped.
const MAX_PIDS: usize = 64;

/// The pids that one client's messages named.
#[derive(Debug, Default)]
pub(super) struct NamedPids {
    last: Option<i32>,
    all: Vec<i32>,
}

impl NamedPids {
    /// A message named `pid`.
    #[inline]
    pub(super) fn name(&mut self, pid: i32) {
        if self.last != Some(pid) {
            self.last = Some(pid);
            if !self.all.contains(&pid) && self.all.len() < MAX_PIDS {
                self.all.push(pid);
            }
        }
    }
}

/// Every client process that may have left something.
#[derive(Debug, Default)]
pub(super) struct Processes {
    all: Vec<Option<Process>>,
    vacant: Vec<usize>,
    by_peer: FxHashMap<Pid, usize>,
}

#[derive(Debug)]
struct Process {
    peer: Pid,
    pidfd: OwnedFd,
    connections: usize,
    exited: bool,
    /// What the messages of closed connections named.
    pids: Vec<i32>,
}

/// A process that is to be watched.
pub(super) struct Watch<'a> {
    /// Its number here.
    pub(super) process: usize,
    /// Readable when it has exited; `None`: it is watched already.
    pub(super) pidfd: Option<BorrowedFd<'a>>,
}

impl Processes {
    /// A client of the process `peer` was accepted. `None`: nothing can be known of it.
    pub(super) fn connect(&mut self, peer: Option<Pid>) -> Option<Watch<'_>> {
        let peer = peer?;
        if let Some(&process) = self.by_peer.get(&peer)
            && let Some(known) = &mut self.all[process]
            && !known.exited
        {
            known.connections += 1;
            return Some(Watch {
                process,
                pidfd: None,
            });
        }
        let pidfd = pidfd_open(peer, PidfdFlags::empty()).ok()?;
        let process = self.vacant.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        self.by_peer.insert(peer, process);
        let known = self.all[process].insert(Process {
            peer,
            pidfd,
            connections: 1,
            exited: false,
            pids: Vec::new(),
        });
        Some(Watch {
            process,
            pidfd: Some(known.pidfd.as_fd()),
        })
    }

    /// A client's connection is closed. Returns whether its process is dead.
    pub(super) fn disconnect(&mut self, process: usize, named: &NamedPids) -> bool {
        let Some(known) = self.all.get_mut(process).and_then(Option::as_mut) else {
            return false;
        };
        known.connections -= 1;
        for pid in &named.all {
            if !known.pids.contains(pid) {
                known.pids.push(*pid);
            }
        }
        if known.connections == 0 && known.pids.is_empty() {
            self.forget(process);
            return false;
        }
        known.connections == 0 && known.exited
    }

    /// The pidfd of a process says that it has exited. Returns whether it is dead; its pidfd need not be watched any more.
    pub(super) fn exited(&mut self, process: usize) -> Option<(bool, BorrowedFd<'_>)> {
        let known = self.all.get_mut(process)?.as_mut()?;
        known.exited = true;
        Some((known.connections == 0, known.pidfd.as_fd()))
    }

    /// Forgets a dead process; returns the pids whose entries it left, given those that the open connections named.
    pub(super) fn bury<'a>(
        &mut self,
        process: usize,
        open: impl Iterator<Item = &'a NamedPids>,
    ) -> Vec<i32> {
        let Some(dead) = self.forget(process) else {
            return Vec::new();
        };
        let mut left = dead.pids;
        for named in open {
            left.retain(|pid| !named.all.contains(pid));
        }
        for living in self.all.iter().flatten() {
            left.retain(|pid| !living.pids.contains(pid));
        }
        left
    }

    fn forget(&mut self, process: usize) -> Option<Process> {
        let known = self.all.get_mut(process)?.take()?;
        if self.by_peer.get(&known.peer) == Some(&process) {
            self.by_peer.remove(&known.peer);
        }
        self.vacant.push(process);
        Some(known)
    }
}
