//! Text → [`SharedStep`].

use super::super::step::{Lock, parse_lock};
use super::{CellPlace, Condition, Name, Operator, Relation, SharedStep, Sum, Term};

/// Words that name no cell, local or program.
pub(super) const RESERVED: [&str; 36] = [
    "size",
    "buffer",
    "thread",
    "process",
    "device",
    "or",
    "load",
    "store",
    "fetch-add",
    "fetch-sub",
    "cas",
    "add",
    "sub",
    "await",
    "join",
    "leave",
    "if",
    "else",
    "end",
    "each",
    "repeat",
    "retry",
    "break",
    "return",
    "find",
    "insert",
    "erase",
    "use",
    "try-lock",
    "wait",
    "notify",
    "lock",
    "unlock",
    "alloc",
    "allocate",
    "deallocate",
];

/// The most rounds of a loop.
const MAX_ROUNDS: u8 = 64;

/// The step of this text, whose words stand apart by one space. `None`: it does not begin as one of
/// these; `Err`: it does, and says what was expected.
pub(crate) fn shared_step(text: &str) -> Option<Result<SharedStep, String>> {
    let mut words: Vec<&str> = text.split(' ').collect();
    let mut local = None;
    if let [name, "=", ..] = words[..] {
        match name.parse::<Name>() {
            Ok(name) => local = Some(name),
            Err(why) => return Some(Err(why)),
        }
        words.drain(..2);
    }
    let (verb, rest) = words.split_first()?;
    let step = match (*verb, local) {
        ("load", Some(local)) => place(rest).map(|place| SharedStep::Load(local, place)),
        ("store", None) => two(rest, |rest| {
            Ok(SharedStep::Store(place(&rest[..1])?, sum(&rest[1..])?))
        }),
        ("fetch-add", local) => {
            cell_and_term(rest).map(|(place, by)| SharedStep::FetchAdd(local, place, by))
        }
        ("fetch-sub", local) => {
            cell_and_term(rest).map(|(place, by)| SharedStep::FetchSub(local, place, by))
        }
        ("cas", local) => match rest {
            [cell, old, "->", new @ ..] => compare_and_swap(local, cell, old, new),
            _ => Err("expected `cas CELL EXPECTED -> VALUE`".to_owned()),
        },
        ("add", None) => cell_and_term(rest).map(|(place, by)| SharedStep::Add(place, by)),
        ("sub", None) => cell_and_term(rest).map(|(place, by)| SharedStep::Sub(place, by)),
        ("await", None) => match rest {
            [cell, compared, value] => awaited(cell, compared, value),
            _ => Err("expected `await CELL == VALUE`".to_owned()),
        },
        ("join", None) => place(rest).map(SharedStep::Join),
        ("tell", None) => place(rest).map(SharedStep::Tell),
        ("leave", None) => place(rest).map(SharedStep::Leave),
        ("if", None) => condition(rest).map(SharedStep::If),
        ("else", None) => nothing(rest, SharedStep::Else),
        ("repeat", None) => rounds(rest).map(SharedStep::Repeat),
        ("retry", None) => rounds(rest).map(SharedStep::Retry),
        ("break", None) => nothing(rest, SharedStep::Break),
        ("return", None) => nothing(rest, SharedStep::Return),
        ("find", Some(local)) => place(rest).map(|ledger| SharedStep::Find(local, ledger)),
        ("insert", local) => place(rest).map(|ledger| SharedStep::Insert(local, ledger)),
        ("erase", local) => place(rest).map(|ledger| SharedStep::Erase(local, ledger)),
        ("use", None) => one_term(rest).map(SharedStep::Use),
        ("lock-shared", None) => lock(rest).map(SharedStep::LockShared),
        ("unlock-shared", None) => lock(rest).map(SharedStep::UnlockShared),
        ("try-lock", Some(local)) => lock(rest).map(|lock| SharedStep::TryLock(local, lock)),
        ("lock-robust", Some(local)) => lock(rest).map(|lock| SharedStep::LockRobust(local, lock)),
        ("wait", None) => lock(rest).map(SharedStep::Wait),
        ("notify", None) => lock(rest).map(SharedStep::Notify),
        ("notify-all", None) => lock(rest).map(SharedStep::NotifyAll),
        ("load" | "find" | "try-lock" | "lock-robust", None) => {
            Err(format!("expected a local for what it finds: `x = {text}`"))
        }
        (_, Some(local)) => sum(&words).map(|sum| SharedStep::Set(local, sum)),
        (_, None) => return None,
    };
    Some(step)
}

fn compare_and_swap(
    local: Option<Name>,
    cell: &str,
    old: &str,
    new: &[&str],
) -> Result<SharedStep, String> {
    Ok(SharedStep::Cas(
        local,
        place(&[cell])?,
        term(old)?,
        sum(new)?,
    ))
}

fn awaited(cell: &str, compared: &str, value: &str) -> Result<SharedStep, String> {
    Ok(SharedStep::Await(
        place(&[cell])?,
        relation(compared)?,
        term(value)?,
    ))
}

fn two(
    rest: &[&str],
    step: impl FnOnce(&[&str]) -> Result<SharedStep, String>,
) -> Result<SharedStep, String> {
    if rest.len() < 2 {
        return Err("expected a cell and a value".to_owned());
    }
    step(rest)
}

fn cell_and_term(rest: &[&str]) -> Result<(CellPlace, Term), String> {
    match rest {
        [cell, by] => Ok((place(&[cell])?, term(by)?)),
        _ => Err("expected a cell and one number, name or word".to_owned()),
    }
}

