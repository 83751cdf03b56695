// What the JavaScript clients of translations share: their job, and the report of what they did. Both
// are those of job.py.

import { text } from "node:stream/consumers";

export const job = JSON.parse(await text(process.stdin));

export const NAMES = ["weather", "clock"];
export const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
export const DOT =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

// Runs pairs of a case and the families that it is for. All that fail are shown.
export async function run(cases) {
  const done = [];
  const failed = [];
  for (const [work, families] of cases) {
    for (const family of families.split(" ")) {
      const name = `${work.name} ${family}`;
      try {
        await work(job.models[family]);
        done.push(name);
      } catch (error) {
        failed.push(name);
        console.error(`${name}: ${error.stack}`);
      }
    }
  }
  // Ends the process, and with it connections that an SDK keeps, once all is written.
  process.stdout.write(JSON.stringify(done), () => process.exit(failed.length > 0 ? 1 : 0));
}
