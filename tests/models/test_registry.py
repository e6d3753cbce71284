"""Cards of models.toml, edgefc's and the user's, and the resolution of names."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest

import edgefc
from edgefc import inspection, paths
from edgefc.errors import FormatError, ModelNotFoundError
from edgefc.formats import family_names
from edgefc.models import registry
from edgefc.models.cards import own_cards
from edgefc.models.registry import ModelCard
from edgefc.models.source import parse_source

BUILT_IN = own_cards()
CARDS = pytest.mark.parametrize("card", BUILT_IN.values(), ids=BUILT_IN.keys())
FIELDS = [field.name for field in dataclasses.fields(ModelCard) if field.name not in {"id", "unverified"}]

MINIMAL = """\
[mine]
title = "Mine"
family = "hermes"
size = "500M"
context = 4096
licence = "MIT"
"""


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's configuration folder; empty at first."""
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path))
    return tmp_path


def error_of(config: Path, text: str) -> FormatError:
    (config / "models.toml").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError) as caught:
        registry.cards()
    return caught.value


# edgefc's own cards


@CARDS
def test_a_card_names_a_family_there_is(card: ModelCard) -> None:
    assert not card.family or card.family in family_names()


@CARDS
def test_a_card_is_complete(card: ModelCard) -> None:
    assert card.title
    assert card.licence
    assert card.context >= 2048
    is_own = card.embedded or card.lora  # an adapter's model is in another entry
    assert is_own or card.tokenizer_repo
    assert is_own or card.repo or "Convert" in card.about


@CARDS
def test_parameters_are_about_what_the_size_says(card: ModelCard) -> None:
    number, unit = re.findall(r"^([\d.]+)([BM])$", card.size)[0]  # a model named 1B may have 1.5
    assert card.parameters == pytest.approx(float(number) / (1 if unit == "B" else 1000), rel=0.55)


@CARDS
def test_unverified_names_fields_that_are_set(card: ModelCard) -> None:
    assert len(set(card.unverified)) == len(card.unverified)
    for name in card.unverified:
        assert name in FIELDS
        assert getattr(card, name), f"{name} is listed as unverified but not set"


@CARDS
def test_files_are_named_by_their_quantization(card: ModelCard) -> None:
    assert not card.files or card.repo
    for quantization, file in card.files.items():
        assert re.fullmatch(r"I?Q\d(_\w+)?|B?F16", quantization)
        assert quantization.lower() in file.lower() or "files" in card.unverified


@CARDS
def test_a_licence_against_commercial_use_is_marked(card: ModelCard) -> None:
    assert card.non_commercial == bool(re.search(r"(?i)\bnc\b|research", card.licence))
    note = registry.licence_note(card)
    assert "\n" not in note
    assert bool(note) == card.non_commercial
    assert not note or (card.title in note and card.licence in note)


def test_one_repository_serves_one_model() -> None:
    for name in ("repo", "tokenizer_repo", "title", "ollama"):
        values = [getattr(card, name) for card in BUILT_IN.values() if getattr(card, name)]
        assert len(set(values)) == len(values), name


def test_a_size_in_a_name_is_the_cards_size() -> None:
    for card in BUILT_IN.values():
        if match := re.search(r"-(\d+(?:\.\d+)?b)(?:-|$)", card.id):
            assert match[1] == card.size.lower(), card.id


def test_every_family_that_models_are_made_for_has_a_model() -> None:
    # No repository of theirs is known here.
    unnamed = {"granite4.2", "minicpm5"}
    assert set(family_names()) - {card.family for card in BUILT_IN.values()} <= {"generic", "json-list", *unnamed}


def test_cards_can_be_written_as_json() -> None:
    written = json.loads(json.dumps([dataclasses.asdict(card) for card in BUILT_IN.values()]))
    assert written[0]["id"] == "demo"
    assert next(card["bfcl"]["date"] for card in written if card["id"] == "xlam-7b-fc-r") == "2024-07"