fn nothing(rest: &[&str], step: SharedStep) -> Result<SharedStep, String> {
    match rest {
        [] => Ok(step),
        _ => Err(format!("expected nothing after `{step}`")),
    }
}

fn place(rest: &[&str]) -> Result<CellPlace, String> {
    let [text] = rest else {
        return Err("expected the name of one cell or ledger".to_owned());
    };
    match text.split_once('[') {
        None => Ok(CellPlace {
            cell: text.parse()?,
            index: None,
        }),
        Some((cell, index)) => {
            let index = index
                .strip_suffix(']')
                .ok_or("expected `]` behind the index")?;
            Ok(CellPlace {
                cell: cell.parse()?,
                index: Some(term(index)?),
            })
        }
    }
}

fn lock(rest: &[&str]) -> Result<Lock, String> {
    match rest {
        [text] => parse_lock(text)
            .ok_or_else(|| format!("`{text}`: expected a lock: tracker, lifecycle or global")),
        _ => Err("expected the name of one lock".to_owned()),
    }
}

fn rounds(rest: &[&str]) -> Result<u8, String> {
    let number = match rest {
        [text] => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|rounds| (1..=MAX_ROUNDS).contains(rounds))
        .ok_or_else(|| format!("expected how many rounds, from 1 to {MAX_ROUNDS}"))
}

fn one_term(rest: &[&str]) -> Result<Term, String> {
    match rest {
        [text] => term(text),
        _ => Err("expected one number, name or word".to_owned()),
    }
}

fn term(text: &str) -> Result<Term, String> {
    Ok(match text {
        "size" => Term::Size,
        "buffer" => Term::Buffer,
        "thread" => Term::Thread,
        "process" => Term::Process,
        "device" => Term::Device,
        _ if text.starts_with(|first: char| first.is_ascii_digit()) => Term::Number(
            text.parse()
                .map_err(|_| format!("`{text}`: expected a number of at most 64 bits"))?,
        ),
        _ => Term::Local(text.parse()?),
    })
}

fn sum(words: &[&str]) -> Result<Sum, String> {
    let rest = match words {
        [_] => None,
        [_, "+", by] => Some((Operator::Plus, term(by)?)),
        [_, "-", by] => Some((Operator::Minus, term(by)?)),
        [_, "-", by, "or", "0"] => Some((Operator::MinusOrZero, term(by)?)),
        _ => return Err("expected a value: `a`, `a + b`, `a - b` or `a - b or 0`".to_owned()),
    };
    Ok(Sum {
        first: term(words[0])?,
        rest,
    })
}

fn relation(text: &str) -> Result<Relation, String> {
    let known = Relation::ALL.iter().find(|(_, known)| *known == text);
    known
        .map(|(relation, _)| *relation)
        .ok_or_else(|| format!("`{text}`: expected ==, !=, <, <=, > or >="))
}

fn condition(words: &[&str]) -> Result<Condition, String> {
    let at = words
        .iter()
        .position(|word| relation(word).is_ok())
        .ok_or("expected `if VALUE == VALUE`, or with !=, <, <=, > or >=")?;
    Ok(Condition {
        left: sum(&words[..at])?,
        relation: relation(words[at])?,
        right: sum(&words[at + 1..])?,
    })
}

#[cfg(test)]
mod tests {
    use crate::lifecycle::MicroStep;

    #[test]
    fn every_step_survives_its_text() {
        for text in [
            "x = load total",
            "store total x + size",
            "store pid[0] process",
            "fetch-add total size",
            "old = fetch-sub total[x] 1",
            "won = cas total old -> old - size or 0",
            "cas pid[slot] 0 -> process",
            "add mine size",
            "sub mine size",
            "await ready == 1",
            "join ready",
            "leave ready",
            "if used + size > 8192",
            "if won == 0",
            "else",
            "repeat 3",
            "retry 16",
            "break",
            "return",
            "x = find blocks",
            "insert blocks",
            "x = insert blocks",
            "erase blocks",
            "erase blocks[device]",
            "use x",
            "use buffer",
            "lock-shared global",
            "unlock-shared lifecycle",
            "got = try-lock tracker",
            "wait global",
            "notify global",
            "notify-all global",
            "x = old - 1",
        ] {
            let step: MicroStep = text.parse().expect(text);
            assert_eq!(step.to_string(), text);
        }
    }

    #[test]
    fn a_wrong_step_says_what_was_expected() {
        for (text, why) in [
            ("load total", "expected a local"),
            ("x = load", "expected the name of one cell or ledger"),
            ("store total", "expected a cell and a value"),
            ("cas total 1 2", "expected `cas CELL EXPECTED -> VALUE`"),
            ("await ready", "expected `await CELL == VALUE`"),
            ("if x", "expected `if VALUE == VALUE`"),
            ("retry 1000", "expected how many rounds, from 1 to 64"),
            ("x = a * b", "expected a value"),
            ("wait room", "`room`: expected a lock"),
            ("size = 3", "`size`: this word has a meaning of its own"),
            ("store pid[0 1", "expected `]`"),
            (
                "x = 99999999999999999999",
                "`99999999999999999999`: expected a number",
            ),
            (
                "a-name-that-is-too-long = 1",
                "`a-name-that-is-too-long`: a name is",
            ),
        ] {
            let error = text.parse::<MicroStep>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
