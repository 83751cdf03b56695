//! A newer catalogue file in place of the operator's: checked, compared, and written in one step.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use http::Uri;

use super::diff::print_differences;
use super::{UpdateArguments, read};
use crate::catalogue::{Layer, MAX_FILE_BYTES, differences};
use crate::cli::{load, print, runtime};
use crate::config::Config;
use crate::telemetry::Metrics;
use crate::upstream::{ConnectionGauges, Upstream};

/// Time for a download.
const DOWNLOAD_TIME: Duration = Duration::from_secs(60);

pub(super) fn run(arguments: UpdateArguments) -> Result<(), String> {
    let UpdateArguments { config, source, to, sha256, dry_run } = arguments;
    let config = match (&to, is_url(&source)) {
        (Some(_), false) => None,
        _ => Some(load::load(&config.source()).map_err(|error| error.report())?.config),
    };
    let of_config = || config.as_ref()?.catalogue.file.clone();
    let to = to.or_else(of_config).ok_or("the config has no catalogue.file: name one with --to")?;
    let text = match &config {
        Some(config) if is_url(&source) => download(config, &source)?,
        _ => crate::config::read_bounded(Path::new(&source), MAX_FILE_BYTES)
            .map_err(|error| format!("can't read {source}: {error}"))?,
    };
    let sum = hex::encode(digest(&SHA256, text.as_bytes()));
    let new = Layer::read(&source, &text).map_err(|error| format!("{source}: {error}"))?;
    print(&format!("{source}: {} rows of {}, sha256 {sum}", new.len(), new.date()));
    if let Some(wanted) = sha256.filter(|wanted| !wanted.eq_ignore_ascii_case(&sum)) {
        return Err(format!("its sha256 is not {wanted}: {} is left as it is", to.display()));
    }
    let before = if to.exists() { Some(read(&to)?) } else { None };
    let shipped = Layer::shipped();
    let before = before.as_ref().unwrap_or(&shipped);
    if new.date() < before.date() {
        return Err(format!(
            "it is of {}, and {} is of {}: a file is never replaced by an older one",
            new.date(),
            before.name(),
            before.date()
        ));
    }
    print_differences(&differences(before, &new));
    if dry_run {
        print(&format!("{} is left as it is", to.display()));
        return Ok(());
    }
    write(&to, &text).map_err(|error| format!("can't write {}: {error}", to.display()))?;
    print(&format!(
        "{} is written; a running gateway that names it reads it within seconds",
        to.display()
    ));
    Ok(())
}

fn is_url(source: &str) -> bool {
    source.starts_with("https://") || source.starts_with("http://")
}

/// Downloads a text through the config's proxies, with the certificates that it trusts.
fn download(config: &Config, source: &str) -> Result<String, String> {
    let uri: Uri = source.parse().map_err(|_| format!("{source} is no URL"))?;
    if uri.scheme_str() != Some("https") && uri.host().is_none_or(|host| !is_loopback(host)) {
        return Err(format!("{source}: a catalogue is downloaded by https only"));
    }
    let limit = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
    let body = runtime(Some(1))?.block_on(async {
        let metrics = Metrics::new();
        let gauges = ConnectionGauges::of(&metrics);
        let upstream = Upstream::new(&config.upstream, gauges, metrics.upstream_resent.clone());
        let fetched = upstream.fetch(&uri, limit, DOWNLOAD_TIME).await;
        fetched.map_err(|error| format!("{source}: {error}"))
    })?;
    String::from_utf8(body.into()).map_err(|_| format!("{source}: it is not UTF-8"))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// Writes a file beside the place and renames it, so that nobody reads half of it.
fn write(to: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = to.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    match written.and_then(|()| std::fs::rename(&beside, to)) {
        Ok(()) => Ok(()),
        Err(error) => {
            // What was written in part is of no use. If it can't be removed, the error says enough.
            let _ = std::fs::remove_file(&beside);
            Err(error)
        }
    }
}
