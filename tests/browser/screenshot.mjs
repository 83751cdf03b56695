// Takes the picture of the status page for README: see ./screenshot.

import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

const SLUICE = process.env.SLUICE;
const PICTURE = "docs/images/status.png";
const SECONDS = Number(process.env.SECONDS ?? 240);
const SONNET = "us.anthropic.claude-sonnet-5-5";
const HAIKU = "us.anthropic.claude-haiku-5-5";
const SONNET_EU = "eu.anthropic.claude-sonnet-5-5";
const CLIENTS = [["web", 3], ["agents", 1.5], ["batch", 4]];

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

const [port, admin, upstream] = [await freePort(), await freePort(), await freePort()];
const folder = await mkdtemp(join(tmpdir(), "sluice-"));
const target = (name, region, model, rpm, tpm) =>
  `[targets.${name}]\nmodel = "${model}"\nregion = "${region}"\nrpm = ${rpm}\ntpm = ${tpm}\n`;
const key = (name) => `a-key-of-the-client-${name}`;
const config = `
[server]
listen = "127.0.0.1:${port}"
admin_listen = "127.0.0.1:${admin}"
[upstream]
region = "us-east-1"
endpoint_url = "http://127.0.0.1:${upstream}"
access_key_id = "AKIDSIMULATOR"
secret_access_key = "env:SIMULATOR_SECRET"
${target("sonnet-us", "us-east-1", SONNET, 120, 60000)}
${target("sonnet-eu", "eu-west-1", SONNET_EU, 120, 60000)}
${target("sonnet-5", "us-east-1", "us.anthropic.claude-sonnet-5", 150, 60000)}
${target("haiku", "us-east-1", HAIKU, 400, 400000)}
[[routes]]
models = ["${SONNET}"]
targets = ["sonnet-us", "sonnet-eu", "sonnet-5", "haiku"]
[[routes]]
models = ["${HAIKU}"]
targets = ["haiku"]
${CLIENTS.map(([name]) => `[[clients]]\nname = "${name}"\nbearer_token = "env:KEY_${name}"\ndaily_budget_usd = 20\n`).join("")}
`;
const file = join(folder, "config.toml");
await writeFile(file, config);
const env = { PATH: process.env.PATH, SIMULATOR_SECRET: "simulator-secret-key", AWS_EC2_METADATA_DISABLED: "true" };
for (const [name] of CLIENTS) env[`KEY_${name}`] = key(name);
const options = { env, stdio: ["ignore", "ignore", "inherit"] };
const quotas = [`${SONNET}=120,60000`, `${SONNET_EU}=120,60000`, "us.anthropic.claude-sonnet-5=150,60000", `${HAIKU}=400,400000`];
const processes = [
  spawn(SLUICE, ["simulate", "--listen", `127.0.0.1:${upstream}`, "--head-ms", "600", "--token-ms", "5",
    ...quotas.flatMap((quota) => ["--quota", quota])], options),
  spawn(SLUICE, ["serve", "--config", file], options),
];

async function ask(name, model) {
  const tokens = Math.round(20 + 200 * Math.random());
  const text = `sim:tokens=${tokens} ${"word ".repeat(Math.round(20 + 100 * Math.random()))}`;
  const response = await fetch(`http://127.0.0.1:${port}/model/${encodeURIComponent(model)}/converse`, {
    method: "POST",
    headers: { authorization: `Bearer ${key(name)}` },
    body: JSON.stringify({ messages: [{ role: "user", content: [{ text }] }], inferenceConfig: { maxTokens: 300 } }),
  });
  await response.arrayBuffer();
}

// Throttles the next requests to a model, as if others used its quota, too.
function throttle(model) {
  return fetch(`http://127.0.0.1:${upstream}/_sim/faults`, {
    method: "POST",
    body: JSON.stringify({ model, times: 1, fault: { kind: "throttle" } }),
  });
}

try {
  for (let ready = false; !ready; await pause(50)) {
    ready = await fetch(`http://127.0.0.1:${admin}/readyz`).then((answer) => answer.ok, () => false);
  }
  const end = Date.now() + SECONDS * 1000;
  const load = async ([name, perSecond]) => {
    while (Date.now() < end) {
      // The load swells and ebbs within a minute.
      const rate = perSecond * (1 + 0.8 * Math.sin(Date.now() / 10000));
      await pause((-Math.log(1 - Math.random()) * 1000) / rate);
      ask(name, Math.random() < 0.8 ? SONNET : HAIKU).catch(() => {});
    }
  };
  const loads = CLIENTS.map(load);
  for (; Date.now() < end - 25000; await pause(20000)) await throttle(SONNET);
  await throttle(SONNET_EU);
  await pause(end - Date.now() - 5000);
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 1010 }, colorScheme: "light" });
  await page.goto(`http://127.0.0.1:${admin}/status`);
  await page.locator("#state", { hasText: "ready" }).waitFor();
  await pause(3000);
  await mkdir("docs/images", { recursive: true });
  await page.screenshot({ path: PICTURE });
  await browser.close();
  await Promise.all(loads);
} finally {
  for (const process of processes) process.kill("SIGKILL");
  await rm(folder, { recursive: true });
}