def test_a_note_on_an_unread_licence_does_not_claim_to_know_it() -> None:
    assert "may forbid" in registry.licence_note(BUILT_IN["arch-function-3b"])
    assert " forbids " in registry.licence_note(BUILT_IN["xlam-2-3b"])
    assert registry.licence_note(BUILT_IN["demo"]) == ""


# names


def test_demo_is_on_this_machine() -> None:
    assert registry.resolve("demo").path.is_file()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("dem", "demo"),
        ("arch-function-3", "arch-function-3b"),
        ("hammer2.1-3", "hammer2.1-3b"),
        ("xlam2-3b", "xlam-2-3b"),
    ],
)
def test_an_unknown_name_suggests_near_ones(name: str, near: str) -> None:
    with pytest.raises(ModelNotFoundError, match=re.escape(near)):
        registry.resolve(name)


def test_a_model_that_is_not_here_hints_at_pull() -> None:
    with pytest.raises(ModelNotFoundError, match="edgefc pull arch-function-3b"):
        registry.resolve("arch-function-3b")


def test_a_model_without_a_gguf_hints_at_conversion() -> None:
    with pytest.raises(ModelNotFoundError, match=r"(?is)no GGUF of it is published.*convert"):
        registry.resolve("hammer-4b")


@pytest.mark.parametrize(
    ("name", "card", "quantization"),
    [
        ("qwen2.5-coder:1.5b", "qwen2.5-coder-1.5b-instruct", ""),
        ("Qwen2.5-Coder:1.5B", "qwen2.5-coder-1.5b-instruct", ""),
        ("qwen2.5-coder:1.5b-instruct-q4_K_M", "qwen2.5-coder-1.5b-instruct", "Q4_K_M"),
        ("ollama.com/library/llama3.2:3b-instruct-fp16", "llama-3.2-3b-instruct", "F16"),
        ("mistral", "mistral-7b-instruct-v0.3", ""),
        ("mistral:latest", "mistral-7b-instruct-v0.3", ""),
        ("qwen3-4b:Q8_0", "qwen3-4b", "Q8_0"),
    ],
)
def test_names_of_ollama_mean_cards(name: str, card: str, quantization: str) -> None:
    named = registry.find_card(name)
    assert named is not None
    assert (named.card.id, named.quantization) == (card, quantization)
    with pytest.raises(ModelNotFoundError, match="edgefc pull"):
        registry.resolve(name)


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("qwen2.5-coder:9b", "qwen2.5-coder has no '9b' here", "qwen2.5-coder:0.5b (qwen2.5-coder-0.5b-instruct), "),
        ("qwen2.5-coder:1.5b-base", "qwen2.5-coder has no '1.5b-base' here", "qwen2.5-coder:1.5b ("),
        ("qwen2.5-coder", "'qwen2.5-coder' names several models", "qwen2.5-coder:7b (qwen2.5-coder-7b-instruct)."),
        ("qwen3:", "'qwen3' names several models", "qwen3:0.6b (qwen3-0.6b), qwen3:1.7b"),
        ("gemma", "unknown model 'gemma'", "Did you mean gemma-3-270m-it or gemma-3-1b-it or gemma-3-4b-it? "),
        ("qwen2.5-codr:1.5b", "unknown model", "Did you mean qwen2.5-coder"),
        (":", "unknown model", "OWNER/NAME"),
        ("x" * 5000, "unknown model 'xxx", "OWNER/NAME"),
    ],
)
def test_other_names_of_ollama_are_errors_with_the_nearest(name: str, reason: str, hint: str) -> None:
    for find in (registry.resolve, lambda name: parse_source(name, endpoint="https://hub.invalid")):
        with pytest.raises(ModelNotFoundError) as caught:
            find(name)
        assert reason in caught.value.reason
        assert len(caught.value.reason) < 300
        assert hint in caught.value.hint


def test_names_as_ollama_fetches_from_a_hub() -> None:
    source = parse_source("hf.co/acme/demo-GGUF:Q4_K_M", endpoint="https://hub.invalid")
    assert (source.repo, source.quantization) == ("acme/demo-GGUF", "Q4_K_M")


