//! `--truth-symbols FILE`: which functions of the program allocate and release, by the names that
//! they are exported under, and where device, memory, address and size are in a call.

use std::path::{Path, PathBuf};

use heisenbed_runtime::protocol as wire;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::log::Head;
use super::put_text;
use crate::scenario::{TomlFileError, toml_file};

/// A function of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TruthSymbol {
    /// What it does.
    pub(crate) does: SymbolDoes,
    /// Its name as the linker has it (`nm -D`).
    pub(crate) symbol: String,
    /// Where the device is; 0 where that is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<NumberPlace>,
    /// Where the memory is: 0 DRAM, 1 L1, 2 L1_SMALL, 3 TRACE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<NumberPlace>,
    /// Where the address is.
    pub(crate) address: NumberPlace,
    /// Where the size is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<NumberPlace>,
    /// What it returns where it allocates nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fails: Option<i32>,
    /// When a release counts.
    #[serde(default)]
    pub(crate) when: ReleaseMoment,
}

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SymbolDoes {
    /// It hands out an address.
    Allocate,
    /// It takes one back.
    Release,
}

/// When a release counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReleaseMoment {
    /// When it is called.
    #[default]
    Call,
    /// When it returns.
    Return,
}

/// Where a number is in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum NumberPlace {
    /// `"return"`: what is returned.
    Returned(ReturnWord),
    /// In one of the others.
    Given(GivenPlace),
}

/// `"return"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReturnWord {
    /// What is returned.
    Return,
}

/// `{ argument = 1 }`, `{ pointer = 2, bits = 32 }`, `{ value = 0 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct GivenPlace {
    /// The number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<u32>,
    /// This argument, from 0; that of a C++ method is its object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) argument: Option<u32>,
    /// What this argument points to, after the return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<u32>,
    /// How wide it is: 32 or 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bits: Option<u16>,
}

/// Why a file of symbols is of no use.
#[derive(Debug, Error)]
pub(crate) enum TruthSymbolsError {
    /// It cannot be read, or is none.
    #[error(transparent)]
    File(#[from] TomlFileError),
    /// It says what cannot be.
    #[error("{}: {symbol}: {why}", path.display())]
    Impossible {
        /// Which.
        path: PathBuf,
        /// Of which function.
        symbol: String,
        /// What.
        why: &'static str,
    },
    /// Functions are not called through tables that can be changed here.
    #[error(
        "--truth-symbols works on x86-64 only; elsewhere annotate the allocator (hb_truth_alloc)"
    )]
    NotHere,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SymbolsFile {
    symbol: Vec<TruthSymbol>,
}

/// The most arguments that can be looked at.
const MAX_ARGUMENTS: u32 = 38;

/// Reads a file of symbols.
pub(crate) fn read(path: &Path) -> Result<Vec<TruthSymbol>, TruthSymbolsError> {
    if !cfg!(target_arch = "x86_64") {
        return Err(TruthSymbolsError::NotHere);
    }
    let text = toml_file::read(path)?;
    let file: SymbolsFile = toml_file::parse(&path.display().to_string(), &text)?;
    let impossible = |symbol: &str, why| TruthSymbolsError::Impossible {
        path: path.to_owned(),
        symbol: symbol.to_owned(),
        why,
    };
    if file.symbol.is_empty() || file.symbol.len() > wire::MAX_TRUTH_SYMBOLS {
        return Err(impossible("[[symbol]]", "there are 1 to 32 of them"));
    }
    for symbol in &file.symbol {
        symbol
            .check()
            .map_err(|why| impossible(&symbol.symbol, why))?;
    }
    Ok(file.symbol)
}

impl TruthSymbol {
    fn check(&self) -> Result<(), &'static str> {
        if self.symbol.is_empty() || self.symbol.len() >= wire::TRUTH_NAME_BYTES {
            return Err("a symbol has a name of at most 207 bytes");
        }
        if self.does == SymbolDoes::Allocate && self.size.is_none() {
            return Err("what allocates has a `size`");
        }
        let places = [self.device, self.memory, Some(self.address), self.size];
        places
            .into_iter()
            .flatten()
            .try_for_each(NumberPlace::check)?;
        let returned = |place: Option<NumberPlace>| {
            place.is_some_and(|place| {
                !matches!(
                    place.encoded().0,
                    wire::truth_from::ARGUMENT | wire::truth_from::VALUE
                )
            })
        };
        let at_call = self.does == SymbolDoes::Release && self.when == ReleaseMoment::Call;
        if at_call
            && [self.device, self.memory, Some(self.address)]
                .into_iter()
                .any(returned)
        {
            return Err("when a release is called nothing was returned yet: `when = \"return\"`");
        }
        Ok(())
    }

    /// `struct hb_truth_symbol`.
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        put_text(bytes, &self.symbol, wire::TRUTH_NAME_BYTES);
        let does = match self.does {
            SymbolDoes::Allocate => 1u32,
            SymbolDoes::Release => 2,
        };
        let fails = self.fails.unwrap_or(0) as u32;
        let after = u32::from(self.when == ReleaseMoment::Return);
        for number in [does, fails, u32::from(self.fails.is_some()), after] {
            bytes.extend(number.to_le_bytes());
        }
        for place in [self.device, self.memory, Some(self.address), self.size] {
            let (from, bits, number) = place.map_or((0, 64, 0), NumberPlace::encoded);
            bytes.extend(from.to_le_bytes());
            bytes.extend(bits.to_le_bytes());
            bytes.extend(number.to_le_bytes());
        }
    }
}

