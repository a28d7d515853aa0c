//! What a discipline declares of a cell: `device atomic counts bytes`, `global[4] plain owner`,
//! `global ledger`.

use std::fmt;
use std::str::FromStr;

/// A cell, as it is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellSpec {
    /// How many there are of it.
    pub scope: CellScope,
    /// Entries of the table in each; 1 where it is none.
    pub entries: u8,
    /// What sort of variable it is.
    pub kind: CellKind,
    /// What it must agree with.
    pub role: Option<CellRole>,
    /// The most that it may show at any time, where it counts.
    pub most: Option<u64>,
    /// What it holds before the first step.
    pub initial: u64,
}

/// How many there are of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellScope {
    /// `global`: one.
    Global,
    /// `device`: one a device.
    Device,
    /// `memory`: one for each memory of each device.
    Memory,
    /// `process`: one a process.
    Process,
    /// `thread`: one a thread.
    Thread,
    /// `buffer`: one a buffer. It begins anew with each.
    Buffer,
}

/// What sort of variable a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellKind {
    /// `plain`: a word that is loaded and stored.
    Plain,
    /// `atomic`: a word that can also be changed in one action.
    Atomic,
    /// `ledger`: a map from addresses to buffers that is its user's to lock. It is looked up in one
    /// step and written in another; what others wrote between the two is lost.
    Ledger,
    /// `atomic ledger`: a map of which each step is one action.
    AtomicLedger,
}

impl CellKind {
    /// Whether it is a map.
    pub(crate) fn is_ledger(self) -> bool {
        matches!(self, CellKind::Ledger | CellKind::AtomicLedger)
    }
}

/// What a cell must agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellRole {
    /// `counts bytes`: at rest, the bytes that are live in its scope.
    Bytes,
    /// `counts buffers`: at rest, the buffers that are live in its scope.
    Buffers,
    /// `counts users`: at rest, the processes that have joined the region and not left it.
    Users,
    /// `owner`: 0, or the process that has it; nobody else writes it while that one lives.
    Owner,
    /// `region`: written while the region is made; by nobody while another process has joined it.
    Region,
}

impl CellRole {
    /// Whether it holds a number that is compared at rest.
    pub(crate) fn counts(self) -> bool {
        matches!(self, CellRole::Bytes | CellRole::Buffers | CellRole::Users)
    }
}

const SCOPES: [(CellScope, &str); 6] = [
    (CellScope::Global, "global"),
    (CellScope::Device, "device"),
    (CellScope::Memory, "memory"),
    (CellScope::Process, "process"),
    (CellScope::Thread, "thread"),
    (CellScope::Buffer, "buffer"),
];

const COUNTED: [(CellRole, &str); 3] = [
    (CellRole::Bytes, "bytes"),
    (CellRole::Buffers, "buffers"),
    (CellRole::Users, "users"),
];

