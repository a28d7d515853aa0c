//! JUnit XML, for CI pages: a test case for each canary, each target, and the corpus.
//!
//! Without times and dates: the same records give the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plan::UnitKind;
use super::summary::CampaignSummary;
use super::tally::UnitTally;
use super::target::TargetName;

/// The report of a campaign.
pub fn junit(summary: &CampaignSummary, tally: &UnitTally) -> String {
    let canaries: Vec<Case> = summary
        .canaries
        .iter()
        .map(|canary| Case {
            name: canary.canary.clone(),
            failure: (!canary.not_found_by.is_empty())
                .then(|| format!("not found in {} tries: silence says nothing", canary.tries)),
        })
        .collect();
    let mut corpus: Vec<Case> = summary
        .regressions
        .iter()
        .map(|(name, problem)| Case {
            name: name.0.clone(),
            failure: Some(problem.clone()),
        })
        .collect();
    let rerun = summary.units.get(&UnitKind::Corpus).copied().unwrap_or(0);
    corpus.push(Case {
        name: format!(
            "{} reproducers came out as before",
            rerun.saturating_sub(corpus.len() as u64)
        ),
        failure: None,
    });
    let mut new: BTreeMap<&TargetName, String> = BTreeMap::new();
    for cause in summary.causes.iter().filter(|cause| cause.known.is_none()) {
        for target in &cause.targets {
            let file = cause.reproducer.as_deref().unwrap_or("no reproducer");
            let _ = writeln!(
                new.entry(target).or_default(),
                "{}, {} ({file})",
                cause.kind,
                cause.deciding
            );
        }
    }
    let targets: Vec<Case> = tally
        .targets
        .keys()
        .map(|name| Case {
            name: name.0.clone(),
            failure: new.get(name).cloned(),
        })
        .collect();
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"heisenbed campaign\">\n",
    );
    for (name, cases) in [
        ("canaries", &canaries),
        ("corpus", &corpus),
        ("targets", &targets),
    ] {
        suite(&mut text, name, cases);
    }
    text + "</testsuites>\n"
}

struct Case {
    name: String,
    failure: Option<String>,
}

fn suite(text: &mut String, name: &str, cases: &[Case]) {
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let _ = writeln!(
        text,
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\">",
        cases.len()
    );
    for case in cases {
        let named = format!(
            "    <testcase classname=\"campaign.{name}\" name=\"{}\"",
            escaped(&case.name)
        );
        let _ = match &case.failure {
            None => writeln!(text, "{named}/>"),
            Some(failure) => writeln!(
                text,
                "{named}>\n      <failure>{}</failure>\n    </testcase>",
                escaped(failure.trim_end())
            ),
        };
    }
    text.push_str("  </testsuite>\n");
}

/// Text as XML holds it; what XML cannot hold becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
