//! How the binary is linked: with its relocations packed, where the C library can read them, and with the
//! functions that run side by side, where the linker can do that.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Which functions lie side by side. `bench/layout` writes it.
const LAYOUT: &str = "layout.ld";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={LAYOUT}");
    let is_gnu = of("CARGO_CFG_TARGET_OS") == "linux" && of("CARGO_CFG_TARGET_ENV") == "gnu";
    // Cross-built, it runs with a C library that can't be asked from here.
    let is_native = of("TARGET") == of("HOST");
    // Unpacked, relocations are 0.7 MB of the binary, all of which is read, and stays in memory, at each
    // start. A binary with packed ones runs with glibc 2.36 and later, so they are packed only if it is
    // built with one.
    if is_native && is_gnu && glibc() >= Some((2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    if is_gnu && is_optimised() && links_with_lld() {
        let layout = Path::new(&of("CARGO_MANIFEST_DIR")).join(LAYOUT);
        println!("cargo:rustc-link-arg-bins=-Xlinker");
        println!("cargo:rustc-link-arg-bins=--script={}", layout.display());
    }
}

fn of(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Whether the build is one of images, releases and benchmarks. Others need not wait for the linker, and
/// call other functions than those of the layout.
fn is_optimised() -> bool {
    !matches!(of("OPT_LEVEL").as_str(), "0" | "1")
}

/// Whether the linker is the compiler's own LLD. GNU's takes minutes to match the patterns, and others
/// don't read them.
fn links_with_lld() -> bool {
    // The only target that has it by default, and that only without another choice of the builder's.
    let is_default = of("TARGET") == "x86_64-unknown-linux-gnu" && of("RUSTC_LINKER").is_empty();
    // Names for folders choose nothing, whatever the folders are called.
    let flags = of("CARGO_ENCODED_RUSTFLAGS");
    let mut choices = flags.split('\x1f').filter(|flag| !flag.starts_with("--remap-path-prefix"));
    let is_chosen = choices.any(|flag| flag.contains("link"));
    is_default && !is_chosen && own_lld().is_some_and(|path| path.exists())
}

/// Where the compiler has its LLD, if it has one: compilers of distributions don't.
fn own_lld() -> Option<PathBuf> {
    let said = Command::new(of("RUSTC")).args(["--print", "sysroot"]).output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let libraries = Path::new(said.trim()).join("lib/rustlib").join(of("TARGET"));
    Some(libraries.join("bin/gcc-ld/ld.lld"))
}

/// The version of this machine's glibc, from an output such as `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().rsplit_once(' ')?.1.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
