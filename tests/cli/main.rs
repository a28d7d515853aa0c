//! The program as a user starts it: its commands, what they print, and the pages that people read.

mod advice;
mod agreement;
mod ci;
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod diagnose;
mod explore;
mod image;
mod logging;
mod memory;
mod nothing;
mod one_reader;
mod outputs;
mod report;
mod shm;
mod text;
mod verdicts;
mod weaker_checks;
