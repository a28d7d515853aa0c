//! Causes by name, and a suspected one with what speaks for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::outcome::KnownTruth;
use super::sightings::Sighting;
use crate::numbers::{grouped, plural};
use crate::oracle::Kind;
use crate::tracking::entry::Class;

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

    /// What is known of a run whose truth was recorded, and this cause does not leave; or what it
    /// would leave, and nobody found.
    pub(super) fn contradiction(self, truth: &KnownTruth) -> Option<String> {
        let found = &truth.divergences;
        let of_lives = matches!(
            self,
            Cause::Reordering | Cause::Loss | Cause::LateAttach | Cause::PidReuse
        );
        if of_lives && truth.announced > truth.allocations {
            return Some(format!(
                "{} were sent for {} that the allocators handed out",
                plural(truth.announced, "ALLOC"),
                plural(truth.allocations, "buffer"),
            ));
        }
        let has = |kind: &Kind| found.contains_key(kind);
        let lacks_losses = !has(&Kind::LostMessage) && !has(&Kind::TornFrame);
        if self == Cause::Loss && lacks_losses && !found.is_empty() {
            return Some("each message that was sent has come".to_owned());
        }
        if self == Cause::RealLeak && truth.leaks == 0 {
            return Some("each buffer was released".to_owned());
        }
        let foreign: &[Kind] = match self {
            _ if of_lives => &[Kind::DoubleFree, Kind::Deadlock, Kind::LockOutOfBounds],
            Cause::DoubleRelease => &[Kind::PhantomLive, Kind::Deadlock, Kind::LockOutOfBounds],
            _ => &[Kind::Deadlock, Kind::LockOutOfBounds],
        };
        let (kind, count) = found.iter().find(|(kind, _)| foreign.contains(kind))?;
        let count = grouped(*count);
        Some(format!(
            "{} ({count}) is nothing that it leaves",
            kind.name()
        ))
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

impl Exhibit {
    /// What is to be seen there, with the names of its messages.
    pub fn words(&self) -> String {
        let class = self.sighting.class.unwrap_or(Class::Plain);
        with_names_of(class, self.says)
    }
}

/// A sentence about ALLOC and FREE in the names of the messages of `class`.
pub(super) fn with_names_of(class: Class, sentence: &str) -> String {
    let (alloc, free) = match class {
        Class::Plain => return sentence.to_owned(),
        Class::Circular => ("CB_ALLOC", "CB_FREE"),
        Class::Kernel => ("KERNEL_LOAD", "KERNEL_UNLOAD"),
    };
    sentence.replace("ALLOC", alloc).replace("FREE", free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_called_by_their_names() {
        let exhibit = |class| Exhibit {
            sighting: Sighting {
                class,
                ..Sighting::default()
            },
            says: "FREE, and only then its ALLOC",
        };
        let words = |class| exhibit(class).words();
        assert_eq!(words(None), "FREE, and only then its ALLOC");
        assert_eq!(
            words(Some(Class::Circular)),
            "CB_FREE, and only then its CB_ALLOC"
        );
        assert_eq!(
            words(Some(Class::Kernel)),
            "KERNEL_UNLOAD, and only then its KERNEL_LOAD"
        );
    }
}
