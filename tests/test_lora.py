"""LoRA adapters as users have them: in Python, on the command line, in models.toml, in requests to a server."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

import edgefc
from edgefc import inspection
from edgefc.chat import dialect_file
from edgefc.engine.adapters import UsualAdapters
from edgefc.errors import AdapterError, FormatError, RequestError
from edgefc.evaluation.run import setting_of
from edgefc.model import needed_memory
from edgefc.models import inventory, registry
from edgefc.types import Message
from tests.lora_files import write_adapter
from tests.server.server_process import ServerProcess

PAGE = (Path(__file__).parents[1] / "docs" / "lora.md").read_text(encoding="utf-8")
QUESTION: list[Message] = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def folder(demo_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    write_adapter(demo_path, folder / "polite.gguf", seed=1, size=0.2)
    write_adapter(demo_path, folder / "short.gguf", seed=2, size=0.2)
    (folder / "demo.gguf").symlink_to(demo_path)
    return folder


@pytest.fixture
def own_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models.toml of the page."""
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(folder))
    text = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    path = folder / "models.toml"
    path.write_text(text + 'family = "demo"\n')
    return path


def texts(model: edgefc.Model, *choices: Any) -> list[tuple[Any, ...]]:
    """The tokens and their logprobs that these choices of adapters give."""
    replies = [model.chat(QUESTION, max_tokens=8, logprobs=0, lora=choice) for choice in choices]
    return [tuple((entry.token, entry.logprob) for entry in reply.logprobs) for reply in replies]


def test_adapters_of_a_model_and_of_a_request(folder: Path) -> None:
    polite, short = folder / "polite.gguf", folder / "short.gguf"
    with edgefc.load("demo") as model:
        (base,) = texts(model, None)
    with edgefc.load("demo", lora=f"{polite}:0.5") as model:
        half, off = texts(model, None, {})
    with edgefc.load("demo", lora=[edgefc.Lora(polite, 0, "p"), short]) as model:
        usual, first, both, again = texts(
            model, None, [{"name": "p", "scale": 0.5}], {"p": 1, "short": 1}, [{"name": "short"}]
        )
        raw = model.complete("Hello", max_tokens=2, lora={"p": 1.0}).completion
        with pytest.raises(RequestError, match=r"unknown adapter 'q'\nLoaded are p, short\."):
            model.chat(QUESTION, lora={"q": 1.0})
        with pytest.raises(RequestError, match="a request cannot load a file"):
            model.chat(QUESTION, lora=[{"path": str(polite)}])
    assert (off, first, again) == (base, half, usual)
    assert len({base, half, usual, both}) == 4
    assert raw.token_ids


def test_an_adapter_of_another_model_is_refused(folder: Path, tiny_model: Path) -> None:
    with pytest.raises(AdapterError, match="does not fit this model"):
        edgefc.load(tiny_model, lora=folder / "polite.gguf")


def test_adapters_of_models_toml(own_models: Path, folder: Path, demo_path: Path) -> None:
    card = registry.cards()["polite-demo"]
    assert [(lora.name, lora.scale, Path(lora.path).name) for lora in card.lora] == [
        ("polite", 1.0, "polite.gguf"),
        ("brief", 0.0, "short.gguf"),
    ]
    shown = inspection.describe("polite-demo", check_tokenizer=False)
    assert [text.partition(":")[0] for text in shown["adapters"]] == ["polite at 1", "brief at 0"]
    plain = inspection.describe("polite-demo", check_tokenizer=False, lora=[])
    assert (plain["adapters"], plain["memory"] < shown["memory"]) == ([], True)
    assert needed_memory("polite-demo", n_ctx=512) > needed_memory("polite-demo", n_ctx=512, lora=[])
    (local,) = [model for model in inventory.models_here(registry.cards()) if model.name == "polite-demo"]
    assert [entry["name"] for entry in local.to_json()["lora"]] == ["polite", "brief"]
    with edgefc.load("polite-demo") as model, edgefc.load("demo", lora=folder / "polite.gguf") as same:
        assert texts(model, None) == texts(same, None)
        assert model.engine.adapters == same.engine.adapters
        assert model.engine.adapters.label == "polite"
        settings = [setting_of(each, "demo", grammar=True, max_tokens=9) for each in (model, same)]
    assert [setting.model for setting in settings] == ["polite-demo+polite", "demo+polite"]
    with edgefc.load("polite-demo", lora=[]) as model:
        assert model.engine.adapters == UsualAdapters()
        assert setting_of(model, "demo", grammar=True, max_tokens=9).file != settings[0].file
    own_models.write_text(own_models.read_text().replace("scale = 0.0", "scale = 1e9"))
    with pytest.raises(FormatError, match=r"line 3: polite-demo: a scale must be a number from -1000 to 1000"):
        registry.cards()
    own_models.write_text('[x]\npath = "a.gguf"\nlora = { file = "a" }\n')
    with pytest.raises(FormatError, match="line 3: x: lora must be a path, or a list"):
        registry.cards()


