// Tells what the decoder of an SDK for JavaScript reads in streams: a line of JSON on stdin has the `chunks` of one in
// hexadecimal digits, a line on stdout its `events` and what was `raised`. The argument is the SDK's module.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { _iterSSEMessages } = await import(pathToFileURL(process.argv[2]));

for await (const line of createInterface({ input: process.stdin })) {
  const { chunks } = JSON.parse(line);
  const body = new ReadableStream({
    start(controller) {
      chunks.forEach((chunk) => controller.enqueue(new Uint8Array(Buffer.from(chunk, "hex"))));
      controller.close();
    },
  });
  const events = [];
  let raised = null;
  try {
    for await (const { event, data } of _iterSSEMessages({ body }, new AbortController())) {
      events.push([event || null, data]);
    }
  } catch (error) {
    raised = error.name;
  }
  console.log(JSON.stringify({ events, raised }));
}
