//! `sluice check --account`: what it finds out about an account, and what it prints to mend the config.

use serde_json::{Value, json};
use sluice::simulator::{AccountSettings, Fault, FaultRule};

use crate::support::clients::script;
use crate::support::gateway::{run_sluice, run_sluice_with};
use crate::support::scripted::say;
use crate::support::{Config, Scripted, Simulator};

const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";
const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
const OPUS: &str = "anthropic.claude-opus-4-1-20250805-v1:0";
const NEXT_OPUS: &str = "us.anthropic.claude-opus-4-5-20251101-v1:0";
const RETIRED: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const APPLICATION: &str =
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";

struct Checked {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Checked {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|_| panic!("{}{}", self.stdout, self.stderr))
    }

    /// The findings about a key, as kind, severity and message.
    fn findings(&self, path: &str) -> Vec<(String, String, String)> {
        let document = self.json();
        let all = document["findings"].as_array().cloned().unwrap_or_default();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let of_key = all.iter().filter(|finding| finding["path"] == path);
        of_key.map(|it| (text(it, "kind"), text(it, "severity"), text(it, "message"))).collect()
    }

    #[track_caller]
    fn only(&self, path: &str) -> (String, String, String) {
        let mut found = self.findings(path);
        assert_eq!(found.len(), 1, "{path}: {found:?} of {}", self.stdout);
        found.remove(0)
    }
}

async fn check(config: &str, more: &[&str], variables: &[(&str, &str)]) -> Checked {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    std::fs::write(&path, config).unwrap();
    let arguments = [&["check", "--account", "--config", path.to_str().unwrap()], more].concat();
    let (status, stdout, stderr) = run_sluice_with(&arguments, variables).await;
    let name = path.display().to_string();
    let [stdout, stderr] = [stdout, stderr].map(|text| text.replace(&name, "config.toml"));
    Checked { code: status.code().unwrap(), stdout, stderr }
}

/// The same config with the keys of these lines set in its tables.
fn pasted(config: &str, lines: &str) -> String {
    let mut config: toml::Table = config.parse().unwrap();
    let lines: toml::Table = lines.parse().unwrap();
    for (section, names) in &lines {
        for (name, keys) in names.as_table().unwrap() {
            let new = || toml::Value::Table(toml::Table::new());
            let section = config.entry(section).or_insert_with(new).as_table_mut().unwrap();
            let table = section.entry(name).or_insert_with(new).as_table_mut().unwrap();
            table.extend(keys.as_table().unwrap().clone());
        }
    }
    toml::to_string(&config).unwrap()
}

fn quota(name: &str, value: u64) -> Value {
    json!({ "name": name, "default": value, "value": value })
}

/// An account in which something is wrong with each target but `good`.
fn account() -> AccountSettings {
    let cross = |unit, model| format!("Cross-region model inference {unit} for {model}");
    let filler = (0..230).map(|number| quota(&format!("Guardrails of sort {number}"), 1));
    let quotas: Vec<Value> = [
        quota(&cross("tokens per minute", "Anthropic Claude Sonnet 4.5 V1"), 200_000),
        quota(&cross("requests per minute", "Anthropic Claude Sonnet 4.5 V1"), 200),
        quota(&cross("tokens per minute", "Anthropic Claude Haiku 4.5"), 5_000),
        quota("On-demand model inference tokens per minute for Amazon Nova Lite", 4_000),
        quota("Model invocation max tokens per day for Amazon Nova Lite", 1_000_000),
    ]
    .into_iter()
    .chain(filler)
    .collect();
    serde_json::from_value(json!({
        "models": {
            SONNET: { "profile_only": true },
            HAIKU: { "profile_only": true },
            OPUS: { "profile_only": false, "legacy": true, "end_of_life_time": "2027-01-08T00:00:00Z" },
            RETIRED: { "absent": true },
            "amazon.nova-pro-v1:0": { "not_enabled": true },
            "amazon.nova-micro-v1:0": { "input_modalities": ["TEXT", "IMAGE"] },
        },
        "application_profiles": { "abc": format!("us.{HAIKU}") },
        "quotas": quotas,
        "page_size": 40,
    }))
    .unwrap()
}

