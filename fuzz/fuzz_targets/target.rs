#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heisenbed::fuzzing::target::run(bytes));
