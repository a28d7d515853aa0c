//! Causes by name, and a suspected one with what speaks for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sightings::Sighting;

/// What can be behind a record in which something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A message overtook another one about the same address.
    Reordering,
    /// Messages did not arrive.
    Loss,
    /// A buffer was released twice.
    DoubleRelease,
    /// Two memories share an address, and the messages or the server do not tell them apart.
    TypeAliasing,
    /// The record, or the server, began when buffers were live.
    LateAttach,
    /// A process got the id of one that ended with live buffers.
    PidReuse,
    /// Frames were read in another layout than they were written in.
    LayoutMismatch,
    /// The server swept the buffers of a process that was not dead, or not soon enough those of one
    /// that was.
    DeadClientSweep,
    /// The program did not release what it allocated.
    RealLeak,
    /// A mesh buffer's address was given back before its views on each device were released.
    MeshRelease,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 10] = [
        Cause::Reordering,
        Cause::Loss,
        Cause::DoubleRelease,
        Cause::TypeAliasing,
        Cause::LateAttach,
        Cause::PidReuse,
        Cause::LayoutMismatch,
        Cause::DeadClientSweep,
        Cause::RealLeak,
        Cause::MeshRelease,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Reordering => "reordering",
            Cause::Loss => "loss",
            Cause::DoubleRelease => "double-release",
            Cause::TypeAliasing => "type-aliasing",
            Cause::LateAttach => "late-attach",
            Cause::PidReuse => "pid-reuse",
            Cause::LayoutMismatch => "layout-mismatch",
            Cause::DeadClientSweep => "dead-client-sweep",
            Cause::RealLeak => "real-leak",
            Cause::MeshRelease => "mesh-release",
        }
    }

    /// One sentence for a newcomer.
    pub fn explain(self) -> &'static str {
        match self {
            Cause::Reordering => "a message overtook another one about the same address",
            Cause::Loss => "messages did not arrive",
            Cause::DoubleRelease => "a buffer was released twice",
            Cause::TypeAliasing => "two memories share an address that nothing tells apart",
            Cause::LateAttach => "the server, or the record, began when buffers were live",
            Cause::PidReuse => "a process got the id of one that ended with live buffers",
            Cause::LayoutMismatch => "frames were read in another layout than they were written in",
            Cause::DeadClientSweep => "the server swept the buffers of a process that was not dead",
            Cause::RealLeak => "the program did not release what it allocated",
            Cause::MeshRelease => {
                "a mesh buffer's address was given back before its views were released"
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A cause with what speaks for it.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// The cause.
    pub cause: Cause,
    /// How likely it is that it is at work, from 0 to 1.
    pub score: f64,
    /// How many pieces of evidence there are.
    pub count: u64,
    /// What was seen, in a sentence.
    pub says: String,
    /// The first pieces of evidence, by position.
    pub exhibits: Vec<Exhibit>,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhibit {
    /// Where, and what it is about.
    pub sighting: Sighting,
    /// What is to be seen there, position by position.
    pub says: &'static str,
}
