"""OpenAI tools of functions: in each conversation with other names, descriptions, casing and optional parameters.

As Hammer does, a share of the names of tools and parameters is replaced by ones without meaning (arXiv 2410.04587), so
that the model has to read the descriptions.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

from mini import values
from mini.functions import Function, Param, without
from mini.values import Values

MASKED_TOOL, MASKED_PARAMS = 0.13, 0.12
LONG, SHORT, BARE = "long", "short", "bare"
TOLD_OPTIONS = 0.22  # share of the enumerations that only the description tells
GROUPED = 0.06  # share of tools with parameters inside of an object
_OPTIONS, _INPUTS = ("options", "settings", "config", "filters"), ("params", "input", "data", "details")
STYLES, STYLE_WEIGHTS = (LONG, SHORT, BARE), (50, 39, 11)
_NO_ARTICLE = set(
    "whether if near its no include whose is does everything everyone anything "
    "only up how what which who when where in on set true also for to from as at by of the a an "
    "ask keep give show use add any all each words".split()
)
_DEFAULTS = (
    "Default is {}.",
    "Defaults to {}.",
    "Optional, default {}.",
    "The default is {}.",
    "If omitted, {} is used.",
)


@dataclass
class Tool:
    """A function in one conversation, with its schema and the labels of its parameters by their names.

    A part of an object has the name "object.part". `groups` are parameters that the schema has inside of an object,
    each with the object's label.
    """

    function: Function
    schema: dict[str, Any]
    labels: dict[str, str]
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.schema["function"]["name"])

    @property
    def params(self) -> dict[str, Param]:
        """The function's parameters by name."""
        return {param.name: param for param in self.function.params}

    def arguments(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call under their labels, in the schema's order."""
        params = self.params
        arguments: dict[str, Any] = {}
        for name in (name for name in self.labels if name in drawn):
            place = arguments.setdefault(self.groups[name], {}) if name in self.groups else arguments
            place[self.labels[name]] = self._labelled(params[name], drawn[name])
        return arguments

    def _labelled(self, param: Param, value: Any) -> Any:
        if not param.parts:
            return value
        if isinstance(value, list):
            return [self._labelled(param, item) for item in value]
        return {self.labels[f"{param.name}.{name}"]: inner for name, inner in value.items()}


def words_of(name: str) -> list[str]:
    """The words of a name in any casing, in lower case."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return [part.lower() for part in re.split(r"[._\-]+", parts) if part]


def present(v: Values, function: Function, *, style: str = "") -> Tool:
    """A tool for one conversation."""
    rng = v.rng
    style = style or rng.choices(STYLES, STYLE_WEIGHTS)[0]
    optional = [param.name for param in function.params if not param.required]
    if optional and rng.random() < 0.3:
        function = without(function, set(rng.sample(optional, rng.randint(1, len(optional)))))
    is_masked, masks_params = rng.random() < MASKED_TOOL, rng.random() < MASKED_PARAMS
    name = masked_name(v) if is_masked else tool_name(rng, function)
    params = list(function.params)
    if rng.random() < 0.25:
        rng.shuffle(params)
    labels: dict[str, str] = {}
    camel = rng.random() < 0.18
    parameters = _object_schema(v, params, labels, style, camel=camel, masks=masks_params)
    groups = _group(v, params, labels, parameters) if rng.random() < GROUPED else {}
    schema: dict[str, Any] = {"name": name}
    if is_masked or style != BARE or rng.random() < 0.6:
        schema["description"] = function_text(v, function, style)
    schema["parameters"] = parameters
    return Tool(function, {"type": "function", "function": schema}, labels, groups)


def _object_schema(
    v: Values, params: list[Param], labels: dict[str, str], style: str, *, camel: bool, masks: bool, prefix: str = ""
) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for number, param in enumerate(params):
        hides = masks and bool(param.about)
        label = masked_label(v, number) if hides else v.rng.choice(param.names)
        if camel and not hides:
            label = camel_case(label)
        if label in properties:
            label = param.name if param.name not in properties else f"{param.name}_{number}"
        labels[prefix + param.name] = label
        properties[label] = _schema(v, param, labels, style, camel=camel, hides=hides, prefix=prefix)
        if param.required:
            required.append(label)
    return {"type": "object", "properties": properties, "required": required}


def _group(v: Values, params: list[Param], labels: dict[str, str], parameters: dict[str, Any]) -> dict[str, str]:
    """Move some parameters into an object of the schema: the optional ones, or the required ones."""
    wants_optional = v.rng.random() < 0.6
    moved = [param for param in params if param.required != wants_optional and not param.parts]
    group = v.rng.choice(_OPTIONS if wants_optional else _INPUTS)
    if len(moved) < 2 or group in parameters["properties"]:
        return {}
    inner = {labels[param.name]: parameters["properties"].pop(labels[param.name]) for param in moved}
    required = [label for label in parameters["required"] if label in inner]
    parameters["required"] = [label for label in parameters["required"] if label not in inner]
    about = v.rng.choice(["Optional settings", "More settings"] if wants_optional else ["The values", "Input"])
    parameters["properties"][group] = {
        "type": "object", "description": about, "properties": inner, "required": required,
    }  # fmt: skip
    if required:
        parameters["required"].append(group)
    return {param.name: group for param in moved}


def _schema(
    v: Values, param: Param, labels: dict[str, str], style: str, *, camel: bool, hides: bool, prefix: str
) -> dict[str, Any]:
    schema = dict(param.schema)
    if param.parts:
        inner = _object_schema(v, param.parts, labels, style, camel=camel, masks=False, prefix=f"{prefix}{param.name}.")
        schema = inner if schema["type"] == "object" else {"type": "array", "items": inner}
    in_schema = param.default is not None and v.rng.random() < 0.4
    text = param_text(v, param, style, hides=hides, tells_default=not in_schema)
    if v.rng.random() < TOLD_OPTIONS and (told := _options(v, param)):
        # As many libraries do: the description tells the values, the schema allows any text.
        text = f"{text.rstrip('.') or param.name.replace('_', ' ').capitalize()}{told}"
        schema = {"type": "string"} if "enum" in schema else {"type": "array", "items": {"type": "string"}}
    if in_schema:
        schema["default"] = param.default
    if param.hints == values.HINTS["iso_date"] and v.rng.random() < 0.2:
        schema["format"] = "date"
    return {**schema, "description": text} if text else schema


def _options(v: Values, param: Param) -> str:
    """The values of an enumeration, as a description tells them; "" if there is none of few texts."""
    enum = param.schema.get("enum") or param.schema.get("items", {}).get("enum") or []
    if not 1 < len(enum) <= 8 or not all(isinstance(item, str) for item in enum):
        return ""
    quoted = [f"'{item}'" for item in enum] if v.rng.random() < 0.5 else list(enum)
    either, slashed = values.in_words(quoted, "or"), "/".join(enum)
    forms = [
        f" ({either})", f" ({slashed})", f": {either}.", f". Options: {', '.join(quoted)}.", f". One of {either}.",
        f". It can be {either}.", f". Possible values are {values.in_words(quoted)}.",
    ]  # fmt: skip
    return v.rng.choice(forms)


# -- texts
def function_text(v: Values, function: Function, style: str) -> str:
    """A description of the function."""
    rng, about = v.rng, function.about
    if style == LONG:
        text = max(rng.sample(about, min(len(about), 2)), key=len)
        if function.origin == "demo" and len(about) > 1 and rng.random() < 0.25:
            text = ". ".join(rng.sample(about, 2))
        text = text.rstrip(".") + "."
        if function.result and rng.random() < 0.15:
            text += f" Returns the {values.in_words([key.replace('_', ' ') for key in function.result])}."
        return text
    text = about[-1] if rng.random() < 0.6 else rng.choice(about)
    return text.rstrip(".") if rng.random() < 0.5 else text


def param_text(v: Values, param: Param, style: str, *, hides: bool, tells_default: bool) -> str:
    """A description of a parameter, "" if it needs none. Formats and defaults are always told."""
    rng = v.rng
    base = rng.choice(param.about).rstrip(".") if param.about else ""
    # A bare rate is a decimal fraction; percent is always told.
    goes_without = param.hints == values.HINTS["fraction"] and rng.random() < 0.65
    hint = rng.choice(param.hints) if param.hints and not goes_without else ""
    has_default = param.default is not None and tells_default
    if not (hides or hint or has_default) and (style == BARE or rng.random() < 0.06):
        return ""
    if not base:
        base = param.name.replace("_", " ").capitalize()
    first = base.split(" ")[0]
    is_noun = first.lower() not in _NO_ARTICLE and first[1:] == first[1:].lower() and not first.endswith("'s")
    if style == LONG and is_noun and rng.random() < 0.6:
        base = f"The {base[:1].lower()}{base[1:]}"
    text = base
    if hint and not any(each in base for each in param.hints):
        text += rng.choice([f", {hint}", f" ({hint})", f", {hint}"])
    elif style == LONG and rng.random() < 0.25 and param.type in {"string", "number", "array"} and not param.parts:
        text += _example(v, param)
    ends = style == LONG or has_default or ". " in text
    if ends and not text.endswith("."):
        text += "."
    if has_default:
        text += " " + rng.choice(_DEFAULTS).format(json.dumps(param.default, ensure_ascii=False).strip('"'))
    elif style == LONG and not param.required and rng.random() < 0.12:
        text += " Optional."
    elif style == LONG and param.required and rng.random() < 0.08:
        text += " Required." if param.type != "array" or rng.random() < 0.5 else " Must not be empty."
    return text


def _example(v: Values, param: Param) -> str:
    """An example of a value, of which the user's is another."""
    if "enum" in param.schema:
        return f": {values.in_words(list(param.schema['enum']), 'or')}" if v.rng.random() < 0.5 else ""
    value = param.draw(v).value
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > 30:
        return ""
    quoted = text.replace('"', "'") if v.rng.random() < 0.7 else text.strip('"')
    return v.rng.choice([f", e.g. {quoted}", f" (e.g. {quoted})", f", for example {quoted}", f", such as {quoted}"])


# -- names
def tool_name(rng: random.Random, function: Function) -> str:
    """One of the function's names, in one of the usual casings."""
    name = rng.choice(function.names)
    words = words_of(name)
    roll = rng.random()
    if roll < 0.45 or function.origin == "made_up":
        return name
    if roll < 0.7:
        return "_".join(words)
    if roll < 0.82:
        return camel_case("_".join(words))
    if roll < 0.93 and len(words) > 1:
        return f"{words[0]}.{'_'.join(words[1:])}"
    if roll < 0.96:
        return "".join(word.capitalize() for word in words)
    return "-".join(words)


def camel_case(name: str) -> str:
    first, *rest = words_of(name)
    return first + "".join(word.capitalize() for word in rest)


def masked_name(v: Values) -> str:
    """A name without meaning."""
    rng = v.rng
    word, other = v.invented(), rng.choice([v.noun(), v.invented()])
    form = rng.choice(
        ["{0}", "{0}_{1}", "func_{0}", "tool_{2}", "f{2}", "{0}.{1}", "api.{0}", "{0}{2}", "call_{0}", "op_{2}"]
    )
    return form.format(word, other.replace(" ", "_"), rng.randrange(1, 100))


def masked_label(v: Values, number: int) -> str:
    """A parameter's name without meaning."""
    rng = v.rng
    return rng.choice([f"arg{number + 1}", f"param_{number + 1}", f"p{number}", v.invented(), v.invented(),
                       f"{v.noun().replace(' ', '_')}_{number}"])  # fmt: skip
