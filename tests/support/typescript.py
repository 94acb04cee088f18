"""TypeScript declarations of what goes over the wire, from its JSON Schemas.

`python tests/support/typescript.py > clients/javascript/events.d.ts` writes them anew.
"""

from __future__ import annotations

import json
from typing import Any

from realtime_ser.core.interface import client_schema
from realtime_ser.core.wire import json_schema

_HEAD = "// Generated from the server's own types by tests/support/typescript.py; do not edit.\n"


def declarations() -> str:
    """All of `clients/javascript/events.d.ts`."""
    events = json_schema()["$defs"]
    update = client_schema()["$defs"]["session.update"]["properties"]
    settings = {name: schema for name, schema in update.items() if name != "type"}
    parts = [_HEAD]
    parts += [_interface(_class_name(name), schema) for name, schema in events.items()]
    union = "".join(f"\n  | {_class_name(name)}" for name in events)
    parts.append(f"export type ServerEvent ={union};\n")
    by_type = "".join(f'  "{name}": {_class_name(name)};\n' for name in events)
    parts.append(f"export interface EventsByType {{\n{by_type}}}\n")
    lines = "".join(
        f"  /** {schema['description']} */\n  {name}?: {_type(schema)};\n"
        for name, schema in settings.items()
    )
    what = "/** What a client may set for its own session. */"
    parts.append(f"{what}\nexport interface Settings {{\n{lines}}}\n")
    return "\n".join(parts)


def _class_name(event_type: str) -> str:
    return "".join(word.capitalize() for word in event_type.replace(".", "_").split("_"))


def _interface(name: str, schema: dict[str, Any]) -> str:
    fields = "".join(
        f"  {field}: {_type(of, '  ')};\n" for field, of in schema["properties"].items()
    )
    return f"/** {schema['description']} */\nexport interface {name} {{\n{fields}}}\n"


def _type(schema: dict[str, Any], indent: str = "") -> str:
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_type(option, indent) for option in schema["anyOf"])
    match schema.get("type"):
        case "array":
            return f"Array<{_type(schema['items'], indent)}>"
        case "object" if "properties" in schema:
            inner = indent + "  "
            fields = "".join(
                f"{inner}{name}: {_type(of, inner)};\n" for name, of in schema["properties"].items()
            )
            return f"{{\n{fields}{indent}}}"
        case "object":
            return f"Record<string, {_type(schema['additionalProperties'], indent)}>"
        case "number" | "integer":
            return "number"
        case "string" | "boolean" | "null" as plain:
            return str(plain)
    return "unknown"


if __name__ == "__main__":
    print(declarations(), end="")
