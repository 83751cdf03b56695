// A conversation over InvokeModelWithBidirectionalStream by @aws-sdk/client-bedrock-runtime:
// {endpoint, model, access_key_id, secret_access_key, says: [...], gives_up} as JSON on stdin; on stdout a line for each event that
// comes back, and at last {"end": true} or {"error": name, "message": ...}. Each thing is said when
// the one before was answered, so both ways are open at once.

import {
  BedrockRuntimeClient,
  InvokeModelWithBidirectionalStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";
import { text } from "node:stream/consumers";

const job = JSON.parse(await text(process.stdin));
const client = new BedrockRuntimeClient({
  endpoint: job.endpoint,
  region: "us-east-1",
  credentials: { accessKeyId: job.access_key_id, secretAccessKey: job.secret_access_key },
  maxAttempts: 1,
});

let answered = () => {};
async function* conversation() {
  for (const said of job.says) {
    const answer = new Promise((resolve) => (answered = resolve));
    yield { chunk: { bytes: new TextEncoder().encode(JSON.stringify({ say: said })) } };
    await answer;
  }
  if (job.gives_up) {
    process.exit(0);
  }
}

const show = (line) => console.log(JSON.stringify(line));
try {
  const answer = await client.send(
    new InvokeModelWithBidirectionalStreamCommand({ modelId: job.model, body: conversation() }),
  );
  for await (const event of answer.body) {
    show(JSON.parse(new TextDecoder().decode(event.chunk.bytes)));
    answered();
  }
  show({ end: true });
} catch (error) {
  show({ error: error.name, message: error.message, status: error.$metadata?.httpStatusCode });
}
process.exit(0);
