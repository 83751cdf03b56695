//! How the binary is linked: with its relocations packed, where the C library can read them.
//!
//! Unpacked they are 0.7 MB of the binary, all of which is read, and stays in memory, at each start.
//! A binary with packed ones runs with glibc 2.36 and later, so they are packed only if it is built
//! with one.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    // Cross-built, it runs with a C library that can't be asked from here.
    let is_native = of("TARGET") == of("HOST");
    if is_native && of("CARGO_CFG_TARGET_ENV") == "gnu" && glibc() >= Some((2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc, from an output such as `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().rsplit_once(' ')?.1.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
