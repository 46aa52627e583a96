//! Finds out what the compiler knows that is newer than the oldest one we support.

use std::env;

use autocfg::AutoCfg;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The AVX-512 kernel of src/merkle/lanes.rs: its intrinsics are stable from Rust 1.89 on.
    println!("cargo::rustc-check-cfg=cfg(sixteen_lanes)");
    let x86_64 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    match AutoCfg::new() {
        Ok(compiler) if x86_64 && compiler.probe_rustc_version(1, 89) => {
            println!("cargo::rustc-cfg=sixteen_lanes");
        }
        Ok(_) => {}
        Err(error) => {
            println!("cargo::warning=building without AVX-512, since the compiler doesn't answer: {error}")
        }
    }
}
