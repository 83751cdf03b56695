//! A pseudo-terminal that a command of the binary runs in, and the content of its screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::Child;

use super::gateway::sluice;
use super::patience::{LONG, eventually, within};

const LINES: u16 = 24;
const COLUMNS: u16 = 80;

/// A terminal with a running command.
pub struct Screen {
    child: Child,
    /// The controlling side of the pseudo-terminal.
    master: File,
    /// Kept open, so that the terminal's settings can be read after the command has ended.
    terminal: OwnedFd,
    parser: Arc<Mutex<vt100::Parser>>,
    /// All output so far.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// Starts the command with these arguments and more variables.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Screen {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize { ws_row: LINES, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let side = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = sluice();
        command.args(arguments).envs(variables.iter().copied());
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let master = File::from(master);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(LINES, COLUMNS, 0)));
        let (mut output, screen) = (master.try_clone().unwrap(), Arc::clone(&parser));
        let written = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&written);
        // Ends when nobody has the terminal open any more.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                screen.lock().process(&bytes[..count]);
                all.lock().extend_from_slice(&bytes[..count]);
            }
        });
        Screen { child, master, terminal, parser, written }
    }

    /// The text on the screen.
    pub fn text(&self) -> String {
        self.parser.lock().screen().contents()
    }

    /// All output so far, with escape sequences.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock()).into_owned()
    }

    /// Sends SIGTERM to the command.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until the screen contains this text.
    pub async fn shows(&self, part: &str) {
        eventually(part, async || self.text(), |text| text.contains(part)).await;
    }

    /// Waits until a line contains both texts.
    pub async fn line(&self, with: &str, and: &str) {
        let has = |text: &String| text.lines().any(|it| it.contains(with) && it.contains(and));
        eventually(and, async || self.text(), has).await;
    }

    /// Presses these keys.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether the terminal is in raw mode.
    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Whether the terminal shows its alternate screen.
    pub fn is_taken(&self) -> bool {
        let parser = self.parser.lock();
        parser.screen().alternate_screen() || parser.screen().hide_cursor()
    }

    /// Asserts that the command ends, and that the terminal is restored.
    pub async fn is_left(&mut self) -> bool {
        let status = within(LONG, "it ends", self.child.wait()).await.unwrap();
        assert!(!self.is_raw(), "the terminal is raw still");
        eventually("the screen is given back", async || self.is_taken(), |taken| !taken).await;
        status.success()
    }
}
