#![no_main]

#[path = "../bodies/redis.rs"]
mod redis;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    redis::accepts(input);
});
