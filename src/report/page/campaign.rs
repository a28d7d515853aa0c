//! The section of a campaign: nights, causes, canaries.

use maud::{Markup, html};

use super::picture::{CampaignShown, NightRow};
use super::sections::with_jumps;
use super::text::shown;
use crate::numbers::grouped;

/// How long the longest bar is, in units of the picture.
const BAR: f64 = 220.0;

/// The section.
pub(super) fn section(campaign: &CampaignShown) -> Markup {
    html! {
        @if !campaign.nights.is_empty() { (nights(&campaign.nights)) }
        section {
            h2 { "Causes" }
            @if campaign.causes.is_empty() { p { "None was found." } }
            @else { (causes(campaign)) }
        }
        section {
            h2 { "Canaries" }
            p class="soft" {
                "Planted defects that must be found again: where one is not, silence says nothing."
            }
            div class="scroll" {
                table {
                    thead { tr {
                        th { "canary" } th { "engine" } th { "found" } th class="number" { "tries" }
                    } }
                    tbody {
                        @for canary in &campaign.canaries {
                            tr {
                                td { (shown(&canary.name)) }
                                td { (shown(&canary.engine)) }
                                @if canary.found { td { "✓" } }
                                @else { td class="wrong" { "✗ not found" } }
                                td class="number" { (grouped(canary.tries)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn nights(nights: &[NightRow]) -> Markup {
    let most = nights
        .iter()
        .map(|night| night.schedules)
        .max()
        .unwrap_or(1)
        .max(1);
    let bar = |count: u64| (BAR * count as f64 / most as f64 * 10.0).round() / 10.0;
    html! {
        section {
            h2 { "Nights" }
            div class="scroll" {
                table class="wide" {
                    thead { tr {
                        th { "night" } th { "schedules" } th class="number" {}
                        th class="number" { "causes" } th class="number" { "new" }
                        th { "chance of news" } th { "" }
                    } }
                    tbody {
                        @for night in nights {
                            tr {
                                td { (shown(&night.name)) }
                                td {
                                    svg width=(BAR) height="12" aria-hidden="true" {
                                        rect x="0" y="1" width=(bar(night.schedules)) height="10"
                                            class="f0" {}
                                    }
                                }
                                td class="number" { (grouped(night.schedules)) }
                                td class="number" { (grouped(night.causes)) }
                                td class="number" { (grouped(night.new_causes)) }
                                td { @if let Some(chance) = night.chance_of_news {
                                    (format!("{:.2} %", 100.0 * chance))
                                } }
                                td {
                                    @if night.blind { span class="wrong" { "✗ blind " } }
                                    @if !night.complete { "not complete" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn causes(campaign: &CampaignShown) -> Markup {
    html! {
        div class="controls" { label { "filter " input type="search" data-filter="causes"; } }
        div class="scroll" {
            table class="wide" data-is="causes" {
                thead { tr {
                    th { "kind" } th { "discipline" } th { "preemption that decides" } th { "size" }
                    th class="number" { "diverged" } th { "known as" } th { "" }
                } }
                tbody {
                    @for cause in &campaign.causes {
                        tr {
                            td class="wrong kind" { "✗ " (shown(&cause.kind)) }
                            td { (shown(&cause.discipline)) }
                            td { (with_jumps(&cause.deciding)) }
                            td { (shown(&cause.size)) }
                            td class="number" { (grouped(cause.diverged)) }
                            td { (cause.known.as_deref().map_or("new".to_owned(), shown)) }
                            td { @if let Some(part) = cause.opens {
                                button type="button" data-open=(part) { "open its run" }
                            } }
                        }
                    }
                }
            }
        }
    }
}
