//! A disk of a few megabytes that only one gateway sees, and that a test can fill.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Config, Gateway};

const MOUNT: &str = r#"mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@""#;

/// A small file system for one gateway.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
    /// Further mount options, such as `,ro`.
    options: String,
}

impl SmallDisk {
    /// A disk of so many bytes. `None`, with a line on the output, if the test may not mount.
    pub fn new(bytes: usize) -> Option<SmallDisk> {
        let disk =
            SmallDisk { folder: tempfile::tempdir().unwrap(), options: format!("size={bytes}") };
        let mut words = disk.runner();
        words.push("true".to_owned());
        let tried = Command::new(&words[0]).args(&words[1..]).output();
        if tried.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(disk);
        }
        println!("skipped: a file system can't be mounted here: {tried:?}");
        None
    }

    /// The same disk, read-only.
    pub fn read_only(mut self) -> SmallDisk {
        self.options += ",ro";
        self
    }

    /// A path on the disk, as the gateway sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a gateway with the disk.
    pub async fn start(&self, config: &Config, variables: &[(&str, &str)]) -> Gateway {
        let words = self.runner();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Gateway::start_by(&words, config, variables).await
    }

    /// A command that mounts the disk and runs its arguments.
    pub fn runner(&self) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        let words = ["unshare", "-m", "sh", "-c", MOUNT, "sh", &self.options, folder];
        words.map(str::to_owned).to_vec()
    }

    /// A path on the disk, as the test sees it while this gateway runs.
    pub fn seen_by(&self, gateway: &Gateway, name: &str) -> PathBuf {
        let path = self.path(name);
        Path::new(&format!("/proc/{}/root", gateway.pid())).join(path.strip_prefix("/").unwrap())
    }

    /// Fills the disk to the last byte.
    pub fn fill(&self, gateway: &Gateway) {
        let path = self.seen_by(gateway, "fill");
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Frees the filled space.
    pub fn clear(&self, gateway: &Gateway) {
        File::create(self.seen_by(gateway, "fill")).unwrap();
    }

    /// Makes the disk writable.
    pub fn make_writable(&self, gateway: &Gateway) {
        let pid = gateway.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-m", "mount", "-o", "remount,rw"]).arg(self.folder.path());
        assert!(command.status().unwrap().success());
    }
}
