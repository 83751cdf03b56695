// Tests the status page end to end: a real browser, a real gateway, a simulated Bedrock.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { chromium } from "playwright-core";

const SLUICE = process.env.SLUICE ?? "target/debug/sluice";
const PICTURES = "target/browser";
const SECOND = 1000;
// Two models of the catalogue, so that one can be the fallback of the other.
const MODELS = ["us.anthropic.claude-sonnet-5-5", "us.anthropic.claude-haiku-5-5"];
const model = (n) => MODELS[n] ?? `us.anthropic.claude-haiku-5-5-${n}`;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let browser;
before(async () => {
  await mkdir(PICTURES, { recursive: true });
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
});
after(() => browser.close());

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

async function eventually(what, look) {
  for (const end = Date.now() + 30 * SECOND; Date.now() < end; await pause(50)) {
    try {
      if (await look()) return;
    } catch {
      // Not yet.
    }
  }
  assert.fail(`never: ${what}`);
}

// A gateway with this many targets, in front of its own simulator.
class Fixture {
  static async start({ targets = 2, server = "", adminHost = "127.0.0.1" } = {}) {
    const it = new Fixture();
    [it.port, it.admin, it.upstream] = [await freePort(), await freePort(), await freePort()];
    it.folder = await mkdtemp(join(tmpdir(), "sluice-"));
    const lines = [
      "[server]", `listen = "127.0.0.1:${it.port}"`, `admin_listen = "${adminHost}:${it.admin}"`, server,
      "[upstream]", 'region = "us-east-1"', `endpoint_url = "http://127.0.0.1:${it.upstream}"`,
      'access_key_id = "AKIDSIMULATOR"', 'secret_access_key = "env:SIMULATOR_SECRET"',
      "[queue]", 'max_wait = "0s"',
    ];
    for (let n = 0; n < targets; n += 1) {
      lines.push(`[targets.t${n}]`, `model = "${model(n)}"`, "rpm = 100", "tpm = 100000");
    }
    lines.push("[[routes]]", `models = ["${model(0)}"]`, 'targets = ["t0", "t1"]');
    const config = join(it.folder, "config.toml");
    await writeFile(config, lines.join("\n"));
    const env = { PATH: process.env.PATH, SIMULATOR_SECRET: "simulator-secret-key",
      ADMIN_KEY: "an-admin-key-of-some-length", AWS_EC2_METADATA_DISABLED: "true" };
    const options = { env, stdio: "ignore" };
    it.processes = [
      spawn(SLUICE, ["simulate", "--listen", `127.0.0.1:${it.upstream}`], options),
      spawn(SLUICE, ["serve", "--config", config], options),
    ];
    await eventually("ready", async () => (await fetch(`http://127.0.0.1:${it.admin}/readyz`)).ok);
    return it;
  }

  async stop() {
    for (const process of this.processes) process.kill("SIGKILL");
    await rm(this.folder, { recursive: true });
  }

  get url() {
    return `http://127.0.0.1:${this.admin}/status`;
  }

  fault(n, kind, times) {
    const rule = { model: model(n), times, fault: { kind } };
    return fetch(`http://127.0.0.1:${this.upstream}/_sim/faults`, { method: "POST", body: JSON.stringify(rule) });
  }

  ask(n = 0) {
    const body = { messages: [{ role: "user", content: [{ text: "hello" }] }], inferenceConfig: { maxTokens: 4096 } };
    return fetch(`http://127.0.0.1:${this.port}/model/${encodeURIComponent(model(n))}/converse`, { method: "POST", body: JSON.stringify(body) });
  }

  // The page, with its console messages and its requests.
  async load(options = {}) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.said = [];
    page.on("console", (message) => { if (message.type() === "error" || message.type() === "warning") page.said.push(message.text()); });
    page.on("pageerror", (error) => page.said.push(error.message));
    page.asked = [];
    page.on("request", (request) => page.asked.push(request.url()));
    await page.goto(this.url);
    return page;
  }

  async open(options) {
    const page = await this.load(options);
    await page.locator("#state", { hasText: "ready" }).waitFor();
    return page;
  }
}

