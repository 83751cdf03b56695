// Tests the status page end to end: a real browser, a real gateway, a simulated Bedrock. What the page
// makes of states that are hard to bring about is tested with a stand-in for the gateway's events.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
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
    listen(page);
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

// Keeps what the page or the browser says of errors.
function listen(page) {
  page.said = [];
  page.on("console", (message) => { if (message.type() === "error" || message.type() === "warning") page.said.push(message.text()); });
  page.on("pageerror", (error) => page.said.push(error.message));
}

// Closes a page, which must have said nothing but what is expected.
async function close(page, isExpected = () => false) {
  await page?.context().close();
  assert.deepEqual((page?.said ?? []).filter((text) => !isExpected(text)), []);
}

const row = (page, name) => page.locator(`[data-target="${name}"]`);
const state = (page, name) => row(page, name).locator(".pill");

// The page of a gateway whose events are these.
async function openWith(gateway, events, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options });
  await context.route("**/admin/events", (route) => route.fulfill({
    contentType: "text/event-stream",
    body: events.map((event) => `event: status\ndata: ${JSON.stringify(event)}\n\n`).join(""),
  }));
  const page = await context.newPage();
  listen(page);
  await page.goto(gateway.url);
  return page;
}

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
    assert.match(await page.locator("#fallbacks tr").innerText(), /^t0\s+t1\s+Bedrock throttled the attempt throttled\s+1$/);
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
    for (let times = 0; times < 2; times += 1) {
      await gateway.fault(0, "validation", 1);
      assert.equal((await gateway.ask()).status, 400);
    }
    const failure = page.locator("#failures tr").filter({ hasText: "client_error" });
    await failure.locator("td").first().filter({ hasText: /^2$/ }).waitFor({ timeout: 1.5 * SECOND });
    assert.equal(await failure.count(), 1, "equal failures are one row");
    assert.match(await failure.innerText(), /ValidationException.*t0 terminal/s);
    assert.equal(await page.locator("#failures-summary").innerText(), "0 failed, 2 ended by their client, of the last 2");
    // A step of the history ends every ten seconds.
    await page.locator("#rate", { hasText: "3" }).waitFor({ timeout: 12 * SECOND });
    // The client's own mistakes are no failures.
    assert.equal(await page.locator("#failed").innerText(), "0 (0 %)");
    const client = page.locator("#clients tr").first();
    await client.locator("td").first().filter({ hasText: /^3$/ }).waitFor();
    assert.equal(await client.locator("th").innerText(), "other");
    const cells = await client.locator("td").allInnerTexts();
    assert.deepEqual([cells[5], cells[6], cells[7]], ["3", "0", "2"], "requests, failed, own errors");
    assert.match(await page.locator("#models").innerText(), /claude/);
    const plot = page.getByRole("slider", { name: "Requests, a minute" });
    assert.match(await plot.getAttribute("aria-valuetext"), /^now: all 3, failed 0\. peak 3$/);
    await page.screenshot({ path: `${PICTURES}/history.png`, fullPage: true });
    const hosts = new Set(page.asked.map((url) => new URL(url).host).filter((host) => host !== ""));
    assert.deepEqual([...hosts], [`127.0.0.1:${gateway.admin}`]);
  });

  test("a gateway that has gone is told of, and one that is back is followed again", async () => {
    const [, serve] = gateway.processes;
    const gone = new Promise((resolve) => { serve.once("exit", resolve); });
    serve.kill("SIGKILL");
    await gone;
    await page.locator("#state", { hasText: "connection lost" }).waitFor();
    // That is the first thing on the page, and nothing looks like the state of now.
    const first = page.locator("#attention li").first();
    assert.match(await first.innerText(), /No data since \d\d:\d\d:\d\d: the gateway does not answer/);
    assert.equal(await page.getByText("Nothing needs attention").isVisible(), false);
    assert.match(await page.locator("#attention-box").getAttribute("class"), /is-bad/);
    assert.equal(await page.title(), "Sluice: connection lost");
    const age = () => page.locator("#now-title").evaluate((it) => getComputedStyle(it, "::after").content);
    assert.match(await age(), /as of \d\d:\d\d:\d\d/);
    assert.deepEqual(await page.evaluate(poorContrast), []);
    await page.screenshot({ path: `${PICTURES}/lost.png`, fullPage: true });
    const env = { PATH: process.env.PATH, SIMULATOR_SECRET: "simulator-secret-key", AWS_EC2_METADATA_DISABLED: "true" };
    const config = join(gateway.folder, "config.toml");
    gateway.processes.push(spawn(SLUICE, ["serve", "--config", config], { env, stdio: "ignore" }));
    await page.locator("#state", { hasText: "ready" }).waitFor();
    await page.getByText("Nothing needs attention").waitFor();
    assert.equal(await page.title(), "Sluice");
    assert.doesNotMatch(await age(), /as of/);
    // The browser logs each connection that it could not open.
    page.said = page.said.filter((text) => !text.includes("net::ERR_"));
  });
});

