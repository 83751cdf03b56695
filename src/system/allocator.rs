//! How the C library's allocator gives memory back to the system.
//!
//! glibc gives a large block pages of its own, which go back to the system when it is freed. But
//! each time it frees one it raises the size that counts as large, up to 32 MB. After a few large
//! bodies all others come out of its arenas, which keep what is freed, and the process takes twice
//! the memory that it holds. A tunable fixes the size. glibc reads it at the start of a program
//! alone, so the program is started once more in the same process, with the tunable set.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable that glibc reads (glibc manual, "Memory Allocation Tunables").
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Blocks of 128 KiB and more have pages of their own, and each arena keeps 1 MiB at its end.
const THRESHOLDS: &str = "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=1048576";

/// Restarts the program with fixed thresholds of the allocator, unless the variable is set, by an operator
/// or by an earlier call. Call this before anything else. Returns if there is nothing to do, or if the
/// program can't be restarted.
pub fn fix_thresholds() {
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) || env::var_os(TUNABLES).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let _not_started = command.args(arguments).env(TUNABLES, THRESHOLDS).exec();
}