const row = (page, name) => page.locator(`[data-target="${name}"]`);
const state = (page, name) => row(page, name).locator(".pill");

describe("a gateway of two targets", () => {
  let gateway;
  let page;
  beforeEach(async () => {
    gateway = await Fixture.start();
    page = await gateway.open();
  });
  afterEach(async () => {
    await page.context().close();
    await gateway.stop();
    assert.deepEqual(page.said, []);
  });

  test("a throttle shows within a second, and a reset ends it", async () => {
    assert.equal(await state(page, "t0").innerText(), "available");
    await gateway.fault(0, "throttle", 1);
    assert.equal((await gateway.ask()).status, 200);
    // Events come once a second; the rest is slack for a busy machine.
    await state(page, "t0").filter({ hasText: "cooling" }).waitFor({ timeout: 1.5 * SECOND });
    assert.match(await state(page, "t0").innerText(), /^cooling \d+ s$/);
    const [first, later] = [await state(page, "t0").innerText(), async () => state(page, "t0").innerText()];
    await eventually("the countdown", async () => (await later()) !== first);
    assert.match(await row(page, "t0").innerText(), /1 throttle in a row/);
    assert.match(await row(page, "t1").innerText(), /\d+ of 100\s/);
    await page.screenshot({ path: `${PICTURES}/cooling.png`, fullPage: true });
    await row(page, "t0").getByRole("button", { name: "Reset" }).click();
    await state(page, "t0").filter({ hasText: "available" }).waitFor({ timeout: 1.5 * SECOND });
  });

  test("a drained target gets nothing until it is resumed, by keyboard alone", async () => {
    await row(page, "t0").getByRole("button", { name: "out of traffic" }).focus();
    await page.keyboard.press("Enter");
    await state(page, "t0").filter({ hasText: "drained" }).waitFor({ timeout: 1.5 * SECOND });
    assert.equal((await gateway.ask()).headers.get("x-sluice-model"), model(1));
    const resume = row(page, "t0").getByRole("button", { name: "back into traffic" });
    // The focus has not moved.
    assert.ok(await resume.evaluate((button) => button === document.activeElement));
    await page.keyboard.press("Space");
    await state(page, "t0").filter({ hasText: "available" }).waitFor({ timeout: 1.5 * SECOND });
    assert.equal((await gateway.ask()).headers.get("x-sluice-model"), model(0));
  });

  test("it tells of clients, failures and the last hour, and asks nobody else", async () => {
    await gateway.ask();
    await gateway.fault(0, "validation", 1);
    assert.equal((await gateway.ask()).status, 400);
    const failure = page.locator("#failures tr").filter({ hasText: "client_error" });
    await failure.waitFor({ timeout: 1.5 * SECOND });
    assert.match(await failure.innerText(), /ValidationException.*t0 terminal/s);
    const client = page.locator("#clients tr").first();
    assert.match(await client.innerText(), /other\s+2\s+1\s/);
    // A step of the history ends every ten seconds.
    await page.locator("#rate", { hasText: "2" }).waitFor({ timeout: 12 * SECOND });
    assert.equal(await page.locator("#answered").innerText(), "50.0 %");
    assert.equal(await page.getByRole("img", { name: "Requests: at most 2 a minute" }).count(), 1);
    const hosts = new Set(page.asked.map((url) => new URL(url).host).filter((host) => host !== ""));
    assert.deepEqual([...hosts], [`127.0.0.1:${gateway.admin}`]);
  });

  test("a gateway that has gone is told of, and one that is back is followed again", async () => {
    const [, serve] = gateway.processes;
    const gone = new Promise((resolve) => { serve.once("exit", resolve); });
    serve.kill("SIGKILL");
    await gone;
    await page.locator("#state", { hasText: "connection lost" }).waitFor();
    const env = { PATH: process.env.PATH, SIMULATOR_SECRET: "simulator-secret-key", AWS_EC2_METADATA_DISABLED: "true" };
    const config = join(gateway.folder, "config.toml");
    gateway.processes.push(spawn(SLUICE, ["serve", "--config", config], { env, stdio: "ignore" }));
    await page.locator("#state", { hasText: "ready" }).waitFor();
    // The browser logs each connection that it could not open.
    page.said = page.said.filter((text) => !text.includes("net::ERR_"));
  });
});