describe("a page whose gateway tells of", () => {
  let gateway;
  let page;
  before(async () => { gateway = await Fixture.start(); });
  after(() => gateway.stop());
  afterEach(async () => {
    await page.context().close();
    assert.deepEqual(page.said, []);
  });

  const real = async () => (await fetch(`http://127.0.0.1:${gateway.admin}/admin/status`)).json();
  const today = () => new Date().toISOString().slice(0, 10);

  test("nothing wrong is calm", async () => {
    page = await openWith(gateway, [await real()]);
    await page.getByText("Nothing needs attention").waitFor();
    assert.equal(await page.locator("#attention").isVisible(), false);
  });

  test("trouble says first what is wrong, since when, and for which request", async () => {
    const status = await real();
    const out = { reason: "throttled", message: "ThrottlingException: Too many tokens", since: new Date().toISOString(), until: new Date().toISOString(), request_id: "25e27cb5-333a" };
    Object.assign(status.targets[0], { state: "cooling", cooldown_remaining: 41.2, out });
    Object.assign(status.targets[1], { retires_on: today(), replaced_by: "a-newer-model" });
    status.config.refused = { at: Date.now() / 1000, message: "unknown key 'cooldwn'" };
    status.dependencies = [{ name: "redis", up: false }];
    status.budgets = [{ client: "team-a", period: "daily", spent_usd: 8.7, limit_usd: 10, used: 0.87, resets: 0 }];
    status.queue = { waiting: 95, max_waiting: 100, oldest_wait_ms: 3200 };
    page = await openWith(gateway, [status], { permissions: ["clipboard-read", "clipboard-write"] });
    const items = page.locator("#attention li");
    await items.first().waitFor();
    const texts = await items.allInnerTexts();
    const wanted = [/config.*unknown key 'cooldwn'/s, /redis is down/, /t0 cooling for 42 s: throttled: ThrottlingException.*since.*tried again.*request 25e27cb5-333a/s,
      /queue is nearly full: 95 of 100 wait.*3\.2 s/s, /t1 .* is retired since .*; a-newer-model answers in its place/s, /team-a daily budget 87\.0 % used: 8\.70 of 10\.00 USD/];
    for (const one of wanted) assert.ok(texts.some((text) => one.test(text)), `${one}: ${texts.join("\n")}`);
    await page.getByRole("button", { name: "Copy request id 25e27cb5-333a" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "25e27cb5-333a");
  });

  test("many of a kind shares a line, so that every kind is seen", async () => {
    const status = await real();
    const out = { reason: "throttled", message: "ThrottlingException: Too many tokens", since: new Date().toISOString() };
    const target = (name, more) => ({ ...status.targets[0], name, retires_on: undefined, ...more });
    status.targets = [
      ...Array.from({ length: 12 }, (_, n) => target(`c${n}`, { state: "cooling", cooldown_remaining: 14394, out })),
      target("d0", { state: "drained" }),
      target("r0", { retires_on: today(), replaced_by: "a-newer-model" }),
    ];
    status.budgets = Array.from({ length: 20 }, (_, n) => ({ client: `team-${n}`, period: "daily", spent_usd: 10, limit_usd: 10, used: 1, resets: 0 }));
    status.budgets_left_out = { used_up: 5, nearly_used_up: 2 };
    page = await openWith(gateway, [status]);
    const items = page.locator("#attention li");
    await items.first().waitFor();
    const texts = await items.allInnerTexts();
    const wanted = [/12 targets cooling: c0, c1, c2, c3, c4 and 7 more/, /25 budgets used up: team-0, team-1, team-2, team-3, team-4 and 20 more/, /d0 drained/, /r0 .* is retired since/];
    for (const one of wanted) assert.ok(texts.some((text) => one.test(text)), `${one}: ${texts.join("\n")}`);
    assert.equal(texts.length, wanted.length, texts.join("\n"));
    // Hours are not counted in seconds.
    assert.equal(await state(page, "c0").innerText(), "cooling 4 h");
  });

  test("several APIs shows what each was used for, and the API of a failed operation", async () => {
    const status = await real();
    const usage = (api, requests, failed) => ({ api, requests, failed, client_errors: 0, input: 5, output: 6, cache_read: 0, cache_write: 0, cost_usd: 0.5 });
    const failure = (api, operation) => ({ api, operation, outcome: "throttled", status: 429, client: operation, requested_model: "m", attempts: [] });
    status.api_usage = [usage("bedrock", 7, 0), usage("messages", 3, 1)];
    status.failures = [failure("messages", "CreateMessage"), failure("bedrock", "Converse")];
    page = await openWith(gateway, [status]);
    await page.locator("#apis tr", { hasText: "Messages" }).waitFor();
    assert.deepEqual(await page.locator("#apis tr").allInnerTexts().then((rows) => rows.map((text) => text.split(/\s+/).slice(0, 3).join(" "))), ["Bedrock 7 0", "Messages 3 1"]);
    assert.match(await page.locator("#failures tr").first().innerText(), /Messages: CreateMessage/);
    assert.doesNotMatch(await page.locator("#failures tr").last().innerText(), /Bedrock: /);
  });

  test("native operations alone shows no list of APIs", async () => {
    const status = await real();
    status.api_usage = [{ api: "bedrock", requests: 7 }, { api: "other", requests: 1 }];
    page = await openWith(gateway, [status]);
    await page.locator("#state", { hasText: "ready" }).waitFor();
    assert.equal(await page.locator("#apis-section").isVisible(), false);
  });

  test("a shared queue counts it once", async () => {
    const status = await real();
    const [first, second] = status.targets;
    Object.assign(first, { waiters: 64 });
    Object.assign(second, { waiters: 64, state: "drained", shares_queue_of: first.name });
    page = await openWith(gateway, [status]);
    const waiting = (target) => row(page, target.name).locator('[data-column="Waiting"]');
    await waiting(first).filter({ hasText: /^64$/ }).waitFor();
    assert.equal(await waiting(second).innerText(), `with ${first.name}`);
  });

  test("nothing yet can be pointed at and left", async () => {
    const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
    await context.route("**/admin/events", () => {});
    page = await context.newPage();
    listen(page);
    await page.goto(gateway.url);
    const plot = page.getByRole("slider", { name: "Requests, a minute" });
    await plot.hover();
    await page.mouse.move(2, 2);
    await plot.focus();
    await page.keyboard.press("Home");
    await plot.blur();
  });

  test("nothing after a while is silence, and says so", async () => {
    const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
    await context.clock.install();
    await context.route("**/admin/events", () => {});
    page = await context.newPage();
    listen(page);
    await page.goto(gateway.url);
    await context.clock.runFor(11 * SECOND);
    await page.locator("#attention li", { hasText: "No data yet: the gateway does not answer" }).waitFor();
    await page.locator("#attention li", { hasText: "no event came for 10 s" }).waitFor();
  });

  test("something that a proxy puts in its place is not the gateway", async () => {
    const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
    await context.route("**/admin/events", (route) => route.fulfill({ status: 502, contentType: "text/html", body: "<h1>Bad gateway</h1>" }));
    page = await context.newPage();
    listen(page);
    await page.goto(gateway.url);
    await page.locator("#attention li", { hasText: "No data yet: the answer is HTTP 502" }).waitFor();
    page.said = page.said.filter((text) => !text.includes("502"));
  });

  test("an hour has axes, and values at the pointer and by keyboard", async () => {
    const status = await real();
    const step = (requests, waiting) => ({ requests, failed: 0, fallbacks: 0, throttles: 0, waiting, oldest_wait_ms: 0, cost_usd: 0, answered: requests, first_choice: requests / 2 });
    status.history = { seconds: 10, steps: Array.from({ length: 360 }, (_, n) => step(Math.floor(n / 6), n === 0 ? 9 : 0)), clients: [{ name: "team-a", requests: Array.from({ length: 360 }, () => 4) }] };
    status.totals = { ...status.totals, answered: 100, first_choice: 72 };
    page = await openWith(gateway, [status]);
    const plot = page.getByRole("slider", { name: "Requests, a minute" });
    // 59 in each of the last six steps.
    await plot.and(page.locator('[aria-valuetext^="now: all 354"]')).waitFor();
    assert.match(await page.locator("#figure-requests .tick").allTextContents().then((all) => all.join(" ")), /^0 200 400 \d\d:\d\d \d\d:\d\d now$/);
    // No axis is so short that its values look alike.
    assert.match(await page.locator("#figure-wait .tick").allTextContents().then((all) => all.join(" ")), /^0 ms 500 ms 1\.0 s /);
    assert.match(await page.locator("#figure-cost .tick").allTextContents().then((all) => all.join(" ")), /^0\.00 0\.005 0\.01 /);
    await plot.focus();
    await page.keyboard.press("Home");
    assert.match(await plot.getAttribute("aria-valuetext"), /^\d\d:\d\d: all 0, failed 0/);
    await page.keyboard.press("ArrowRight");
    assert.match(await page.locator("#figure-requests .legend").innerText(), /all 6/);
    await page.keyboard.press("Escape");
    const box = await plot.boundingBox();
    await page.mouse.move(box.x + box.width - 12, box.y + 40);
    assert.match(await page.locator("#figure-requests .legend").innerText(), /^\d\d:\d\d\s+all 354/);
    assert.match(await page.locator("#figure-queue .peak").innerText(), /peak 9/);
    assert.match(await page.locator("#figure-clients .legend").innerText(), /team-a 24/);
    assert.equal(await page.locator("#first-choice").innerText(), "50.0 %");
    assert.equal(await page.locator("#first-choice-all").innerText(), "72.0 % since the start");
  });

  for (const [what, event] of [
    ["less, as an older one does,", { now: 5, state: "ready", targets: [{ name: "a" }], clients: [{ name: "b" }], failures: [{}], history: { steps: [{}] } }],
    ["something else", { now: "x", state: 4, targets: "no", queue: 5, clients: { a: 1 }, failures: [1, { attempts: 5 }], history: { seconds: "a", steps: 3 }, config: [], dependencies: 7, budgets: null, totals: 3 }],
    ["no object", [null]],
  ]) {
    test(`${what} is shown as far as it goes`, async () => {
      page = await openWith(gateway, [event, { state: "ready" }]);
      await page.locator("#state", { hasText: "ready" }).waitFor();
      for (const heading of ["Needs attention", "Now", "Targets", "The last hour", "Clients", "Requests without an answer"]) {
        await page.getByRole("heading", { name: heading, exact: true }).waitFor();
      }
      assert.equal(await page.locator("#broken").isVisible(), false, await page.locator("#broken").innerText());
    });
  }

  test("names with markup is text", async () => {
    const status = await real();
    const markup = '<img src=x onerror="document.title=1">';
    Object.assign(status.targets[0], { name: markup, model: markup, state: markup });
    status.clients = [{ name: markup, budgets: [{ period: markup }] }];
    status.failures = [{ outcome: markup, message: markup, client: markup, request_id: markup, attempts: [{ target: markup }] }];
    status.dependencies = [{ name: markup, up: false, message: markup }];
    page = await openWith(gateway, [status]);
    await page.locator("#failures", { hasText: "<img" }).waitFor();
    assert.equal(await page.locator("img").count(), 0);
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
    await close(page, (text) => text.includes("401"));
  } finally {
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
    await close(page, (text) => text.includes("403"));
  } finally {
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
      await page.getByRole("searchbox").fill("t19");
      assert.equal(await page.locator("#targets tr:visible").count(), 11);
      await gateway.fault(0, "throttle", 1);
      await gateway.ask();
      await gateway.fault(1, "validation", 1);
      await gateway.ask(1);
      await page.getByRole("searchbox").fill("cooling");
      await page.locator("#targets tr:visible", { hasText: "t0" }).waitFor({ timeout: 1.5 * SECOND });
      assert.equal(await page.locator("#targets tr:visible").count(), 1);
      assert.equal(await page.locator("#summary").innerText(), "1 of 200 not available");
      await page.locator("#failures tr", { hasText: "client_error" }).waitFor();
      await hasNoSidewaysScroll(page, 390);
      // What a card shows has its name beside it, and its buttons are in sight.
      const card = row(page, "t0");
      assert.match(await card.locator("td").nth(3).evaluate((it) => getComputedStyle(it, "::before").content), /In flight/);
      const button = await card.getByRole("button", { name: "Reset" }).boundingBox();
      assert.ok(button.x >= 0 && button.x + button.width <= 390, JSON.stringify(button));
      await page.screenshot({ path: `${PICTURES}/phone-200-targets-${colorScheme}.png` });
      await page.setViewportSize({ width: 320, height: 700 });
      await hasNoSidewaysScroll(page, 320);
      await close(page);
    } finally {
      await gateway.stop();
    }
  });

  test(`every text has enough contrast, ${colorScheme}`, async () => {
    const gateway = await Fixture.start();
    let page;
    try {
      page = await gateway.open({ colorScheme });
      const poor = await page.evaluate(poorContrast);
      assert.deepEqual(poor, []);
      await close(page);
    } finally {
      await gateway.stop();
    }
  });
}

// For people who review a change: CONTRIBUTING.md names the folder.
test("pictures of the page and of sluice top are kept", async () => {
  const gateway = await Fixture.start({ targets: 4 });
  let page;
  try {
    page = await gateway.open();
    await gateway.fault(0, "throttle", 1);
    await gateway.ask();
    await fetch(`http://127.0.0.1:${gateway.admin}/admin/targets/t3/drain`, { method: "POST" });
    await gateway.fault(1, "validation", 1);
    await gateway.ask(1);
    for (let times = 0; times < 3; times += 1) {
      await gateway.fault(2, "throttle", 1);
      await gateway.ask(2);
    }
    await page.locator("#rate", { hasText: /[1-9]/ }).waitFor({ timeout: 12 * SECOND });
    for (const [name, width, height] of [["desktop", 1360, 900], ["phone", 390, 844]]) {
      for (const colorScheme of ["light", "dark"]) {
        await page.setViewportSize({ width, height });
        await page.emulateMedia({ colorScheme });
        // The plots follow the width in the next frame.
        await page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));
        await page.screenshot({ path: `${PICTURES}/${name}-${colorScheme}.png`, fullPage: true });
      }
    }
    const screen = await run(SLUICE, ["top", "--once", "--url", `http://127.0.0.1:${gateway.admin}`]);
    await writeFile(`${PICTURES}/top.txt`, screen);
    for (const part of [/t0 +cooling/, /t3 +drained/, /\dx .*throttled/]) assert.match(screen, part);
    await close(page);
  } finally {
    await gateway.stop();
  }
});

// What a command prints.
function run(command, parameters) {
  return new Promise((resolve, reject) => {
    execFile(command, parameters, (error, stdout, stderr) => { if (error) reject(new Error(stderr)); else resolve(stdout); });
  });
}

async function hasNoSidewaysScroll(page, width) {
  const wide = await page.evaluate((most) => {
    const isWide = (it) => it.getClientRects().length > 0 && it.getBoundingClientRect().right > most + 0.5 && !it.closest(".unseen, thead, svg");
    return [document.documentElement.scrollWidth, ...[...document.querySelectorAll("main *, header *")].filter(isWide).map((it) => it.outerHTML.slice(0, 80))];
  }, width);
  assert.deepEqual(wide, [width]);
}

// In the page: the texts with a contrast below 4.5 to 1, as WCAG 2 counts it.
function poorContrast() {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = channels(color).map((value) => { const part = value / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const color = getComputedStyle(it).backgroundColor;
      if (channels(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "");
    if (!hasText || element.getClientRects().length === 0 || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(element.namespaceURI.endsWith("svg") ? style.fill : style.color), light(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.push(`${element.textContent.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}
