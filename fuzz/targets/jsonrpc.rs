#![no_main]

#[path = "../bodies/jsonrpc.rs"]
mod jsonrpc;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    jsonrpc::accepts(input);
});