test("with an admin key, nothing is shown or done without it, and it is asked for once in a tab", async () => {
  const gateway = await Fixture.start({ server: 'admin_key = "env:ADMIN_KEY"' });
  let page;
  try {
    page = await gateway.load();
    const give = async (key) => {
      await page.getByLabel("Key", { exact: true }).fill(key);
      await page.keyboard.press("Enter");
    };
    const form = page.getByRole("dialog", { name: "Sign in" });
    await form.waitFor();
    const refusal = form.getByText("The gateway refused this key");
    assert.equal(await refusal.isVisible(), false);
    await give("a-wrong-key-of-some-length");
    // The page asks for the key again and has shown nothing.
    await refusal.waitFor();
    assert.equal(await page.locator("#targets tr").count(), 0);
    assert.equal(await page.locator("#state").innerText(), "signed out");
    await page.screenshot({ path: `${PICTURES}/sign-in.png` });
    // A closed form comes back when it is asked for.
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Sign in" }).click();
    await form.waitFor();
    await give("an-admin-key-of-some-length");
    await page.locator("#state", { hasText: "ready" }).waitFor();
    await row(page, "t0").getByRole("button", { name: "out of traffic" }).click();
    await state(page, "t0").filter({ hasText: "drained" }).waitFor();
    await row(page, "t0").getByRole("button", { name: "back into traffic" }).click();
    await state(page, "t0").filter({ hasText: "available" }).waitFor();
    assert.equal(await page.locator("#trouble").isVisible(), false);
    // The browser itself logs the refusals.
    assert.ok(page.said.every((text) => text.includes("401")), page.said);
  } finally {
    await page?.context().close();
    await gateway.stop();
  }
});

test("a gateway without an admin key that others reach says so, and that its page stays closed", async () => {
  const gateway = await Fixture.start({ server: "open_metrics = true", adminHost: "0.0.0.0" });
  let page;
  try {
    page = await gateway.load();
    await page.locator("#state", { hasText: "closed" }).waitFor();
    assert.match(await page.locator("#about").innerText(), /needs server\.admin_key/);
    assert.equal(await page.getByRole("dialog").count(), 0);
  } finally {
    await page?.context().close();
    await gateway.stop();
  }
});

for (const colorScheme of ["light", "dark"]) {
  test(`two hundred targets on a phone, ${colorScheme}`, async () => {
    const gateway = await Fixture.start({ targets: 200 });
    let page;
    try {
      page = await gateway.open({ viewport: { width: 390, height: 844 }, colorScheme });
      assert.equal(await page.locator("#targets tr").count(), 200);
      assert.equal(await page.locator("#summary").innerText(), "all 200 available");
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 390, `the page is ${width} wide`);
      await page.getByRole("searchbox").fill("t19");
      assert.equal(await page.locator("#targets tr:visible").count(), 11);
      await gateway.fault(0, "throttle", 1);
      await gateway.ask();
      await page.getByRole("searchbox").fill("cooling");
      await page.locator("#targets tr:visible", { hasText: "t0" }).waitFor({ timeout: 1.5 * SECOND });
      assert.equal(await page.locator("#targets tr:visible").count(), 1);
      assert.equal(await page.locator("#summary").innerText(), "1 of 200 not available");
      await page.screenshot({ path: `${PICTURES}/phone-${colorScheme}.png` });
      assert.deepEqual(page.said, []);
    } finally {
      await page?.context().close();
      await gateway.stop();
    }
  });
}