/// The config of that account.
fn config(simulator: &Simulator) -> String {
    let model = |config: Config, target: &str, model: &str| {
        config.set(&format!("targets.{target}.model"), model)
    };
    let config = Config::without_routes(simulator);
    let config = model(config, "good", "amazon.nova-lite-v1:0")
        .set("targets.good.tpm", 4_000)
        .set("targets.good.tpd", 1_000_000);
    let config =
        model(config, "bare", SONNET).set("targets.bare.tpm", 400_000).set("targets.bare.rpm", 200);
    let config = model(config, "legacy", OPUS);
    let config = model(config, "retired", RETIRED);
    let config = model(config, "locked", "amazon.nova-pro-v1:0");
    let config = model(config, "unknown", "amazon.nova-unheard-of-v1:0")
        .set("targets.unknown.tpm", 4_000)
        .set("targets.unknown.tpd", 1_000_000);
    let config = model(config, "elsewhere", &format!("eu.{SONNET}"));
    let config = model(config, "facts", "amazon.nova-micro-v1:0");
    let config = model(config, "profile", APPLICATION).set("targets.profile.tpm", 5_000);
    let names =
        ["good", "bare", "legacy", "retired", "locked", "unknown", "elsewhere", "facts", "profile"];
    config.route("amazon.nova-lite-v1:0", &names).to_toml()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_targets_is_found_and_the_printed_lines_mend_it() {
    let simulator = Simulator::start().await;
    simulator.has_account(account());
    let config = config(&simulator);
    let checked = check(&config, &["--json"], &[]).await;
    let document = checked.json();
    assert_eq!((checked.code, &document["ok"]), (1, &json!(false)), "{document}");
    let account = &document["accounts"][0];
    assert_eq!((&account["account"], &account["quotas"]), (&json!("123456789012"), &json!(235)));
    assert_eq!(account["skipped"], json!([]));

    for (path, kind, severity, words) in [
        ("targets.bare.model", "profile_only", "error", "use 'us.anthropic.claude-sonnet-4-5"),
        ("targets.legacy.model", "retiring", "warning", "on 2027-01-08: use 'us.anthropic."),
        ("targets.retired.model", "missing", "error", "AWS has no model 'anthropic.claude-3-haiku"),
        ("targets.locked.model", "not_enabled", "error", "the account is not authorized to use"),
        ("targets.unknown.model", "missing", "error", "AWS has no model 'amazon.nova-unheard-of"),
        ("targets.elsewhere.model", "missing", "error", "no inference profile 'eu.anthropic."),
        ("targets.facts.features", "catalogue", "warning", "reads images"),
        ("targets.profile.base_model", "base_model", "warning", HAIKU),
    ] {
        let found = checked.findings(path);
        let found = found.iter().find(|(it, ..)| it == kind);
        let Some((_, is, message)) = found else { panic!("{path}: {}", checked.stdout) };
        assert!(is == severity && message.contains(words), "{path}: {is}: {message}");
    }
    assert_eq!(checked.findings("targets.good.tpm"), []);
    // A position in the config for what has one.
    let at = |path: &str| {
        let found = document["findings"].as_array().unwrap().iter();
        found.clone().find(|finding| finding["path"] == path).unwrap()["line"].as_u64().unwrap()
    };
    let line = config.lines().nth(usize::try_from(at("targets.bare.model")).unwrap() - 1).unwrap();
    assert_eq!(line, format!("model = \"{SONNET}\""));

    // Once it is called by its profile, the quotas of the profile count.
    let once = pasted(&config, document["paste"].as_str().unwrap());
    let again = check(&once, &["--json"], &[]).await;
    let (kind, severity, message) = again.only("targets.bare.tpm");
    assert_eq!((kind.as_str(), severity.as_str()), ("quota", "warning"), "{message}");
    assert!(message.contains("is 400000, but the account has 200000"), "{message}");

    // The locked model is enabled in the console, and the unknown one has no line.
    let enabled = {
        let mut account = self::account();
        account.models.remove("amazon.nova-pro-v1:0");
        account
    };
    simulator.has_account(enabled);
    let twice = pasted(&once, again.json()["paste"].as_str().unwrap());
    let twice = twice.replace("amazon.nova-unheard-of-v1:0", "amazon.nova-lite-v1:0");
    let clean = check(&twice, &["--json"], &[]).await;
    let document = clean.json();
    assert_eq!((clean.code, &document["ok"]), (0, &json!(true)), "{document}");
    assert!(document.get("paste").is_none(), "{document}");
    let rest = document["findings"].as_array().cloned().unwrap_or_default();
    assert!(rest.iter().all(|finding| finding["severity"] == "note"), "{document}");
    let next = twice.parse::<toml::Table>().unwrap()["targets"]["legacy"]["model"].clone();
    assert_eq!(next.as_str(), Some(NEXT_OPUS));

    // All of it was asked with valid signatures, and lists came in pages.
    let log = simulator.log();
    assert!(log.iter().all(|entry| entry.signature == Some("valid")), "{log:#?}");
    let calls = |name: &str| log.iter().filter(|it| it.operation == Some(name)).count();
    assert_eq!(calls("ListServiceQuotas"), 3 * 6);
    assert!(calls("ListInferenceProfiles") > 3 && calls("ListFoundationModels") == 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_lines_with_positions_and_a_block_to_paste() {
    let simulator = Simulator::start().await;
    simulator.has_account(account());
    let checked = check(&config(&simulator), &[], &[]).await;
    assert_eq!(checked.code, 1);
    let account = "\naccount: 123456789012 in us-east-1 (access key AKIDSIMULATOR): ok, ";
    assert!(checked.stdout.contains(account), "{}", checked.stdout);
    let error = format!("targets.bare.model: in us-east-1 '{SONNET}' is called by an inference");
    let line = checked.stdout.lines().find(|line| line.contains(&error)).unwrap();
    assert!(line.starts_with("error: config.toml:"), "{line}");
    let (_, block) = checked.stdout.split_once("set these keys in the config:\n\n").unwrap();
    let (block, file) = block.split_once("\n\nTo correct the catalogue, ").unwrap();
    let block: toml::Table = block.parse().unwrap();
    assert_eq!(block["targets"]["bare"]["model"].as_str(), Some(&*format!("us.{SONNET}")));
    // The other block is a file that the catalogue takes, and then there is nothing to correct.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.json");
    std::fs::write(&path, file.split_once(":\n\n").unwrap().1).unwrap();
    let corrected = format!("{}\n[catalogue]\nfile = '{}'\n", config(&simulator), path.display())
        .replace("[catalogue]\nretired = \"keep\"\n", "");
    let again = check(&corrected, &["--json"], &[]).await;
    let document = again.json();
    assert_eq!(again.findings("targets.facts.features"), [], "{document}");
    assert!(document.get("corrections").is_none(), "{document}");
    let said = "sluice: 5 errors found in the config\n";
    assert_eq!(checked.stderr, said, "{}", checked.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_skips_its_part_and_is_named() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.own.model", APPLICATION)
        .set("targets.own.base_model", SONNET)
        .to_toml();
    for (action, part) in [
        ("bedrock:ListFoundationModels", "models"),
        ("bedrock:ListInferenceProfiles", "inference profiles"),
        ("bedrock:GetInferenceProfile", "models behind application inference profiles"),
        ("bedrock:GetFoundationModelAvailability", "access to models"),
        ("servicequotas:ListServiceQuotas", "quotas"),
        ("servicequotas:ListAWSDefaultServiceQuotas", "quotas that have the default value"),
    ] {
        let mut account = account();
        account.denied_actions = vec![action.to_owned()];
        simulator.has_account(account);
        let checked = check(&config, &["--json"], &[]).await;
        let skipped = checked.json()["accounts"][0]["skipped"].clone();
        let reason = format!("the credentials lack {action}");
        let wanted = json!({ "part": part, "action": action, "reason": reason, "failed": false });
        assert_eq!(skipped, json!([wanted]));
        // What the profile's own description would tell, the list of profiles tells too.
        let is_told = !checked.findings("targets.own.base_model").is_empty();
        assert!(is_told, "{action}: {}", checked.stdout);
    }
    let all = AccountSettings {
        denied_actions: sluice::bedrock::account::AccountOperation::ALL
            .map(|operation| operation.action().to_owned())
            .to_vec(),
        ..account()
    };
    simulator.has_account(all);
    let checked = check(&config, &[], &[]).await;
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    let line = "quotas not compared: the credentials lack servicequotas:ListServiceQuotas";
    assert!(checked.stdout.contains(line), "{}", checked.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_reached_hides_no_other() {
    let simulator = Simulator::start().await;
    simulator.has_account(account());
    let config = Config::without_routes(&simulator)
        .set("targets.lost.model", SONNET)
        .set("targets.lost.region", "eu-west-1")
        .set("targets.lost.endpoint_url", "http://127.0.0.1:1")
        .set("targets.bare.model", SONNET)
        .set("targets.proxied.model", SONNET)
        .set("targets.proxied.endpoint_url", "http://bedrock.example.com")
        .to_toml();
    let checked = check(&config, &["--json"], &[]).await;
    assert_eq!(checked.code, 1);
    let document = checked.json();
    let checks: Vec<&Value> = document["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["kind"] == "account")
        .collect();
    assert_eq!(checks.len(), 3, "{document}");
    let by_ok: Vec<bool> = checks.iter().map(|check| check["ok"].as_bool().unwrap()).collect();
    assert_eq!(by_ok.iter().filter(|ok| !**ok).count(), 1, "{document}");
    let failed = checks.iter().find(|check| check["ok"] == json!(false)).unwrap();
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("Bedrock's control plane was not reached: "), "{message}");
    assert!(message.contains("Service Quotas was not reached: "), "{message}");
    assert_eq!(checked.only("targets.bare.model").0, "profile_only");
    assert_eq!(checked.findings("targets.proxied.model"), []);
    assert!(checked.stdout.contains("is not an endpoint of AWS"), "{}", checked.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_are_asked_where_config_or_environment_say() {
    let (runtime, account) = (Simulator::start().await, Simulator::start().await);
    let config = Config::models(&runtime, 1).to_toml();
    let own = [
        ("AWS_ENDPOINT_URL_BEDROCK", account.url()),
        ("AWS_ENDPOINT_URL_SERVICE_QUOTAS", account.url()),
    ];
    let checked = check(&config, &["--json"], &own).await;
    assert_eq!(checked.json()["accounts"][0]["skipped"], json!([]), "{}", checked.stdout);
    assert!(runtime.log().is_empty());
    let asked = account.log().len();
    assert!(asked >= 5);
    let keys = Config::models(&runtime, 1)
        .set("upstream.control_plane_endpoint_url", account.url())
        .set("upstream.service_quotas_endpoint_url", account.url())
        .to_toml();
    check(&keys, &[], &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]).await;
    assert_eq!(account.log().len(), 2 * asked);
    assert!(runtime.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_answers_of_aws_fail_the_check_and_nothing_else() {
    let simulator = Simulator::start().await;
    let odd = [
        say(200, "content-type: text/html\r\n", "<html>"),
        say(200, "", "[]"),
        say(200, "", "{\"mod"),
        say(503, "", ""),
        "nonsense\r\n\r\n".to_owned(),
    ];
    for answer in odd {
        let scripted = {
            let answer = answer.clone();
            Scripted::start(move |_, _| answer.clone()).await
        };
        let config = Config::models(&simulator, 1)
            .set("upstream.control_plane_endpoint_url", scripted.url())
            .to_toml();
        let checked = check(&config, &["--json"], &[]).await;
        assert_eq!(checked.code, 1, "{answer}: {}", checked.stdout);
        let document = checked.json();
        assert_eq!(document["accounts"][0]["models"], json!(null), "{answer}: {document}");
        assert_eq!(document["accounts"][0]["quotas"], json!(0), "{answer}: {document}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_call_is_repeated_and_a_failing_one_fails_its_part() {
    let simulator = Simulator::start().await;
    simulator.has_account(account());
    let config = Config::models(&simulator, 1).to_toml();
    for operation in ["ListFoundationModels", "GetFoundationModelAvailability", "ListServiceQuotas"]
    {
        simulator.add(FaultRule { operation: Some(operation.to_owned()), ..throttle(2) });
    }
    let checked = check(&config, &["--json"], &[]).await;
    let account = &checked.json()["accounts"][0];
    assert_eq!((&account["skipped"], &account["quotas"]), (&json!([]), &json!(235)), "{account}");

    let operation = Some("ListAWSDefaultServiceQuotas".to_owned());
    simulator.add(FaultRule { operation, ..throttle(100) });
    let checked = check(&config, &["--json"], &[]).await;
    let skipped = checked.json()["accounts"][0]["skipped"].clone();
    assert_eq!((checked.code, skipped.as_array().unwrap().len()), (1, 1), "{skipped}");
    let reason = skipped[0]["reason"].as_str().unwrap();
    let wanted = "ListAWSDefaultServiceQuotas failed: ThrottlingException: ";
    assert!(reason.starts_with(wanted), "{reason}");
}

fn throttle(times: u64) -> FaultRule {
    FaultRule::next(times, Fault::Throttle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_an_end_is_given_up() {
    let simulator = Simulator::start().await;
    let endless = Scripted::start(|_, _| {
        let page = json!({ "Quotas": [], "NextToken": "again" });
        say(200, "content-type: application/x-amz-json-1.1\r\n", &page.to_string())
    })
    .await;
    let config = Config::models(&simulator, 1)
        .set("upstream.service_quotas_endpoint_url", endless.url())
        .to_toml();
    let checked = check(&config, &[], &[]).await;
    assert_eq!(checked.code, 1);
    assert!(checked.stdout.contains("the list has more than 100 pages"), "{}", checked.stdout);
    assert_eq!(endless.asked(&["/"]), 100, "the other list is not asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bedrock_api_key_reads_the_models_and_not_the_quotas() {
    let simulator = Simulator::start().await;
    simulator.has_account(account());
    let config = Config::without_routes(&simulator)
        .without_credentials()
        .set("upstream.bearer_token", "env:SIM_BEARER")
        .set("targets.bare.model", SONNET)
        .to_toml();
    let checked = check(&config, &["--json"], &[("SIM_BEARER", "simulator-bearer-key")]).await;
    assert_eq!(checked.only("targets.bare.model").0, "profile_only");
    let skipped = &checked.json()["accounts"][0]["skipped"];
    assert_eq!(skipped[0]["part"], "quotas", "{skipped}");
    assert!(skipped[0]["reason"].as_str().unwrap().contains("Bedrock API key"), "{skipped}");
    assert!(!checked.stdout.contains("simulator-bearer-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_reads_the_simulated_account_too() {
    let simulator = Simulator::start().await;
    simulator.has_account(account());
    let job = json!({
        "endpoint": simulator.url(),
        "access_key_id": simulator.access_key_id(),
        "secret_access_key": Simulator::SECRET,
        "region": "us-east-1",
        "availability_of": "amazon.nova-pro-v1:0",
        "profile": APPLICATION,
    });
    let read = script("boto3_account.py", &job).await;
    let model = |id: &str| {
        let models = read["models"].as_array().unwrap();
        models.iter().find(|model| model["modelId"] == id).unwrap_or(&Value::Null).clone()
    };
    assert_eq!(model(SONNET)["inferenceTypesSupported"], json!(["INFERENCE_PROFILE"]));
    assert_eq!(model(OPUS)["modelLifecycle"]["status"], "LEGACY");
    let end = model(OPUS)["modelLifecycle"]["endOfLifeTime"].to_string();
    assert!(end.contains("2027-01-08"), "{end}");
    assert_eq!(model(RETIRED), Value::Null);
    assert_eq!(read["availability"]["authorizationStatus"], "NOT_AUTHORIZED");
    assert!(read["profiles"].as_array().unwrap().len() > 40);
    assert_eq!(read["profile"]["type"], "APPLICATION");
    for list in ["quotas", "default_quotas"] {
        assert_eq!(read[list].as_array().unwrap().len(), 235, "{list}");
    }
    assert!(read["quotas"][0]["QuotaCode"].as_str().unwrap().starts_with("L-"));
    // An error of Service Quotas has its own form.
    let mut denied = account();
    denied.denied_actions = vec!["servicequotas:ListServiceQuotas".to_owned()];
    simulator.has_account(denied);
    assert_eq!(script("boto3_account.py", &job).await["error"], "AccessDeniedException");
    let wrong = json!({ "secret_access_key": "wrong", "endpoint": simulator.url(),
        "access_key_id": simulator.access_key_id(), "region": "us-east-1",
        "availability_of": OPUS, "profile": APPLICATION });
    assert_eq!(script("boto3_account.py", &wrong).await["error"], "InvalidSignatureException");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_the_account_excludes_a_check_without_credentials() {
    for flag in ["--offline", "--syntax"] {
        let (status, _, stderr) = run_sluice(&["check", "--account", flag]).await;
        assert!(status.code() == Some(2) && stderr.contains(flag), "{stderr}");
    }
}