# aliases


def test_an_alias_stands_for_any_name(config: Path, demo_path: Path) -> None:
    aliases = f"""[alias]
tiny = "demo"
"my.file" = {json.dumps(str(demo_path))}
coder = "qwen2.5-coder:1.5b"
one = "two"
two = "demo"
"a/b" = "demo"
number = 5
self = "self"
"""
    (config / "config.toml").write_text(aliases, encoding="utf-8")
    assert registry.resolve("tiny").path == demo_path
    assert registry.resolve("my.file").path == demo_path
    assert parse_source("coder", endpoint="https://hub.invalid").repo == "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"
    with pytest.raises(ModelNotFoundError, match=r"edgefc pull qwen2\.5-coder:1\.5b"):
        registry.resolve("coder")
    for name in ("one", "number", "self"):  # one step, and only sound entries
        with pytest.raises(ModelNotFoundError):
            registry.resolve(name)


@pytest.mark.parametrize("text", ["alias = 5", "[alias", "[[alias]]\nx = 'demo'", "x = [" + "[" * 5000])
def test_malformed_settings_do_not_keep_models_from_being_found(config: Path, text: str) -> None:
    (config / "config.toml").write_text(text, encoding="utf-8")
    assert registry.resolve("demo").name == "demo"


# the user's cards


def test_an_entry_may_be_a_path_alone(config: Path, demo_path: Path) -> None:
    (config / "near.gguf").write_bytes(b"")
    text = f"[far]\npath = {json.dumps(str(demo_path))}\n[near]\npath = 'near.gguf'\n[home]\npath = '~/x.gguf'\n"
    (config / "models.toml").write_text(text, encoding="utf-8")
    far = registry.resolve("far")
    assert (far.path, far.name) == (demo_path, "far")
    assert registry.resolve("near").path == config / "near.gguf", "relative to its models.toml"
    assert registry.resolve("home").path == Path("~/x.gguf").expanduser()
    facts = inspection.describe("far")
    assert (facts["model"], facts["family"], facts["licence"]) == ("far", "demo", "apache-2.0"), "from its header"
    with pytest.raises(ModelNotFoundError, match="nothing to fetch"):
        parse_source("far", endpoint="https://hub.invalid")
    with edgefc.load("far") as model:
        assert model.chat([{"role": "user", "content": "Hello"}], max_tokens=3).usage["completion_tokens"] <= 3


def test_a_malformed_file_does_not_keep_the_demo_model_or_a_path_from_use(
    config: Path, demo_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (config / "models.toml").write_text("[mine]\ntitel = 'x'", encoding="utf-8")
    assert registry.resolve("demo").path == registry.resolve(demo_path).path == demo_path
    assert "unknown key 'titel'" in caplog.text
    with pytest.raises(FormatError, match="titel"):
        registry.resolve("mine")


def test_a_users_model_is_added(config: Path) -> None:
    (config / "models.toml").write_text(MINIMAL, encoding="utf-8")
    mine = registry.cards()["mine"]
    assert list(registry.cards()) == [*BUILT_IN, "mine"]
    assert (mine.title, mine.parameters, mine.context) == ("Mine", 0.5, 4096)
    assert (mine.repo, mine.files, mine.sampling, mine.bfcl, mine.unverified) == ("", {}, {}, None, ())


def test_a_users_model_may_have_every_field_of_edgefcs(config: Path) -> None:
    text = (paths.root() / "models.toml").read_text(encoding="utf-8")
    # A path is relative to the file that names it.
    text = text.replace('lora = "mini/', f'lora = "{(paths.root() / "mini").as_posix()}/')
    (config / "models.toml").write_text(text, encoding="utf-8")
    assert registry.cards() == BUILT_IN


def test_a_users_model_replaces_edgefcs_whole(config: Path) -> None:
    text = MINIMAL.replace("[mine]", '["hammer2.1-3b"]')
    (config / "models.toml").write_text(text, encoding="utf-8")
    cards = registry.cards()
    assert list(cards) == list(BUILT_IN)
    assert cards["hammer2.1-3b"].title == "Mine"
    assert cards["hammer2.1-3b"].bfcl is None
    assert cards["hammer2.1-1.5b"] == BUILT_IN["hammer2.1-1.5b"]


def test_a_change_of_the_users_file_is_noticed(config: Path) -> None:
    path = config / "models.toml"
    assert "mine" not in registry.cards()
    path.write_text(MINIMAL, encoding="utf-8")
    assert registry.cards()["mine"].title == "Mine"
    path.write_text(MINIMAL.replace("Mine", "Ours"), encoding="utf-8")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))  # same size, another time
    assert registry.cards()["mine"].title == "Ours"
    path.unlink()
    assert "mine" not in registry.cards()