def test_a_dialect_is_known_for_the_adapters_it_was_found_with(demo_path: Path) -> None:
    found = dialect_file.Dialect("generic", 0.25, 0.75)
    dialect_file.keep(demo_path, found, 77)
    assert dialect_file.stored(demo_path, 77) == found
    assert dialect_file.stored(demo_path) is None
    assert dialect_file.stored(demo_path, 78) is None


def commands() -> list[str]:
    return [
        line
        for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


@pytest.mark.parametrize("command", [line for line in commands() if " serve " not in line])
def test_the_commands_of_the_page(command: str, folder: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "edgefc"
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, input="", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if words[1] == "show":
        assert "polite at 1: rank 4, alpha 8, 42 matrices" in done.stdout
    if words[1] == "call":
        assert json.loads(done.stdout)


def test_a_server_is_asked_without_adapters(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgefc", "call", "Hi", "--url", "http://127.0.0.1:9", "--lora", "polite.gguf"],
        cwd=folder, input="", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {1, 2}
    assert "a server loads its own adapters" in done.stderr


@pytest.fixture(scope="module", params=[(), ("--worker",)], ids=["one process", "worker"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[ServerProcess]:
    (command,) = [line for line in commands() if " serve " in line]
    words = shlex.split(command)[3:]
    with ServerProcess((*_in_folder(words, folder), *request.param)) as serving:
        yield serving


def _in_folder(words: Sequence[str], folder: Path) -> list[str]:
    return [re.sub(r"(\w+\.gguf)", lambda match: str(folder / match[1]), word) for word in words]


def test_requests_choose_adapters_by_their_names(server: ServerProcess) -> None:
    client = server.client()

    def ask(lora: Any = None, model: str = "demo") -> list[tuple[str, float]]:
        body = {} if lora is None else {"lora": lora}
        answer = client.chat.completions.create(
            model=model,
            messages=QUESTION,  # type: ignore[arg-type]
            temperature=0,
            max_tokens=12,
            logprobs=True,
            extra_body=body,
        )
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert answer.model == model
        return [(entry.token, entry.logprob) for entry in logprobs.content or ()]

    usual, off, polite, brief = ask(), ask([]), ask([{"name": "polite"}]), ask([{"name": "brief", "scale": 1}])
    assert usual == brief
    assert off != polite != brief != off
    assert ask(model="demo:polite") == polite
    assert ask(model="demo:brief") == brief
    raw = client.completions.create(model="demo", prompt="Hi", max_tokens=2, extra_body={"lora": [{"name": "polite"}]})
    assert raw.choices
    assert client.completions.create(model="demo:polite", prompt="Hi", max_tokens=2).choices == raw.choices
    with pytest.raises(openai.BadRequestError, match="demo:polite names an adapter already"):
        ask([{"name": "brief"}], model="demo:polite")
    with pytest.raises(openai.NotFoundError, match=r"no LoRA adapter 'other'\nLoaded are polite, brief"):
        ask(model="demo:other")
    for lora, reason in (
        ([{"name": "polite.gguf"}], "unknown adapter 'polite.gguf'"),
        ([{"path": "/etc/passwd"}], "a request cannot load a file"),
        ([{"name": "polite", "scale": "1"}], "a scale must be a number"),
        ([{"name": "polite"}] * 2, "names 'polite' twice"),
        ("polite", "list"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(lora)
        assert reason in str(caught.value)
        assert "lora" in str(caught.value)


def test_a_single_model_without_a_choice_of_adapters_answers_to_any_name(folder: Path) -> None:
    """Such as edgefc-mini, whose adapter belongs to it: `edgefc-mini:Q4_1` is how `edgefc pull` prints it."""
    body = {"model": "demo:Q8_0", "max_tokens": 4, "messages": QUESTION}
    with ServerProcess(("--lora", str(folder / "polite.gguf"))) as serving:
        assert serving.post("/v1/chat/completions", body).status == 200
        assert [model["id"] for model in serving.request("GET", "/v1/models").json["data"]] == ["demo"]


def test_models_are_listed_under_the_names_of_their_adapters_too(server: ServerProcess) -> None:
    client = server.client()
    assert [model.id for model in client.models.list()] == ["demo", "demo:polite", "demo:brief"]
    assert client.models.retrieve("demo:brief").parent == "demo"  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("demo:other")


def test_other_apis_choose_adapters_too(server: ServerProcess) -> None:
    named = server.post("/v1/messages", {"model": "demo:polite", "max_tokens": 8, "messages": QUESTION})
    assert (named.status, named.json["model"]) == (200, "demo:polite")
    body = {"model": "demo", "max_tokens": 8, "messages": QUESTION}
    sound, unknown = ({**body, "x_edgefc_lora": [{"name": name}]} for name in ("brief", "other"))
    assert server.post("/v1/messages", sound).status == 200
    refused = server.post("/v1/messages", unknown)
    assert refused.status == 400
    assert "unknown adapter 'other'" in refused.json["error"]["message"]
