// OpenAI's JavaScript SDK as its users write it, on models that know only Converse.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { CITY, DOT, NAMES, job, run } from "./job.mjs";

const client = new OpenAI({ baseURL: job.base_url, apiKey: job.api_key, maxRetries: 0 });
const tools = NAMES.map((name) => ({ type: "function", function: { name, parameters: CITY } }));
const functions = NAMES.map((name) => ({ type: "function", name, parameters: CITY, strict: false }));
const Report = z.object({ city: z.string(), sky: z.enum(["clear", "cloudy"]), degrees: z.number() });

// GPT itself takes no functions in Chat Completions while it reasons.
const unreasoned = (model) => (model === job.models.gpt ? { reasoning_effort: "none" } : {});

// The results of parallel calls, after a look at their arguments.
function answered(calls) {
  assert.deepEqual(calls.map((call) => call.function.name), NAMES);
  return calls.map((call) => {
    assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
    return { role: "tool", tool_call_id: call.id, content: "fine" };
  });
}

async function tool_loop(model, more = {}) {
  const messages = [{ role: "system", content: "Be brief." }];
  for (let turn = 0; turn < 3; turn += 1) {
    messages.push({ role: "user", content: `Turn ${turn} sim:tool_calls=2` });
    const asked = { model, messages, tools, ...unreasoned(model), ...more };
    const first = (await client.chat.completions.create(asked)).choices[0];
    assert.equal(first.finish_reason, "tool_calls");
    messages.push(first.message, ...answered(first.message.tool_calls));
    const last = (await client.chat.completions.create(asked)).choices[0];
    assert.equal(last.finish_reason, "stop");
    assert.ok(last.message.content);
    messages.push(last.message);
  }
  return messages;
}

async function thinking_loop(model) {
  const messages = await tool_loop(model, { reasoning_effort: "high" });
  const blocks = messages.flatMap((message) => message.thinking_blocks ?? []);
  assert.ok(blocks.length >= 3 && blocks.every((block) => block.signature));
}

async function streamed_tool_loop(model) {
  const messages = [];
  for (let turn = 0; turn < 3; turn += 1) {
    messages.push({ role: "user", content: `Turn ${turn} sim:tool_calls=2` });
    const asked = { model, messages, tools, ...unreasoned(model) };
    const first = await client.chat.completions.stream(asked).finalMessage();
    messages.push(first, ...answered(first.tool_calls));
    const stream = client.chat.completions.stream(asked);
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const last = await stream.finalMessage();
    assert.ok(text);
    assert.equal(last.content, text);
    messages.push({ role: "assistant", content: text });
  }
}

// The SDK's own loop: it calls the functions and sends their results.
async function run_tools(model) {
  const asked = [];
  const runnable = tools.map(({ function: { name, parameters } }) => ({
    type: "function",
    function: { name, parameters, parse: JSON.parse, function: ({ city }) => asked.push(city) && "fine" },
  }));
  const messages = [{ role: "user", content: "sim:tool_calls=2" }];
  const runner = client.chat.completions.runTools({
    model,
    messages,
    tools: runnable,
    stream: true,
    ...unreasoned(model),
  });
  assert.ok(await runner.finalContent());
  assert.equal(asked.length, 2);
}

async function image(model) {
  const image_url = { url: `data:image/png;base64,${DOT}` };
  const content = [{ type: "text", text: "What is it?" }, { type: "image_url", image_url }];
  const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content }] });
  assert.match(answer.choices[0].message.content, /What is it/);
}

async function parsed(model) {
  const messages = [{ role: "user", content: "Rome" }];
  const asked = { model, messages, response_format: zodResponseFormat(Report, "report") };
  const answer = await client.chat.completions.parse(asked);
  Report.parse(answer.choices[0].message.parsed);
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
  Report.parse(streamed.choices[0].message.parsed);
}

