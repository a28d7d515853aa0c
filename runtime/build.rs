//! Builds the library that is preloaded into programs (`c/`, and the samplers in Rust), and the
//! archive that instrumented programs link with (`access/`).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [&str; 40] = [
    "access",
    "await",
    "barrier",
    "c11",
    "cond",
    "core",
    "cores",
    "explore",
    "foreign",
    "futex",
    "heap",
    "inner",
    "io",
    "libstdcxx",
    "limits",
    "modules",
    "mutex",
    "objects",
    "observe",
    "once",
    "outside",
    "poll",
    "process",
    "race_order",
    "race_shadow",
    "random",
    "rwlock",
    "semaphore",
    "signals",
    "spin",
    "stdio",
    "swift",
    "symbols",
    "system",
    "target",
    "threads",
    "time",
    "track",
    "track_log",
    "track_send",
];

const DRIVER: [&str; 5] = ["about", "driver", "ledger", "operations", "plan"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for changed in [
        "c",
        "access",
        "driver",
        "canary",
        "../client/src/target.h",
        "src/samplers.rs",
        "../sampling/src",
    ] {
        println!("cargo::rerun-if-changed={changed}");
    }
    let samplers = build_samplers(&out);
    build_runtime(&out, &samplers);
    build_access(&out);
    build_driver(&out);
    build_canary(&out);
}

/// The samplers, as an archive that stands on nothing but `core`: so `rustc` alone builds it.
fn build_samplers(out: &Path) -> PathBuf {
    let archive = out.join("libsamplers.a");
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    run(Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "staticlib"])
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=3",
            "-C",
            "relocation-model=pic",
        ])
        .args(["-A", "dead_code"])
        .arg("--target")
        .arg(env::var_os("TARGET").expect("cargo sets it"))
        .arg("src/samplers.rs")
        .arg("-o")
        .arg(&archive));
    archive
}

fn build_runtime(out: &Path, samplers: &Path) {
    let compiler = c_build()
        .opt_level(2)
        .debug(false)
        .warnings(false)
        .get_compiler();
    let mut command = compiler.to_command();
    command
        .args([
            "-std=gnu11",
            "-O2",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-fexceptions",
        ])
        .args([
            "-Wall",
            "-Wextra",
            "-Wno-missing-field-initializers",
            "-ftls-model=initial-exec",
        ])
        .args(SOURCES.iter().map(|name| format!("c/{name}.c")))
        .arg(samplers)
        .args([
            "-shared-libgcc",
            "-Wl,--gc-sections",
            "-Wl,--exclude-libs,ALL",
            "-Wl,-z,now",
            "-Wl,-z,defs",
        ])
        .args(["-Wl,-s", "-lpthread", "-ldl", "-o"])
        .arg(out.join("libheisenbed_run.so"));
    run(&mut command);
}

fn build_access(out: &Path) {
    c_build()
        .files(["access/access.c", "access/calls.c", "access/annotations.c"])
        .opt_level(2)
        .debug(false)
        .pic(true)
        .cargo_metadata(false)
        .out_dir(out)
        .compile("heisenbed_access");
}

/// The program that loads a target and does a workload's operations with it.
fn build_driver(out: &Path) {
    let compiler = c_build()
        .opt_level(2)
        .debug(false)
        .warnings(false)
        .get_compiler();
    let mut command = compiler.to_command();
    command
        .args(["-std=gnu11", "-O2", "-fPIE", "-pie", "-Wall", "-Wextra"])
        .args(["-I", "../client/src"])
        .args(DRIVER.iter().map(|name| format!("driver/{name}.c")))
        .args(["-Wl,-s", "-lpthread", "-ldl", "-o"])
        .arg(out.join("heisenbed_driver"));
    run(&mut command);
}

/// The program with planted defects, built as `heisenbed cc` does.
fn build_canary(out: &Path) {
    let compiler = c_build()
        .opt_level(1)
        .debug(false)
        .warnings(false)
        .get_compiler();
    let object = out.join("heisenbed_canary.o");
    let mut compile = compiler.to_command();
    compile
        .args(["-std=gnu11", "-O1", "-fPIE", "-Wall", "-Wextra"])
        .args(["-fsanitize=thread", "-c", "canary/canary.c", "-o"])
        .arg(&object);
    run(&mut compile);
    let mut link = compiler.to_command();
    link.arg("-pie")
        .arg(&object)
        .arg(out.join("libheisenbed_access.a"))
        .args(["-Wl,-s", "-Wl,--build-id", "-lpthread", "-ldl", "-o"])
        .arg(out.join("heisenbed_canary"));
    run(&mut link);
}

/// What is built is loaded into programs of others: no sanitizer of heisenbed's own build is in it.
fn c_build() -> cc::Build {
    let mut build = cc::Build::new();
    build.flag("-fno-sanitize=address");
    build
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{:?} {:?}: {status:?}",
        command.get_program(),
        command.get_args().collect::<Vec<_>>()
    );
}
