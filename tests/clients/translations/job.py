"""What the Python clients of translations share: their job, and the report of what they did.

A job is JSON on stdin: `base_url`, `api_key` and `models`, ids by family. A client prints one JSON
list of the cases that went through, such as `["tool_loop claude"]`.
"""

import json
import sys
import traceback

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


def read():
    return json.load(sys.stdin)


def run(cases, models):
    """Runs pairs of a case and the families that it is for. All that fail are shown."""
    done = []
    failed = []
    for case, families in cases:
        for family in families.split():
            name = f"{case.__name__} {family}"
            try:
                case(models[family])
                done.append(name)
            except Exception:
                failed.append(name)
                print(f"{name}: {traceback.format_exc(limit=-4)}", file=sys.stderr)
    print(json.dumps(done))
    sys.exit(f"failed: {failed}" if failed else 0)
