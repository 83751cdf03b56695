// Makes calls with the SDKs of OpenAI and Anthropic: a job as JSON on stdin, one JSON line per answer
// on stdout. The job and the answers are described in tests/gateway/support/api_clients.rs. The SDKs'
// own retries are off, so that it is the gateway that is tested.

import { text } from "node:stream/consumers";

const CLIENTS = {
  openai: ["openai", "OpenAI"],
  bedrock_openai: ["openai", "BedrockOpenAI"],
  anthropic: ["@anthropic-ai/sdk", "Anthropic"],
  anthropic_bedrock_mantle: ["@anthropic-ai/bedrock-sdk", "AnthropicBedrockMantle"],
  anthropic_bedrock: ["@anthropic-ai/bedrock-sdk", "AnthropicBedrock"],
};
const FINAL = ["finalChatCompletion", "finalResponse", "finalMessage"];

const job = JSON.parse(await text(process.stdin));
const [sdk, name] = CLIENTS[job.sdk];
const client = new (await import(sdk))[name](options());
const answers = [];
for (const call of job.calls) answers.push(await run(call));
const lines = answers.map((answer) => JSON.stringify(answer) + "\n").join("");
// Ends the process, and with it connections that an SDK keeps, once all is written.
process.stdout.write(lines, () => process.exit(0));

function options() {
  return {
    baseURL: job.base_url,
    defaultHeaders: job.headers,
    maxRetries: 0,
    timeout: job.timeout_s * 1000,
    ...(job.sdk.includes("bedrock") && { awsRegion: job.region }),
    ...(job.api_key !== null && { apiKey: job.api_key }),
    ...(job.api_key === null && {
      awsAccessKey: job.access_key_id,
      // The two clients of Anthropic's call it by different names.
      [job.sdk === "anthropic_bedrock" ? "awsSecretKey" : "awsSecretAccessKey"]:
        job.secret_access_key,
    }),
  };
}

// The value with texts such as `$0.id` replaced by that member of the first answer.
function filled(value) {
  if (Array.isArray(value)) return value.map(filled);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, it]) => [key, filled(it)]));
  }
  if (typeof value !== "string" || !value.startsWith("$")) return value;
  const [index, ...path] = value.slice(1).split(".");
  // An index may count from the end.
  const member = (found, step) => (Array.isArray(found) ? found.at(Number(step)) : found[step]);
  return path.reduce(member, answers[Number(index)].body);
}

async function run(unfilled) {
  const answer = { status: null, headers: {}, body: null, events: [], error: null };
  let inStream = false;
  try {
    const call = filled(unfilled);
    const path = call.method.split(".");
    const method = path.pop();
    const resource = path.reduce((found, step) => found[step], client);
    // The JavaScript SDKs take parameters as one object, after what stands in the path.
    const hasParameters = Object.keys(call.parameters).length > 0;
    const inputs = [...call.arguments, ...(hasParameters ? [call.parameters] : [])];
    if (method === "stream") {
      // A helper of the SDK's, which puts the events together.
      const stream = resource.stream(...inputs);
      inStream = true;
      for await (const event of stream) answer.events.push(event);
      answer.body = plain(await stream[FINAL.find((name) => name in stream)]());
      return answer;
    }
    const { data, response } = await resource[method](...inputs).withResponse();
    keepHead(answer, response.status, response.headers);
    if (call.parameters.stream) {
      inStream = true;
      for await (const event of data) {
        answer.events.push(event);
        if (call.abandon_after === answer.events.length) break;
      }
    } else {
      answer.body = plain(data);
    }
  } catch (error) {
    if (!inStream) keepHead(answer, error.status ?? null, error.headers ?? new Headers());
    answer.error = {
      class: error.constructor.name,
      status: error.status ?? null,
      type: error.type ?? null,
      code: error.code ?? null,
      param: error.param ?? null,
      body: error.error ?? null,
      request_id: error.requestID ?? null,
      message: String(error.message),
      in_stream: inStream,
    };
  }
  return answer;
}

function keepHead(answer, status, headers) {
  answer.status = status;
  answer.headers = Object.fromEntries(headers.entries());
}

// A page of a list also refers to its client, which is no JSON; its items and cursors are.
function plain(value) {
  if (!value?.getPaginatedItems) return value ?? null;
  const { client, options, response, body, ...rest } = value;
  return rest;
}