impl NumberPlace {
    fn check(self) -> Result<(), &'static str> {
        let NumberPlace::Given(given) = self else {
            return Ok(());
        };
        let said = [given.value, given.argument, given.pointer];
        if said.iter().flatten().count() != 1 {
            return Err("a place is one of `value`, `argument`, `pointer`, or \"return\"");
        }
        if [given.argument, given.pointer]
            .into_iter()
            .flatten()
            .any(|at| at >= MAX_ARGUMENTS)
        {
            return Err("arguments are numbered from 0 to 37");
        }
        if given.bits.is_some_and(|bits| bits != 32 && bits != 64) {
            return Err("`bits` is 32 or 64");
        }
        Ok(())
    }

    /// Where, how wide, and which.
    fn encoded(self) -> (u16, u16, u32) {
        let NumberPlace::Given(given) = self else {
            return (wire::truth_from::RETURN, 64, 0);
        };
        let bits = given.bits.unwrap_or(64);
        match (given.value, given.argument, given.pointer) {
            (Some(value), ..) => (wire::truth_from::VALUE, bits, value),
            (_, Some(argument), _) => (wire::truth_from::ARGUMENT, bits, argument),
            (.., pointer) => (wire::truth_from::POINTER, bits, pointer.unwrap_or(0)),
        }
    }
}

/// Why what these functions did is not the truth: one is not there, or none was called.
pub(super) fn distrust(symbols: &[TruthSymbol], head: &Head) -> Option<String> {
    if symbols.is_empty() {
        return None;
    }
    let count = |counts: &[u32], at: usize| counts.get(at).copied().unwrap_or(0);
    let missing = (0..symbols.len()).find(|at| count(&head.patched, *at) == 0);
    let called = (0..symbols.len()).any(|at| count(&head.called, at) > 0);
    match missing {
        Some(at) => Some(format!(
            "{} is called through no table of the dynamic linker: it is not exported, or only its \
             own file calls it, directly (a program's own function). Annotate the allocator \
             (hb_truth_alloc), or put it into a shared library",
            symbols[at].symbol
        )),
        None if !called => Some("none of --truth-symbols was ever called".to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<TruthSymbol>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path()).map_err(|error| error.to_string())
    }

    const GOOD: &str = r#"
        [[symbol]]
        does = "allocate"
        symbol = "pool_allocate"
        device = { argument = 0, bits = 32 }
        memory = { value = 1 }
        size = { argument = 1 }
        address = "return"
        [[symbol]]
        does = "release"
        symbol = "pool_release"
        memory = { value = 1 }
        address = { argument = 1 }
    "#;

    #[test]
    fn places_are_encoded_as_the_runtime_reads_them() {
        let symbols = read_text(GOOD).unwrap();
        let mut bytes = Vec::new();
        symbols[0].put(&mut bytes);
        assert_eq!(bytes.len(), wire::TRUTH_SYMBOL_BYTES);
        assert_eq!(
            &bytes[208..224],
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(&bytes[224..232], [2, 0, 32, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[232..240], [1, 0, 64, 0, 1, 0, 0, 0]);
        assert_eq!(&bytes[240..248], [3, 0, 64, 0, 0, 0, 0, 0]);
        let text = toml::to_string(&symbols[0]).unwrap();
        assert_eq!(toml::from_str::<TruthSymbol>(&text).unwrap(), symbols[0]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (from, to, complaint) in [
            ("size = { argument = 1 }", "", "has a `size`"),
            (
                "address = { argument = 1 }",
                "address = \"return\"",
                "when = \"return\"",
            ),
            (
                "{ argument = 0, bits = 32 }",
                "{ argument = 0, bits = 7 }",
                "32 or 64",
            ),
            (
                "{ argument = 0, bits = 32 }",
                "{ argument = 99 }",
                "from 0 to 37",
            ),
            ("{ argument = 0, bits = 32 }", "{}", "one of `value`"),
            ("pool_allocate", "", "has a name"),
            ("\"allocate\"", "\"sells\"", "unknown variant"),
        ] {
            let error = read_text(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(complaint), "{to}: {error}");
        }
    }
}
