//! `sluice man`: the manual pages, made from the arguments that the commands take.

use std::io;
use std::path::{Path, PathBuf};

use clap_mangen::Man;

use super::print;

/// Arguments of `sluice man`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Write a page for each command into this folder, instead of printing that of `sluice`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments, command: clap::Command) -> Result<(), String> {
    match arguments.dir {
        Some(dir) => {
            let mut command = command.disable_help_subcommand(true);
            command.build();
            std::fs::create_dir_all(&dir)
                .and_then(|()| write(&command, &dir))
                .map_err(|error| format!("can't write the pages to {}: {error}", dir.display()))
        }
        None => {
            let (_, page) = page(&command).map_err(|error| error.to_string())?;
            print(page.trim_end());
            Ok(())
        }
    }
}

/// Writes the pages of a command and of those below it.
fn write(command: &clap::Command, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below, dir)?;
    }
    let (name, page) = page(command)?;
    std::fs::write(dir.join(name), page)
}

/// The file name and the page of a command.
fn page(command: &clap::Command) -> io::Result<(String, String)> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    let page = String::from_utf8_lossy(&page);
    Ok((man.get_filename(), with_values(&page, command)))
}

/// Adds the names of the options' values to the synopsis of a page, which the library leaves out.
fn with_values(page: &str, command: &clap::Command) -> String {
    let mut is_synopsis = false;
    let mut text = String::with_capacity(page.len() + 256);
    for line in page.lines() {
        let mut line = line.to_owned();
        if is_synopsis {
            let takes_value = |option: &&clap::Arg| option.get_action().takes_values();
            for option in command.get_arguments().filter(takes_value) {
                let Some(long) = option.get_long() else { continue };
                let name = format!("\\-\\-{}\\fR", long.replace('-', "\\-"));
                let value = match option.get_value_names() {
                    Some(names) => names.join(" "),
                    None => option.get_id().as_str().to_uppercase(),
                };
                line = line.replace(&name, &format!("{name} \\fI{value}\\fR"));
            }
        }
        is_synopsis = line == ".SH SYNOPSIS";
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::*;

    #[test]
    fn the_synopsis_has_the_value_of_each_option() {
        let command = Command::new("sluice")
            .arg(Arg::new("config").short('c').long("config").value_name("FILE"))
            .arg(Arg::new("admin-key").long("admin-key"))
            .arg(Arg::new("name").long("name").required(true))
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue));
        let (name, page) = page(&command).unwrap();
        assert_eq!(name, "sluice.1");
        let synopsis = page.lines().skip_while(|line| *line != ".SH SYNOPSIS").nth(1).unwrap();
        for wanted in [
            r"[\fB\-c\fR|\fB\-\-config\fR \fIFILE\fR]",
            r"[\fB\-\-admin\-key\fR \fIADMIN-KEY\fR]",
            r"<\fB\-\-name\fR \fINAME\fR>",
            r"[\fB\-\-json\fR]",
        ] {
            assert!(synopsis.contains(wanted), "{synopsis}");
        }
    }
}
