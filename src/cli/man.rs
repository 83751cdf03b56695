//! `sluice man`: the manual pages, made from the arguments that the commands take.

use std::path::PathBuf;

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
        Some(dir) => std::fs::create_dir_all(&dir)
            .and_then(|()| clap_mangen::generate_to(command, &dir))
            .map_err(|error| format!("can't write the pages to {}: {error}", dir.display())),
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).map_err(|error| error.to_string())?;
            print(String::from_utf8_lossy(&page).trim_end());
            Ok(())
        }
    }
}
