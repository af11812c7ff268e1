#![no_main]

#[path = "../bodies/manifest.rs"]
mod manifest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    manifest::accepts(input);
});
