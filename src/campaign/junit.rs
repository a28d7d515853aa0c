//! JUnit XML, for CI pages: a test case for each canary, each target, and the corpus.
//!
//! Without times and dates: the same records give the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::plan::UnitKind;
use super::summary::CampaignSummary;
use super::tally::UnitTally;
use super::target::TargetName;

/// The report of a campaign.
pub(crate) fn junit(
    summary: &CampaignSummary,
    tally: &UnitTally,
) -> Result<String, SerializeError> {
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
        failure: summary
            .without_corpus
            .then(|| "there is no corpus: no reproducer was run again".to_owned()),
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
    let mut targets: Vec<Case> = tally
        .targets
        .keys()
        .map(|name| Case {
            name: name.0.clone(),
            failure: new.get(name).cloned(),
        })
        .collect();
    if summary.idle {
        targets.push(Case {
            name: "something was looked at".to_owned(),
            failure: Some("no unit was done, or each says nothing".to_owned()),
        });
    }
    report(
        "heisenbed campaign",
        [
            suite("canaries", canaries),
            suite("corpus", corpus),
            suite("targets", targets),
        ],
    )
}

/// A report of these suites, as the schemas of Jenkins and GitLab have it.
pub(crate) fn report(
    name: &str,
    suites: impl IntoIterator<Item = TestSuite>,
) -> Result<String, SerializeError> {
    let mut report = Report::new(name);
    report.add_test_suites(suites);
    let skipped = format!(" skipped=\"{}\"", report.skipped);
    // Suites count what was skipped; the schema of Jenkins knows no such sum over all of them.
    Ok(report.to_string()?.replacen(&skipped, "", 1))
}

struct Case {
    name: String,
    failure: Option<String>,
}

fn suite(name: &str, cases: Vec<Case>) -> TestSuite {
    let mut suite = TestSuite::new(name);
    suite.add_test_cases(cases.into_iter().map(|case| {
        let status = case
            .failure
            .map_or_else(TestCaseStatus::success, |failure| {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_description(failure.trim_end());
                status
            });
        let mut case = TestCase::new(case.name, status);
        case.set_classname(format!("campaign.{name}"));
        case
    }));
    suite
}
