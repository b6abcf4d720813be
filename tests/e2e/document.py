"""Writes configuration files as people write them: block YAML."""

import json
import re

PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*|[0-9]+(ms|s|m|h|MiB|KiB)")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def scalar(value):
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def lines_of(value, indent):
    pad = "  " * indent
    if isinstance(value, dict):
        for key, inner in value.items():
            if inner is None:
                continue
            if isinstance(inner, (dict, list)) and inner:
                yield f"{pad}{scalar(key)}:"
                yield from lines_of(inner, indent + 1)
            else:
                yield f"{pad}{scalar(key)}: {empty_or_scalar(inner)}"
    else:
        for inner in value:
            if isinstance(inner, (dict, list)) and inner:
                block = list(lines_of(inner, indent + 1))
                yield f"{pad}- {block[0].lstrip()}"
                yield from block[1:]
            else:
                yield f"{pad}- {empty_or_scalar(inner)}"


def empty_or_scalar(value):
    if value == {} and isinstance(value, dict):
        return "{}"
    if value == [] and isinstance(value, list):
        return "[]"
    return scalar(value)


def yaml(value):
    return "\n".join(lines_of(value, 0)) + "\n"
