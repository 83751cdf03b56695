//! The listener's certificate changes while the gateway runs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::support::patience::eventually;
use crate::support::{Ask, Authority, Config, Dialer, Gateway, Issued, Simulator};

/// A gateway whose files are copies in a folder of its own.
struct Rig {
    authority: Authority,
    gateway: Gateway,
    folder: TempDir,
    _simulator: Simulator,
}

impl Rig {
    async fn start(interval: &str) -> (Rig, Issued) {
        let authority = Authority::new();
        let (first, folder) = (authority.server(), tempfile::tempdir().unwrap());
        first.copy_to(folder.path());
        let simulator = Simulator::start().await;
        let gateway = Gateway::start(
            &config(&simulator, folder.path()).set("server.tls.reload_interval", interval),
        )
        .await;
        (Rig { authority, gateway, folder, _simulator: simulator }, first)
    }

    async fn shown(&self) -> Vec<u8> {
        let dialer = Dialer::trusting(&self.authority);
        dialer.dial(self.gateway.address()).await.unwrap().certificate
    }

    async fn comes_to_show(&self, issued: &Issued) {
        let wanted = issued.der();
        let shown = async || self.shown().await == *wanted;
        eventually("the new certificate", shown, |is| *is).await;
    }

    async fn reloads(&self, result: &str) -> f64 {
        self.gateway.metrics().await.sum("sluice_tls_reloads_total", &[("result", result)])
    }
}

fn config(simulator: &Simulator, folder: &Path) -> Config {
    let file = |name: &str| folder.join(name).display().to_string();
    Config::four_models(simulator)
        .set("server.tls.cert", file("tls.crt"))
        .set("server.tls.key", file("tls.key"))
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_see_it_and_open_ones_live_on() {
    let (rig, first) = Rig::start("100ms").await;
    let dialed = Dialer::trusting(&rig.authority).dial(rig.gateway.address()).await.unwrap();
    assert_eq!(dialed.certificate, *first.der());
    let mut open = dialed.connection;
    let second = rig.authority.server();
    second.copy_to(rig.folder.path());
    rig.comes_to_show(&second).await;
    open.send(Ask::new(&rig.gateway, "hello").into_http1().as_bytes()).await;
    assert_eq!(open.response().await.unwrap().status, 200);
    assert!(rig.reloads("ok").await >= 1.0);
}

/// As Kubernetes does with the files of a secret: they are links into a folder that is itself a
/// link, which is turned to another folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_behind_a_link_is_swapped() {
    use std::os::unix::fs::symlink;
    let authority = Authority::new();
    let (first, second) = (authority.server(), authority.server());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, issued) in [("..1", &first), ("..2", &second)] {
        std::fs::create_dir(at(name)).unwrap();
        issued.copy_to(&at(name));
        // Neither names nor times of the files tell the two apart.
        for file in ["tls.crt", "tls.key"] {
            let file = std::fs::File::open(at(name).join(file)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        }
    }
    symlink("..1", at("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), at(file)).unwrap();
    }
    let simulator = Simulator::start().await;
    let config = config(&simulator, folder.path()).set("server.tls.reload_interval", "100ms");
    let gateway = Gateway::start(&config).await;
    let rig = Rig { authority, gateway, folder, _simulator: simulator };
    assert_eq!(rig.shown().await, *first.der());
    symlink("..2", rig.folder.path().join("..new")).unwrap();
    std::fs::rename(rig.folder.path().join("..new"), rig.folder.path().join("..data")).unwrap();
    rig.comes_to_show(&second).await;
    // Both files were swapped at once, so there was no half of a change to be refused.
    assert_eq!((rig.reloads("ok").await, rig.reloads("refused").await), (1.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_pair_is_refused_once_and_the_old_one_stays() {
    let (rig, first) = Rig::start("100ms").await;
    let file = |name: &str| rig.folder.path().join(name);
    let mut refused = 0.0;
    let another = rig.authority.server();
    for damage in ["a key of another", "garbage", "nothing", "an end in the past"] {
        match damage {
            "a key of another" => drop(std::fs::copy(another.key(), file("tls.key")).unwrap()),
            "garbage" => std::fs::write(file("tls.crt"), "garbage").unwrap(),
            "nothing" => std::fs::remove_file(file("tls.crt")).unwrap(),
            _ => {
                let old = rig.authority.expired_server();
                // The key first, so that there is one change more at most.
                old.copy_to(rig.folder.path());
            }
        }
        let count = async || rig.reloads("refused").await;
        let seen = eventually(damage, count, |count| *count > refused).await;
        // Further looks at the same files say nothing new.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let later = rig.reloads("refused").await;
        assert!(later <= seen + 1.0, "{damage}: {later}");
        refused = later;
        assert_eq!(rig.shown().await, *first.der(), "{damage}");
    }
    assert_eq!(rig.reloads("ok").await, 0.0);
    let output = rig.gateway.output();
    assert!(output.contains("certificate not reloaded"), "{output}");
    assert!(output.contains("is not the key of the certificate in"), "{output}");
    assert!(!output.contains("PRIVATE KEY"));
    // A good one is taken again.
    another.copy_to(rig.folder.path());
    rig.comes_to_show(&another).await;
    rig.gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_has_the_files_looked_at_and_may_move_them() {
    let (rig, first) = Rig::start("1h").await;
    let second = rig.authority.server();
    second.copy_to(rig.folder.path());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.shown().await, *first.der());
    rig.gateway.hang_up().await;
    rig.comes_to_show(&second).await;

    let third = rig.authority.server();
    let moved =
        config(&rig._simulator, third.folder()).set("server.tls.client_ca", rig.authority.path());
    rig.gateway.reload(&moved.set("server.tls.reload_interval", "1h").to_toml()).await;
    rig.comes_to_show(&third).await;
    // And now a certificate is asked for.
    let client = Dialer::showing(&rig.authority, &rig.authority.client("team-a"));
    for (dialer, status) in [(client, Some(200)), (Dialer::trusting(&rig.authority), None)] {
        let mut connection = dialer.dial(rig.gateway.address()).await.unwrap().connection;
        connection.send(Ask::new(&rig.gateway, "hello").into_http1().as_bytes()).await;
        assert_eq!(connection.response().await.map(|response| response.status), status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_certificate_is_a_metric_where_there_is_one() {
    let (rig, _) = Rig::start("100ms").await;
    let metrics = rig.gateway.metrics().await;
    let end = metrics.sum("sluice_tls_certificate_expiry_seconds", &[]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(end > now, "{end}");
    let simulator = Simulator::start().await;
    let plain = Gateway::with_four_models(&simulator).await;
    assert!(!plain.metrics().await.has("sluice_tls_certificate_expiry_seconds"));
}