// The client keeps the state: it sends back each item that it got.
async function response_loop(model, more = {}) {
  const include = ["reasoning.encrypted_content"];
  const items = [];
  const thoughts = [];
  for (let turn = 0; turn < 3; turn += 1) {
    items.push({ role: "user", content: `Turn ${turn} sim:tool_calls=2` });
    const asked = { model, input: items, tools: functions, store: false, include, ...more };
    const first = await client.responses.create(asked);
    items.push(...first.output);
    thoughts.push(...first.output.filter((item) => item.type === "reasoning"));
    const calls = first.output.filter((item) => item.type === "function_call");
    assert.deepEqual(calls.map((call) => call.name), NAMES);
    for (const { call_id } of calls) {
      items.push({ type: "function_call_output", call_id, output: "fine" });
    }
    const last = await client.responses.stream(asked).finalResponse();
    assert.equal(last.status, "completed");
    assert.ok(last.output_text);
    items.push(...last.output.map(({ parsed, ...item }) => item));
  }
  return thoughts;
}

async function response_thinking_loop(model) {
  const thoughts = await response_loop(model, { reasoning: { effort: "high", summary: "auto" } });
  assert.ok(thoughts.length === 3 && thoughts.every((item) => item.encrypted_content));
}

// The server keeps the state: each request names the response before it.
async function kept_response_loop(model) {
  const asked = { model, tools: functions };
  const first = await client.responses.create({ ...asked, input: "One sim:tool_calls=2" });
  assert.equal(first.store, true);
  const calls = first.output.filter((item) => item.type === "function_call");
  assert.deepEqual(calls.map((call) => call.name), NAMES);
  const input = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "fine" }));
  const streamed = { ...asked, input, previous_response_id: first.id };
  const second = await client.responses.stream(streamed).finalResponse();
  assert.deepEqual([second.previous_response_id, second.store], [first.id, true]);
  const previous_response_id = second.id;
  const third = await client.responses.create({ ...asked, input: "Three", previous_response_id });
  assert.ok(third.output_text);

  const read = await client.responses.retrieve(third.id);
  assert.deepEqual(read.output, third.output);
  const kinds = [];
  for await (const item of client.responses.inputItems.list(third.id, { limit: 2, order: "asc" })) {
    if (item.type !== "reasoning") kinds.push(item.type);
  }
  const results = ["function_call_output", "function_call_output", "message", "message"];
  assert.deepEqual(kinds, ["message", "function_call", "function_call", ...results]);
  await assert.rejects(client.responses.cancel(third.id), OpenAI.BadRequestError);
  await client.responses.delete(third.id);
  await assert.rejects(client.responses.retrieve(third.id), OpenAI.NotFoundError);
}

async function response_parsed(model) {
  const text = { format: zodTextFormat(Report, "report") };
  const answer = await client.responses.parse({ model, input: "Rome", text, store: false });
  Report.parse(answer.output_parsed);
}

async function errors(model) {
  const messages = [{ role: "user", content: "Hello" }];
  await assert.rejects(client.chat.completions.create({ model, messages, n: 2 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "n");
    return true;
  });
  for (const stream of [false, true]) {
    const asked = { model: job.models.throttled, messages, stream };
    await assert.rejects(client.chat.completions.create(asked), OpenAI.RateLimitError);
  }
  const prompt = [{ role: "user", content: "one two three four five six seven" }];
  const broken = client.chat.completions.stream({ model: job.models.breaking, messages: prompt });
  await assert.rejects(broken.finalChatCompletion(), OpenAI.OpenAIError);
}

await run([
  [tool_loop, "claude nova nova2 gpt oss"],
  [streamed_tool_loop, "claude nova nova2 gpt oss"],
  [run_tools, "claude nova gpt"],
  [thinking_loop, "claude claude4"],
  [image, "claude nova gpt"],
  [parsed, "claude nova gpt"],
  [response_loop, "claude nova nova2 gpt"],
  [response_thinking_loop, "claude claude4 gpt"],
  ...(job.kept ?? []).map((families) => [kept_response_loop, families]),
  [response_parsed, "claude nova gpt"],
  [errors, "claude nova"],
]);
