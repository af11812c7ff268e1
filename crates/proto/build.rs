//! Compiles `proto/` with protox, a compiler in Rust, so that no `protoc` has to be installed.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 2] = ["toolgate/v1/limiter.proto", "toolgate/v1/admin.proto"];
const INCLUDES: [&str; 2] = ["../../proto", "../../proto/third_party"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for include in INCLUDES {
        println!("cargo::rerun-if-changed={include}");
    }
    let descriptors = protox::compile(PROTOS, INCLUDES)?;

    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("toolgate.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::MessageCodec")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
