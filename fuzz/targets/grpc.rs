#![no_main]

#[path = "../bodies/grpc.rs"]
mod grpc;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    grpc::accepts(input);
});