impl FromStr for CellSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<CellSpec, String> {
        let mut words = text.split_whitespace().peekable();
        let first = words.next().unwrap_or_default();
        let (scope, entries) = match first.split_once('[') {
            None => (first, 1),
            Some((scope, rest)) => {
                let entries = rest.strip_suffix(']').and_then(|n| n.parse().ok());
                let entries = entries.filter(|n| (2..=64).contains(n));
                (scope, entries.ok_or("a table has 2 to 64 entries")?)
            }
        };
        let Some((scope, _)) = SCOPES.iter().find(|(_, name)| *name == scope) else {
            let known = SCOPES.map(|(_, name)| name).join(", ");
            return Err(format!("`{first}`: expected how many there are: {known}"));
        };
        let kind = match (words.next(), words.peek()) {
            (Some("plain"), Some(&"ledger")) | (Some("ledger"), _) => CellKind::Ledger,
            (Some("atomic"), Some(&"ledger")) => CellKind::AtomicLedger,
            (Some("plain"), _) => CellKind::Plain,
            (Some("atomic"), _) => CellKind::Atomic,
            (word, _) => {
                let word = word.unwrap_or_default();
                return Err(format!(
                    "`{word}`: expected plain, atomic, ledger or atomic ledger"
                ));
            }
        };
        if words.peek() == Some(&"ledger") {
            words.next();
        }
        let mut spec = CellSpec {
            scope: *scope,
            entries,
            kind,
            role: None,
            most: None,
            initial: 0,
        };
        while let Some(word) = words.next() {
            match word {
                "counts" => {
                    let what = words.next().unwrap_or_default();
                    let counted = COUNTED.iter().find(|(_, name)| *name == what);
                    let role = counted.map(|(role, _)| *role);
                    spec.role = Some(role.ok_or("a cell counts bytes, buffers or users")?);
                }
                "owner" => spec.role = Some(CellRole::Owner),
                "region" => spec.role = Some(CellRole::Region),
                "at" if words.next() == Some("most") => {
                    let most = words.next().and_then(|word| word.parse().ok());
                    spec.most = Some(most.ok_or("a number must follow `at most`")?);
                }
                "=" => {
                    let value = words.next().and_then(|word| word.parse().ok());
                    spec.initial = value.ok_or("a number must follow `=`")?;
                }
                _ => {
                    return Err(format!(
                        "`{word}`: expected counts, at most N, owner, region or = N"
                    ));
                }
            }
        }
        if spec.kind.is_ledger() && (spec.role.is_some() || spec.initial != 0 || entries != 1) {
            return Err("a ledger has no role, no number and no table".to_owned());
        }
        if spec.most.is_some() && !spec.role.is_some_and(CellRole::counts) {
            return Err("`at most` is for what counts".to_owned());
        }
        if spec.role.is_some_and(CellRole::counts) && (spec.initial != 0 || entries != 1) {
            return Err("what counts begins at 0, and is no table".to_owned());
        }
        Ok(spec)
    }
}

impl fmt::Display for CellSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, scope) = SCOPES[self.scope as usize];
        f.write_str(scope)?;
        if self.entries > 1 {
            write!(f, "[{}]", self.entries)?;
        }
        f.write_str(match self.kind {
            CellKind::Plain => " plain",
            CellKind::Atomic => " atomic",
            CellKind::Ledger => " ledger",
            CellKind::AtomicLedger => " atomic ledger",
        })?;
        match self.role {
            None => {}
            Some(CellRole::Owner) => f.write_str(" owner")?,
            Some(CellRole::Region) => f.write_str(" region")?,
            Some(role) => {
                let (_, what) = COUNTED[role as usize];
                write!(f, " counts {what}")?;
            }
        }
        if let Some(most) = self.most {
            write!(f, " at most {most}")?;
        }
        if self.initial != 0 {
            write!(f, " = {}", self.initial)?;
        }
        Ok(())
    }
}

serde_as_text!(CellSpec);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_survives_its_text() {
        for text in [
            "global atomic",
            "device atomic counts bytes",
            "device atomic counts bytes at most 8192",
            "process plain counts buffers",
            "global[4] atomic owner",
            "global plain region = 7",
            "global ledger",
            "device atomic ledger",
            "global plain counts users",
        ] {
            let spec: CellSpec = text.parse().expect(text);
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_declaration_is_said() {
        for (text, why) in [
            ("", "``: expected how many there are"),
            ("rack atomic", "`rack`: expected how many there are"),
            ("global[1] atomic", "a table has 2 to 64 entries"),
            ("global volatile", "`volatile`: expected plain, atomic"),
            ("global atomic counts money", "a cell counts bytes"),
            ("global ledger owner", "a ledger has no role"),
            ("global plain =", "a number must follow"),
            ("global plain loud", "`loud`: expected counts"),
        ] {
            let error = text.parse::<CellSpec>().expect_err(text);
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