def test_a_caller_cannot_change_the_cards() -> None:
    registry.cards().clear()
    assert "demo" in registry.cards()


def test_an_editors_byte_order_mark_and_line_ends_do_no_harm(config: Path) -> None:
    (config / "models.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert registry.cards()["mine"].size == "500M"


# errors in a user's file


@pytest.mark.parametrize(
    ("line", "reason", "hint"),
    [
        ('titel = "x"', "unknown key 'titel'", "Did you mean title? Keys are title, family, size, "),
        ('zzz = "red"', "unknown key 'zzz'", "Keys are title, "),
        ("about = 5", "about must be text", ""),
        ('about = " "', "about must be text", ""),
        ("parameters = true", "parameters must be a number above 0", ""),
        ("parameters = nan", "parameters must be a number above 0", ""),
        ("non_commercial = 1", "non_commercial must be true or false", ""),
        ('embedded = "yes"', "embedded must be true or false", ""),
        ('repo = "mine"', "repo must be a repository", ""),
        ('repo = "../mine"', "repo must be a repository", ""),
        ('tokenizer_repo = "https://a.example/b/c"', "tokenizer_repo must be a repository", ""),
        ('files = "a.gguf"', "files must be a table", ""),
        ('files = { Q4_0 = "a.bin" }', "files.Q4_0 must be the name of a .gguf file", ""),
        ('files = { Q4_0 = "../../a.gguf" }', "files.Q4_0 must be the name of a .gguf file", ""),
        ('files = { Q4_0 = "a.gguf" }', "repo is missing", "`files` names"),
        ('package = "tiny"', 'package must be a package and its version such as "name==1.0"', ""),
        ('package = "-r x==1"', "package must be a package and its version", ""),
        ('package = "tiny==1.0"', "file is missing", "`package`, `file` and `sha256` together"),
        ('file = "../a.gguf"', "file must be the path of a .gguf file in the package", ""),
        ('sha256 = "12"', "sha256 must be 64 hexadecimal digits", ""),
        ("sampling = 0", "sampling must be a table", ""),
        ("sampling = { temprature = 0 }", "unknown key 'sampling.temprature'", "Did you mean temperature? "),
        ("sampling = { top_p = 1.5 }", "sampling.top_p must be a number from 0 to 1", ""),
        ("sampling = { top_k = 1.5 }", "sampling.top_k must be a whole number", ""),
        ('bfcl = { score = 80, date = "2025-12" }', "bfcl.source is missing", "Keys are score, date, source."),
        ('bfcl = { score = 80, date = "2025", source = "s" }', "bfcl.date must be a month", ""),
        ('bfcl = { score = "80", date = "2025-12", source = "s" }', "bfcl.score must be a number", ""),
        ('path = "x.bin"', "path must be the path of a .gguf file", ""),
        ('path = "a\\nb.gguf"', "path must be the path of a .gguf file", ""),
        ('ollama = "qwen3"', "ollama must be a name such as", ""),
        ('unverified = "repo"', "unverified must be a list of keys", ""),
        ('unverified = ["rep"]', "unverified names the unknown key 'rep'", "Did you mean repo? "),
        ('unverified = ["id"]', "unverified names the unknown key 'id'", "Keys are "),
        ("unverified = [[5]]", "unverified must be a list of keys", ""),
    ],
)
@pytest.mark.parametrize(
    "before", ["", MINIMAL.replace("mine", "other") + "# [mine]\n\n"], ids=["alone", "after another"]
)
def test_a_wrong_line_is_named(config: Path, before: str, line: str, reason: str, hint: str) -> None:
    error = error_of(config, before + MINIMAL + line + "\n")
    number = (before + MINIMAL).count("\n") + 1
    assert error.reason.startswith(f"{config / 'models.toml'}, line {number}: mine: {reason}")
    assert error.hint.startswith(hint)


@pytest.mark.parametrize(
    ("key", "value"), [("size", '"3 GB"'), ("size", "3"), ("context", '"32k"'), ("context", "0"), ("family", "[]")]
)
def test_a_wrong_value_is_reported_with_its_line(config: Path, key: str, value: str) -> None:
    text = re.sub(rf"^{key} = .*", f"{key} = {value}", MINIMAL, flags=re.MULTILINE)
    number = text[: text.index(f"\n{key} =")].count("\n") + 2
    assert f"line {number}: mine: {key} must be " in str(error_of(config, text))


@pytest.mark.parametrize("key", ["title", "size", "context", "licence"])
def test_a_missing_key_is_named_at_the_model(config: Path, key: str) -> None:
    text = "# mine\n\n" + re.sub(rf"^{key} = .*\n", "", MINIMAL, flags=re.MULTILINE)
    assert f"line 3: mine: {key} is missing" in str(error_of(config, text))


@pytest.mark.parametrize(
    ("text", "number", "reason"),
    [
        ("mine = 5", 1, "mine: must be a table"),
        ("\n[[mine]]", 2, "mine: must be a table"),
        (MINIMAL + "\n[mine.sampling]\ntop_p = 1\ntop_kk = 1", 10, "mine: unknown key 'sampling.top_kk'"),
        (MINIMAL + "sampling.top_p = 1\nsampling.heat = 1", 8, "mine: unknown key 'sampling.heat'"),
        (MINIMAL + "'titel' = 1", 7, "mine: unknown key 'titel'"),
        (MINIMAL.replace("[mine]", '["mine-1.5b"]') + "titel = 1", 7, "mine-1.5b: unknown key 'titel'"),
        (MINIMAL.replace("[mine]", "# [mine]\n  [ 'mine' ] # x"), 0, ""),
        ("[mine]\ntitle = Mine", 2, "Invalid value"),
        (MINIMAL + MINIMAL, 7, "Cannot declare"),
    ],
)
def test_the_line_is_found_however_it_is_written(config: Path, text: str, number: int, reason: str) -> None:
    if not number:
        (config / "models.toml").write_text(text, encoding="utf-8")
        assert "mine" in registry.cards()
        return
    error = error_of(config, text)
    assert error.reason.startswith(str(config / "models.toml"))
    assert f"line {number}" in error.reason
    assert reason in error.reason


@pytest.mark.parametrize("name", ["../x", "a/b", "a:b", ".x", "con", ""])
def test_a_name_that_is_no_file_name_is_refused(config: Path, name: str) -> None:
    error = error_of(config, MINIMAL.replace("[mine]", f'["{name}"]'))
    assert "must be a plain name" in str(error)


def test_an_unquoted_name_with_a_dot_hints_at_quotes(config: Path) -> None:
    error = error_of(config, MINIMAL.replace("[mine]", "[mine-1.5b]"))
    assert "line 1: mine-1: unknown key '5b'" in error.reason
    assert '["mine-1.5b"]' in error.hint


def test_invalid_utf_8_is_reported_with_its_line(config: Path) -> None:
    (config / "models.toml").write_bytes(MINIMAL.encode() + b'about = "gr\xfc\xdfe"\n')
    with pytest.raises(FormatError, match=r"models\.toml, line 7: not UTF-8 text"):
        registry.cards()


def test_an_unreadable_file_is_reported(config: Path) -> None:
    (config / "models.toml").mkdir()
    with pytest.raises(FormatError, match=r"models\.toml: "):
        registry.cards()
