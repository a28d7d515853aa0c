//! `include/heisenbed.h` says what the library does.

use std::path::Path;

/// Set it to write the header instead of comparing it.
const UPDATE: &str = "HEISENBED_UPDATE_HEADER";

#[test]
fn the_header_is_current() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = crate_folder.join("../include/heisenbed.h");
    let config = cbindgen::Config::from_file(crate_folder.join("cbindgen.toml")).expect("a config");
    let mut expected = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(crate_folder.join("src/ffi.rs"))
        .generate()
        .expect("a header")
        .write(&mut expected);
    let expected = in_c_words(&String::from_utf8(expected).expect("text"));
    // What needs no library is written in C, and stands before the end of the include guard.
    let truth = std::fs::read_to_string(crate_folder.join("src/truth.h")).expect("the annotations");
    let (before, guard) = expected
        .rsplit_once("#endif  /* HEISENBED_H */")
        .expect("an include guard");
    let target =
        std::fs::read_to_string(crate_folder.join("src/target.h")).expect("the target ABI");
    let expected = format!("{before}{truth}{target}#endif  /* HEISENBED_H */{guard}");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&header, &expected).expect("a header that can be written");
    }
    let is = std::fs::read_to_string(&header).unwrap_or_default();
    assert!(
        is == expected,
        "include/heisenbed.h is not what client/src/ffi.rs says; write it with\n  \
         {UPDATE}=1 cargo test -p heisenbed-client --test header"
    );
}

/// Without what only Rust's documentation asks for.
fn in_c_words(header: &str) -> String {
    let mut words = header
        .replace("///", "//")
        .replace("// # Safety", "// What must hold:");
    words = words.replace(" `path`", " path").replace('`', "");
    words
}
