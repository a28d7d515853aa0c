//! Which client processes are alive, so that what a dead one left can be dropped.
//!
//! A process is known by what the kernel says of the socket's other end, never by the pid in its
//! messages, which may be another namespace's. It is dead when all its connections are closed *and*
//! its pidfd says that it has exited: a pid that is used again does not revive it, a process that
//! only closed its socket is not dead, and one that the kernel does not name (a parent namespace's)
//! is never held for dead.
//!
//! What it left are the entries that messages on its connections opened. They are counted as its
//! own by its number here, which goes with each of its messages to the registry.

use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustc_hash::FxHashMap;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The number of a process among those that are watched.
pub(super) type Owner = NonZeroU16;

/// Every client process that may have left something.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// By their number, from 1.
    all: Vec<Option<Process>>,
    vacant: Vec<Owner>,
    by_peer: FxHashMap<Pid, Owner>,
}

#[derive(Debug)]
struct Process {
    peer: Pid,
    pidfd: OwnedFd,
    connections: usize,
    exited: bool,
    /// Whether it has opened an entry.
    opened: bool,
}

/// A process that is to be watched.
pub(super) struct ProcessWatch<'a> {
    pub(super) owner: Owner,
    /// Readable when it has exited; `None`: it is watched already.
    pub(super) pidfd: Option<BorrowedFd<'a>>,
}

impl Processes {
    /// A client of the process `peer` was accepted. `None`: nothing can be known of it, or too many
    /// are watched.
    pub(super) fn connect(&mut self, peer: Option<Pid>) -> Option<ProcessWatch<'_>> {
        let peer = peer?;
        if let Some(&owner) = self.by_peer.get(&peer)
            && let Some(known) = self.get(owner)
            && !known.exited
        {
            known.connections += 1;
            return Some(ProcessWatch { owner, pidfd: None });
        }
        let owner = match self.vacant.pop() {
            Some(owner) => owner,
            None => Owner::new(u16::try_from(self.all.len() + 1).ok()?)?,
        };
        let Ok(pidfd) = pidfd_open(peer, PidfdFlags::empty()) else {
            if usize::from(owner.get()) <= self.all.len() {
                self.vacant.push(owner);
            }
            return None;
        };
        let index = usize::from(owner.get()) - 1;
        if index == self.all.len() {
            self.all.push(None);
        }
        self.by_peer.insert(peer, owner);
        let known = self.all[index].insert(Process {
            peer,
            pidfd,
            connections: 1,
            exited: false,
            opened: false,
        });
        Some(ProcessWatch {
            owner,
            pidfd: Some(known.pidfd.as_fd()),
        })
    }

    /// A client's connection is closed, on which it `opened` an entry or did not. Returns whether
    /// its process is dead and may have left something.
    pub(super) fn disconnect(&mut self, owner: Owner, opened: bool) -> bool {
        let Some(known) = self.get(owner) else {
            return false;
        };
        known.connections -= 1;
        known.opened |= opened;
        if known.connections > 0 {
            return false;
        }
        let (left, exited) = (known.opened, known.exited);
        if !left {
            self.forget(owner);
        }
        left && exited
    }

    /// The pidfd of a process says that it has exited. Returns whether it is dead and may have left
    /// something; its pidfd need not be watched any more.
    pub(super) fn exited(&mut self, owner: Owner) -> Option<(bool, BorrowedFd<'_>)> {
        let known = self.get(owner)?;
        known.exited = true;
        Some((known.connections == 0, known.pidfd.as_fd()))
    }

    /// Forgets a process: dead, or one that has left nothing.
    pub(super) fn forget(&mut self, owner: Owner) {
        let index = usize::from(owner.get()) - 1;
        if let Some(known) = self.all.get_mut(index).and_then(Option::take) {
            if self.by_peer.get(&known.peer) == Some(&owner) {
                self.by_peer.remove(&known.peer);
            }
            self.vacant.push(owner);
        }
    }

    fn get(&mut self, owner: Owner) -> Option<&mut Process> {
        self.all.get_mut(usize::from(owner.get()) - 1)?.as_mut()
    }
}
