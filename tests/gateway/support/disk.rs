//! A disk of a few megabytes that one gateway sees and nobody else, and that a test can fill.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Config, Gateway};

const MOUNT: &str = r#"mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@""#;

/// A disk of its own.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
    /// What else the file system is made of, such as `,ro`.
    options: String,
}

impl SmallDisk {
    /// One of so many bytes; `None`, and a line that says so, where a test may not mount.
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

    /// The same, which can be read and not written.
    pub fn read_only(mut self) -> SmallDisk {
        self.options += ",ro";
        self
    }

    /// A path on it, as the gateway sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a gateway that has it.
    pub async fn start(&self, config: &Config, variables: &[(&str, &str)]) -> Gateway {
        let words = self.runner();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Gateway::start_by(&words, config, variables).await
    }

    /// A command that mounts it and runs what it is given.
    pub fn runner(&self) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        let words = ["unshare", "-m", "sh", "-c", MOUNT, "sh", &self.options, folder];
        words.map(str::to_owned).to_vec()
    }

    /// A path on it, as others see it while this gateway runs.
    pub fn seen_by(&self, gateway: &Gateway, name: &str) -> PathBuf {
        let path = self.path(name);
        Path::new(&format!("/proc/{}/root", gateway.pid())).join(path.strip_prefix("/").unwrap())
    }

    /// Fills it to the last byte.
    pub fn fill(&self, gateway: &Gateway) {
        let path = self.seen_by(gateway, "fill");
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room.
    pub fn clear(&self, gateway: &Gateway) {
        File::create(self.seen_by(gateway, "fill")).unwrap();
    }

    /// Lets it be written from here on.
    pub fn make_writable(&self, gateway: &Gateway) {
        let pid = gateway.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-m", "mount", "-o", "remount,rw"]).arg(self.folder.path());
        assert!(command.status().unwrap().success());
    }
}
