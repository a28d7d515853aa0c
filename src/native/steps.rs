//! Who took each step of an execution, as data and as text: `t0*3 t1 t0*2`.

use std::fmt;
use std::str::FromStr;

use heisenbed_runtime::protocol::{MAX_DECISIONS, MAX_THREADS};
use thiserror::Error;

/// Runs of steps: a thread, and how many it took. Adjacent runs have different threads, and none is
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Steps(Vec<(u32, u32)>);

/// Why a text is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{word}` is no run of steps: expected `t0*3` (thread 0, three steps)")]
pub(crate) struct StepsError {
    word: String,
}

impl Steps {
    /// No step.
    pub(crate) fn new() -> Steps {
        Steps::default()
    }

    /// The runs, in order.
    pub(crate) fn runs(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// How many steps there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|run| u64::from(run.1)).sum()
    }

    /// How many steps both begin with.
    pub(crate) fn common(&self, other: &Steps) -> u64 {
        let mut common = 0;
        for ((mine, count), (theirs, other_count)) in self.0.iter().zip(&other.0) {
            if mine != theirs {
                break;
            }
            common += u64::from(*count.min(other_count));
            if count != other_count {
                break;
            }
        }
        common
    }

    /// Adds steps of a thread at the end.
    pub(crate) fn push(&mut self, thread: u32, count: u32) {
        match self.0.last_mut() {
            _ if count == 0 => {}
            Some((last, so_far)) if *last == thread => *so_far = so_far.saturating_add(count),
            _ => self.0.push((thread, count)),
        }
    }
}

impl FromIterator<(u32, u32)> for Steps {
    fn from_iter<I: IntoIterator<Item = (u32, u32)>>(runs: I) -> Steps {
        let mut steps = Steps::new();
        for (thread, count) in runs {
            steps.push(thread, count);
        }
        steps
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (thread, count)) in self.0.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}t{thread}")?;
            if *count > 1 {
                write!(f, "*{count}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Steps {
    type Err = StepsError;

    fn from_str(text: &str) -> Result<Steps, StepsError> {
        let mut steps = Steps::new();
        for word in text.split_ascii_whitespace() {
            let (thread, count) = parse(word)
                .filter(|(thread, count)| (*thread as usize) < MAX_THREADS && *count > 0)
                .ok_or_else(|| StepsError {
                    word: word.to_owned(),
                })?;
            steps.push(thread, count);
            if steps.0.len() > MAX_DECISIONS {
                return Err(StepsError {
                    word: "…".to_owned(),
                });
            }
        }
        Ok(steps)
    }
}

fn parse(word: &str) -> Option<(u32, u32)> {
    let (thread, count) = word.strip_prefix('t')?.split_once('*').map_or_else(
        || Some((word.strip_prefix('t')?, 1)),
        |(thread, count)| Some((thread, count.parse().ok()?)),
    )?;
    Some((thread.parse().ok()?, count))
}

serde_as_text!(Steps);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_as_they_are_written() {
        let steps: Steps = "t0*3 t1 t1*2 t700".parse().unwrap();
        assert_eq!(steps.runs(), [(0, 3), (1, 3), (700, 1)]);
        assert_eq!(steps.to_string(), "t0*3 t1*3 t700");
    }

    #[test]
    fn what_two_have_in_common_ends_where_they_part() {
        let steps = |text: &str| text.parse::<Steps>().unwrap();
        let recorded = steps("t0*3 t1*2 t0");
        assert_eq!(recorded.count(), 6);
        assert_eq!(recorded.common(&recorded), 6);
        assert_eq!(recorded.common(&steps("t0*3 t1*5")), 5);
        assert_eq!(recorded.common(&steps("t0*2 t1*2")), 2);
        assert_eq!(recorded.common(&steps("t1")), 0);
    }

    #[test]
    fn what_is_no_run_of_steps_is_named() {
        for word in ["x1", "t", "t1*", "t1*0", "t1024", "t1*-1", "t99999999999"] {
            let error = format!("t0 {word}").parse::<Steps>().unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
