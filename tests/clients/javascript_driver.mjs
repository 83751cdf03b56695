// Makes calls with @aws-sdk/client-bedrock-runtime: a job as JSON on stdin, one JSON line per
// answer on stdout. The job and the answers are described in
// tests/gateway/support/clients/mod.rs. The SDK's own retries are off, so that it is the gateway
// that is tested. The SDK's default handler speaks HTTP/2; `http1` in the job takes the other one.

import * as sdk from "@aws-sdk/client-bedrock-runtime";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { Agent } from "node:http";
import { text } from "node:stream/consumers";

const STREAMS = { InvokeModelWithResponseStream: "body", ConverseStream: "stream" };

const job = JSON.parse(await text(process.stdin));
const client = new sdk.BedrockRuntimeClient({
  endpoint: job.endpoint,
  region: job.region,
  credentials: {
    accessKeyId: job.access_key_id,
    secretAccessKey: job.secret_access_key,
    sessionToken: job.session_token ?? undefined,
  },
  maxAttempts: 1,
  ...(job.http1 && {
    requestHandler: new NodeHttpHandler({
      httpAgent: new Agent({ keepAlive: true, maxSockets: job.concurrency }),
      requestTimeout: job.read_timeout_s * 1000,
    }),
  }),
});

client.middlewareStack.add(
  (next) => (args) => {
    Object.assign(args.request.headers, job.headers);
    return next(args);
  },
  { step: "build", name: "testHeaders" },
);

const answers = new Array(job.calls.length);
let next = 0;
await Promise.all(Array.from({ length: job.concurrency }, worker));
const lines = answers.map((answer) => JSON.stringify(answer) + "\n").join("");
// Ends the process, and with it connections that an SDK keeps, once all is written.
process.stdout.write(lines, () => process.exit(0));

async function worker() {
  while (next < job.calls.length) {
    const mine = next++;
    answers[mine] = await run(job.calls[mine]);
  }
}

async function run(call) {
  const answer = { status: null, headers: {}, body: null, events: [], error: null };
  const command = new sdk[call.operation + "Command"](parametersOf(call));
  command.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      keepHead(answer, result.response);
      return result;
    },
    { step: "deserialize", name: "testHead", priority: "low" },
  );
  const streaming = STREAMS[call.operation];
  let inStream = false;
  try {
    const output = await client.send(command);
    if (streaming) {
      inStream = true;
      await readEvents(output[streaming], call, answer);
    } else if (call.operation === "InvokeModel") {
      answer.body = new TextDecoder().decode(output.body);
    } else {
      const { $metadata, ...rest } = output;
      answer.body = JSON.stringify(rest);
    }
  } catch (error) {
    keepHead(answer, error.$response);
    answer.error = { name: error.name, message: String(error.message), in_stream: inStream };
  }
  return answer;
}

function keepHead(answer, response) {
  if (!response?.statusCode) return;
  answer.status = response.statusCode;
  const headers = Object.entries(response.headers).filter(([name]) => !name.startsWith(":"));
  answer.headers = Object.fromEntries(headers.map(([name, value]) => [name, String(value)]));
}

async function readEvents(stream, call, answer) {
  for await (const event of stream) {
    answer.events.push(
      event.chunk ? JSON.parse(new TextDecoder().decode(event.chunk.bytes)) : event,
    );
    if (call.abandon_after === answer.events.length) {
      client.destroy();
      return;
    }
  }
}

function parametersOf(call) {
  switch (call.operation) {
    case "InvokeModel":
    case "InvokeModelWithResponseStream":
      return { modelId: call.model, body: call.body, ...call.options };
    case "Converse":
    case "ConverseStream":
      return { modelId: call.model, ...JSON.parse(call.body) };
    case "CountTokens":
      return { modelId: call.model, input: { converse: JSON.parse(call.body) } };
    default:
      return JSON.parse(call.body);
  }
}
