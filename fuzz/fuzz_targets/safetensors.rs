#![no_main]

#[path = "../../crates/binesh-formats/tests/hostile/readers.rs"]
#[allow(dead_code)]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::safetensors(bytes);
});
