// Anthropic's JavaScript SDK as its users write it, on models without Messages.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import { CITY, DOT, NAMES, job, run } from "./job.mjs";

const client = new Anthropic({ baseURL: job.base_url, apiKey: job.api_key, maxRetries: 0 });
const tools = NAMES.map((name) => ({ name, description: name, input_schema: CITY }));
const Report = z.object({ city: z.string(), sky: z.enum(["clear", "cloudy"]), degrees: z.number() });

// The results of parallel calls, after a look at their inputs.
function results(answer) {
  assert.equal(answer.stop_reason, "tool_use");
  const calls = answer.content.filter((block) => block.type === "tool_use");
  assert.deepEqual(calls.map((call) => call.name), NAMES);
  return calls.map(({ id, input }) => {
    assert.equal(typeof input.city, "string");
    return { type: "tool_result", tool_use_id: id, content: "fine" };
  });
}

// Three turns, each with two calls; whole answers, or those that the helper puts together.
async function turns(model, ask, more = {}) {
  const messages = [];
  const answers = [];
  for (let turn = 0; turn < 3; turn += 1) {
    messages.push({ role: "user", content: `Turn ${turn} sim:tool_calls=2` });
    const asked = { model, max_tokens: 4000, system: "Be brief.", messages, tools, ...more };
    const first = await ask(asked);
    messages.push({ role: "assistant", content: first.content });
    messages.push({ role: "user", content: results(first) });
    const last = await ask(asked);
    assert.equal(last.stop_reason, "end_turn");
    assert.ok(last.content.at(-1).text);
    assert.ok(last.usage.input_tokens > 0 && last.usage.output_tokens > 0);
    messages.push({ role: "assistant", content: last.content });
    answers.push(first, last);
  }
  return answers;
}

const whole = (asked) => client.messages.create(asked);

async function streamed(asked) {
  const stream = client.messages.stream(asked);
  let text = "";
  stream.on("text", (delta) => (text += delta));
  const final = await stream.finalMessage();
  const texts = final.content.filter((block) => block.type === "text");
  assert.equal(texts.map((block) => block.text).join(""), text);
  return final;
}

async function tool_loop(model) {
  await turns(model, whole);
}

async function streamed_tool_loop(model) {
  await turns(model, streamed);
}

// Thoughts go back as they came, whole and from streams.
async function thinking(model) {
  const more = { thinking: { type: "enabled", budget_tokens: 2000 } };
  for (const ask of [whole, streamed]) {
    const content = (await turns(model, ask, more)).flatMap((answer) => answer.content);
    const thoughts = content.filter((block) => block.type === "thinking");
    assert.ok(thoughts.length >= 3 && thoughts.every((block) => block.signature));
  }
}

async function image(model) {
  const source = { type: "base64", media_type: "image/png", data: DOT };
  const content = [{ type: "image", source }, { type: "text", text: "What is it?" }];
  const answer = await whole({ model, max_tokens: 100, messages: [{ role: "user", content }] });
  assert.match(answer.content.at(-1).text, /What is it/);
}

async function parsed(model) {
  const messages = [{ role: "user", content: "Rome" }];
  const output_config = { format: zodOutputFormat(Report) };
  const answer = await client.messages.parse({ model, max_tokens: 1000, messages, output_config });
  Report.parse(answer.parsed_output);
  assert.equal(answer.stop_reason, "end_turn");
}

async function errors(model) {
  const messages = [{ role: "user", content: "one two three four five" }];
  await assert.rejects(whole({ model, max_tokens: 0, messages }), (error) => {
    assert.ok(error instanceof Anthropic.BadRequestError);
    assert.equal(error.error.error.type, "invalid_request_error");
    return true;
  });
  for (const stream of [false, true]) {
    const asked = { model: job.models.throttled, max_tokens: 100, messages, stream };
    await assert.rejects(whole(asked), Anthropic.RateLimitError);
  }
  const asked = { model: job.models.breaking, max_tokens: 100, messages };
  await assert.rejects(streamed(asked), Anthropic.AnthropicError);
}

await run([
  [tool_loop, "nova nova2 gpt oss"],
  [streamed_tool_loop, "nova nova2 gpt oss"],
  [thinking, "invoked"],
  [image, "nova gpt"],
  [parsed, "nova gpt"],
  [errors, "nova"],
]);
