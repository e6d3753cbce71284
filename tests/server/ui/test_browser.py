"""The page at `/` in a browser: conversation, tools, tokens, prompt, comparison, code; keys, colours, widths, axe."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgefc import inspection, transcripts
from edgefc.evaluation.suites import load_cases
from tests.mcp.conftest import RAW_SERVER
from tests.real import weights
from tests.server.examples import TOOLS
from tests.server.server_process import CHAT, ServerProcess
from tests.server.ui.conftest import Open

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

ROOT = Path(__file__).parents[3]
QUESTION = "What is the weather in Paris and in Oslo?"
RESULTS = ['{"location": "Paris", "temperature": 18, "unit": "celsius", "conditions": "clouds"}',
           '{"location": "Oslo", "temperature": 7, "unit": "celsius", "conditions": "snow"}']  # fmt: skip
SYSTEM = "Don't guess; it's \"important\".\n\u202e\u200b \U000e0041 é 𝒳 \\u202e"
TABS = ("tools", "options", "tokens", "prompt", "timeline", "compare", "code")
PETS = {"openapi": "3.1.0", "info": {"title": "Pets", "version": "1"}, "paths": {"/pets/{id}": {"get": {
    "operationId": "showPet", "summary": "Show a pet",
    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}]}}}}  # fmt: skip
HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script><style>*{display:none}</style>"
    "</pre><iframe src=//evil.example></iframe> \x1b[31mred\x1b[0m \u202egnp.exe\u202c \u200b&lt;b&gt;"
)


def ask(page: Page, question: str = QUESTION) -> None:
    """Ask and wait for the end of the answer."""
    page.get_by_role("textbox", name="Question", exact=True).fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    wait_for_answer(page)


def wait_for_answer(page: Page) -> None:
    page.locator(".answer .pulse").wait_for(state="detached")
    page.locator(".answer .summary").last.wait_for()


def open_tab(page: Page, name: str) -> None:
    page.locator(f"#tab-{name}").click()
    page.locator(f"#panel[aria-labelledby=tab-{name}]").wait_for()


def send_results(page: Page, results: list[str]) -> None:
    for box, result in zip(page.get_by_label("Result of get_weather").all(), results, strict=True):
        box.fill(result)
    page.get_by_role("button", name="Send results").click()
    page.locator(".results").wait_for()
    wait_for_answer(page)


def test_a_question_its_calls_their_results_and_the_answer(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    page.locator(".bar .facts", has_text="2,048 tokens").wait_for()
    assert page.get_by_role("combobox", name="Model").input_value() == "demo"
    ask(page)
    cards = page.locator(".call")
    assert [card.locator("h3").inner_text() for card in cards.all()] == ["get_weather", "get_weather"]
    rows = [row.inner_text().split("\t") for row in cards.first.locator("tbody tr").all()]
    assert rows[0][0] == "location"
    assert '"Paris"' in rows[0][1]
    assert "from the conversation" in rows[0][1]
    assert rows[1][:2] == ["unit", "not given"]
    assert page.get_by_role("button", name="Send results").is_disabled()
    send_results(page, RESULTS)
    answer = page.locator(".answer").last.locator("p.text").inner_text()
    assert "18" in answer
    assert "7" in answer
    assert page.locator(".results pre").first.inner_text() == RESULTS[0]
    assert "Answer: " in page.get_by_role("status").last.inner_text()


def test_in_front_of_a_worker(demo_path: Path, open_page: Open) -> None:
    with ServerProcess(("--worker",)) as server:
        page = open_page(server)
        page.get_by_text("6 tools, no mistakes").wait_for()
        ask(page)
        send_results(page, RESULTS)
        assert "18" in page.locator(".answer").last.locator("p.text").inner_text()
        assert page.locator("#panel .token.sampled").count() > 0


def test_the_token_strip_shows_what_the_reply_counts(server: ServerProcess, open_page: Open) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "tools": TOOLS}
    usage = server.post(CHAT, body).json["usage"]
    page = open_page(server)
    ask(page)
    tokens = page.locator("#panel .tokens .token")
    assert tokens.count() == usage["completion_tokens"]
    forced = page.locator("#panel .tokens .token.forced").count()
    assert forced == usage["completion_tokens_details"]["forced_tokens"]
    assert f"{usage['completion_tokens']} tokens by the server's count" in page.locator("#panel").inner_text()
    sampled = page.locator("#panel .tokens .token.sampled").first
    sampled.hover()
    details = page.locator("#panel .details")
    assert details.locator("li").count() == 4
    assert "removed by the grammar" in details.inner_text()
    assert "P(call)" in page.locator("#panel .decision").inner_text()
    open_tab(page, "timeline")
    steps = page.locator("#panel tbody tr", has_text="step ").count()
    assert 5 < steps < usage["completion_tokens"]


def test_the_prompt_is_the_one_that_was_read(server: ServerProcess, open_page: Open) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "tools": TOOLS}
    rendered = server.post("/apply-template", body).json["prompt"]
    page = open_page(server)
    ask(page)
    open_tab(page, "prompt")
    page.locator(".band .control-token").first.wait_for()
    assert "".join(pre.text_content() or "" for pre in page.locator(".band pre").all()) == rendered
    assert set(page.locator(".band .control-token").all_inner_texts()) == {"<|im_start|>", "<|im_end|>"}
    counts = [int(text.split()[0]) for text in page.locator(".band h3 .note").all_inner_texts()]
    assert sum(counts) == server.post("/v1/chat/completions/input_tokens", body).json["input_tokens"]


def test_example_tools_are_run_on_request(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    ask(page, "How much is 144/12, and what time is it in Lima?")
    assert page.get_by_role("button", name="Run").count() == 2
    for button in page.get_by_role("button", name="Run").all():
        button.click()
    page.locator(".answer .primary:enabled").wait_for()
    assert json.loads(page.get_by_label("Result of calculate").input_value())["result"] == 12
    page.get_by_role("button", name="Send results").click()
    page.locator(".results").wait_for()
    wait_for_answer(page)
    assert "12" in page.locator(".answer").last.locator("p.text").inner_text()


def test_tools_are_added_from_python_and_openapi(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    page.get_by_text("6 tools, no mistakes").wait_for()
    page.get_by_text("Add tools from Python or OpenAPI").click()
    source = page.get_by_label("Python functions")
    add = page.get_by_role("button", name="Add", exact=True)
    for text in ('def get_price(item: str, currency: Literal["EUR"] = "EUR") -> float', json.dumps(PETS)):
        source.fill(text)
        add.click()
        page.get_by_text("1 tool added").wait_for()
    tools = json.loads(page.get_by_label("Tools as JSON").input_value())
    assert [each["function"]["name"] for each in tools[6:]] == ["get_price", "showPet"]
    source.fill("def f(x: City): ...")
    add.click()
    page.locator(".add .problem", has_text="unknown type 'City'").wait_for()
    page.get_by_text("Grammar of their calls").click()
    page.get_by_role("group", name="Grammar").filter(has_text="showPet").wait_for()
    ask(page)
    assert page.locator(".call").count() == 2
    assert page.get_by_role("button", name="Run").count() == 2


def test_tools_of_mcp_servers_run_when_they_are_allowed(demo_path: Path, open_page: Open, tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    servers = {
        "raw": {"command": sys.executable, "args": ["-I", "-S", str(RAW_SERVER), "normal"]},
        "gone": {"command": "none"},
    }
    config.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    with ServerProcess(("--mcp", str(config))) as server:
        page = open_page(server)
        page.get_by_text("Add tools of MCP servers").click()
        page.locator(".warning", has_text="gone").wait_for()
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("button", name="Add echo").click()
        page.get_by_role("button", name="Added echo").wait_for()
        open_tab(page, "options")
        page.get_by_label("Tool choice").select_option("required")
        page.get_by_label("Several calls in one answer").uncheck()
        ask(page, "Echo hello")
        result = page.get_by_label("Result of echo")
        assert result.input_value() == ""
        page.get_by_role("button", name="Allow, and run on raw").click()
        page.locator(".answer .primary:enabled").wait_for()
        shown = page.locator(".call tbody td code").first.inner_text()
        assert result.input_value() == json.loads(shown)


def test_without_mcp_servers_the_page_says_so(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    page.get_by_text("Add tools of MCP servers").click()
    page.get_by_text("Start it with --mcp FILE.").wait_for()


def test_branches(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    ask(page, "What time is it in Lima?")
    page.get_by_role("button", name="Regenerate").click()
    page.get_by_text("2 / 2").wait_for()
    wait_for_answer(page)
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Question, edited").fill(QUESTION)
    page.get_by_role("button", name="Ask again").click()
    page.locator(".question", has_text="Oslo").wait_for()
    wait_for_answer(page)
    assert page.locator(".call").count() == 2
    page.locator(".question").get_by_role("button", name="Branch before").click()
    assert page.locator(".question .text").inner_text() == "What time is it in Lima?"
    assert page.locator(".answer").get_by_text("2 / 2").is_visible()
    page.get_by_role("button", name="New conversation").click()
    assert page.get_by_role("heading", name="See why").is_visible()


def test_results_can_be_edited(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    ask(page)
    send_results(page, RESULTS)
    page.get_by_role("button", name="Edit results").click()
    boxes = page.get_by_label("Result of get_weather")
    assert boxes.first.input_value() == RESULTS[0]
    boxes.first.fill(RESULTS[0].replace("18", "31"))
    page.get_by_role("button", name="Send results").click()
    page.locator(".results").wait_for()
    wait_for_answer(page)
    assert "31" in page.locator(".answer").last.locator("p.text").inner_text()


def test_an_answer_can_be_stopped(open_page: Open) -> None:
    path = weights.smollm2()  # says as many tokens in a second as people's models; thousands keep a browser too busy
    ends = dict.fromkeys(map(str, inspection.tokenizer_of(str(path)).eog), -100)

    def without_end(route: Route) -> None:
        """Send a request on, so that the model cannot end its answer."""
        route.continue_(post_data=json.dumps({**route.request.post_data_json, "logit_bias": ends}))

    with ServerProcess(("--n-ctx", "4096"), models=(str(path),)) as server:
        page = open_page(server)
        page.route("**/v1/chat/completions", without_end)
        open_tab(page, "options")
        page.get_by_label("Longest answer, tokens").fill("4000")
        page.get_by_label("Temperature").fill("1.5")  # a loop would end the answer
        open_tab(page, "tokens")
        page.get_by_role("textbox", name="Question", exact=True).fill("Tell me a long story.")
        page.keyboard.press("Enter")
        page.locator("#panel .token").first.wait_for()
        page.keyboard.press("Escape")
        page.locator(".answer .summary", has_text="stopped").wait_for()
        server.wait_until_idle()


def test_results_are_shown_as_text(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    ask(page)
    send_results(page, [HOSTILE, RESULTS[1]])
    shown = page.locator(".results pre").first
    text = shown.inner_text()
    assert "<img src=x onerror=alert(1)><script>alert(2)</script>" in text
    assert "&lt;b&gt;" in text
    assert shown.locator(".hidden-character").all_inner_texts() == ["ESC", "ESC", "U+202E", "U+202C", "U+200B"]
    for name in TABS:
        open_tab(page, name)
        assert page.locator("#app :is(img, script, style, iframe)").count() == 0
    assert not any(character in page.locator("#app").inner_text() for character in "\x1b\u202e\u200b")


def test_mistakes_in_tools_are_shown_by_their_paths(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    editor = page.get_by_label("Tools as JSON")
    page.get_by_text("6 tools, no mistakes").wait_for()
    page.locator("tfoot", has_text="all").wait_for()
    assert page.locator("tbody tr td").first.inner_text().isdigit()
    tools = json.loads(editor.input_value())
    assert tools == TOOLS
    tools[1]["function"]["name"] = "get time"
    editor.fill(json.dumps(tools, indent=2))
    path = page.get_by_role("button", name="tools[1].function.name")
    path.click()
    selection = editor.evaluate("element => element.value.slice(element.selectionStart, element.selectionEnd)")
    assert selection == '"get time"'
    assert page.locator("#lint-summary").inner_text() == "1 error"
    ask(page)
    assert "get time" in page.get_by_role("alert").inner_text()
    open_tab(page, "tools")
    editor.fill("[{,]")
    page.locator("#lint-summary.problem", has_text="JSON").wait_for()
    editor.fill("[]")
    page.get_by_text("0 tools, no mistakes").wait_for()
    ask(page, "Hello!")
    assert page.locator(".answer").last.locator("p.text").inner_text()


ODD_TOOLS = (
    "[null]", "5", '"x"', "[[]]", '[{"function": null}]', '[{"type": "function", "function": {"name": 5, "parameters": []}}]',
    '{"name": "f", "parameters": {"properties": {"a": true, "b": null, "c": {"enum": 5, "type": ["string", {}]}}}}',
    "[" * 3000 + "]" * 3000, '{"name": "\\u202e<b>", "description": "<img src=x>"}', '[{"name": "f", "parameters": {"type": "object", "required": 5}}]',
)  # fmt: skip


def test_odd_tools_do_not_break_the_page(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    editor = page.get_by_label("Tools as JSON")
    for text in ODD_TOOLS:
        editor.fill(text)
        page.locator("#lint-summary", has_text="error").or_(
            page.locator("#lint-summary", has_text="warning")
        ).wait_for()
        for path in page.locator(".path").all():
            path.click()
        for name in ("options", "tokens", "tools"):
            open_tab(page, name)
        ask(page, "Hello!")
        open_tab(page, "tools")


def test_the_same_question_with_a_change(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    ask(page)
    open_tab(page, "compare")
    compare = page.get_by_role("button", name="Compare", exact=True)
    page.get_by_label("Temperature").fill("0")
    compare.click()
    page.get_by_text("The tokens are equal.").wait_for()
    page.get_by_label("Tool choice").select_option("none")
    compare.click()
    page.get_by_text("tokens differ.").wait_for()
    page.locator("td.differs", has_text="call").first.wait_for()
    assert page.locator(".token.differs").count() > 10
    page.get_by_label("Tool choice").select_option("")
    page.get_by_label("Chat format").select_option("qwen3")
    compare.click()
    page.get_by_text("tokens differ.").wait_for()
    page.get_by_label("Chat format").select_option("")
    page.get_by_label("Grammar").select_option("off")
    compare.click()
    page.locator(".pair td", has_text="raw text").wait_for()
    body = {"messages": [{"role": "user", "content": QUESTION}], "tools": TOOLS}
    prompt = server.post("/apply-template", body).json["prompt"]
    free = server.post("/v1/completions", {"prompt": prompt, "max_tokens": 512}).json["choices"][0]["text"]
    assert page.locator(".pair tr", has_text="text").last.locator("td").last.inner_text() == free.strip()


def test_another_model_of_the_server(demo_path: Path, tiny_model: Path, open_page: Open) -> None:
    with ServerProcess(("--n-ctx", "2048"), models=("demo", str(tiny_model))) as server:
        page = open_page(server)
        ask(page)
        open_tab(page, "compare")
        page.get_by_role("combobox", name="Model").last.select_option(index=2)
        page.get_by_label("Tool choice").select_option("required")
        page.get_by_role("button", name="Compare", exact=True).click()
        page.get_by_text("tokens differ.").wait_for()
        page.get_by_role("combobox", name="Model").first.select_option(index=1)
        assert "demo" not in page.locator(".bar .facts").inner_text()


def test_the_browser_enforces_the_policy(server: ServerProcess, chromium: Browser) -> None:
    page = chromium.new_page()
    page.goto(f"http://{server.host}:{server.port}/")
    page.get_by_role("heading", name="See why").wait_for()
    attempts = (
        "() => { document.body.insertAdjacentHTML('beforeend', '<b>x</b>'); return 'in' }",
        "() => { document.querySelector('h1').innerHTML = '<i>x</i>'; return 'in' }",
        "() => { setTimeout('window.ran = 1'); return 'in' }",
        "async () => { await fetch('http://127.0.0.1:1/'); return 'in' }",
    )
    for attempt in attempts:
        wrapped = f"async () => {{ try {{ return await ({attempt})() }} catch (error) {{ return error.name }} }}"
        assert page.evaluate(wrapped) in {"TypeError", "EvalError"}, attempt
    with page.expect_event("console", lambda message: "Content Security Policy" in message.text):
        page.evaluate("() => { const image = new Image(); image.src = 'http://127.0.0.1:1/x.png' }")
    page.evaluate("() => document.body.setAttribute('style', 'color: rgb(1, 2, 3)')")
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(1, 2, 3)"
    page.close()


def test_code_and_files_of_a_request(server: ServerProcess, open_page: Open, tmp_path: Path) -> None:
    page = open_page(server)
    open_tab(page, "options")
    page.get_by_label("System message").fill(SYSTEM)
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Call bias").fill("0.5")
    ask(page)
    open_tab(page, "code")
    words = shlex.split(page.get_by_role("group", name="curl code").inner_text().replace("\\\n", ""))
    body = json.loads(words[words.index("--json") + 1])
    assert (body["tools"], body["temperature"], body["x_edgefc_call_bias"]) == (TOOLS, 0, 0.5)
    assert body["messages"][0]["content"] == SYSTEM
    assert words[1] == f"{server.url}/chat/completions"
    snippet = page.get_by_role("group", name="Python code").inner_text()
    assert (
        ast.literal_eval(snippet[snippet.index("messages=") + 9 : snippet.index(",\n    tools=")]) == body["messages"]
    )
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=True, timeout=120)
    assert "get_weather" in done.stdout
    script = page.get_by_role("group", name="JavaScript code").inner_text()
    script = script[script.index("create(") + 7 : script.rindex(");\nconsole")]
    assert page.evaluate(f"JSON.stringify({script})") == page.evaluate("body => JSON.stringify(body)", body)

    files = {}
    for name in ("transcript", "case"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save as {name}").click()
        files[name] = tmp_path / f"{name}.jsonl"
        download.value.save_as(files[name])
    (record,) = transcripts.read([files["transcript"]])
    assert (record.outcome, record.model, record.family) == ("call", "demo", "demo")
    assert record.options["call_bias"] == 0.5
    (case,) = load_cases("demo", files["case"])
    assert [call["arguments"]["location"] for call in case.expected["calls"]] == ["Paris", "Oslo"]


def test_options_reach_the_request(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    open_tab(page, "options")
    page.get_by_label("Tool choice").select_option("tool:get_time")
    page.get_by_label("Several calls in one answer").uncheck()
    page.get_by_label("Longest answer, tokens").fill("300")
    ask(page)
    assert page.locator(".call h3").all_inner_texts() == ["get_time"]
    open_tab(page, "options")
    page.get_by_label("Longest answer, tokens").fill("0")
    ask(page, "Again")
    assert "max_tokens" in page.get_by_role("alert").inner_text()


def test_the_key_is_asked_for_and_forgotten_with_the_tab(demo_path: Path, open_page: Open) -> None:
    with ServerProcess(("--api-key", "sk-page")) as server:
        page = open_page(server)
        dialog = page.get_by_role("dialog", name="This server needs an API key")
        dialog.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        page.wait_for_timeout(300)
        assert dialog.is_visible()
        dialog.get_by_label("API key").fill("sk-page")
        page.keyboard.press("Enter")
        dialog.wait_for(state="detached")
        ask(page)
        assert page.locator(".call").count() == 2
        open_tab(page, "code")
        assert "sk-page" not in page.content()
        assert "$EDGEFC_API_KEY" in page.get_by_role("group", name="curl code").inner_text()
        assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]


def test_the_keyboard_alone(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server)
    page.get_by_text("6 tools, no mistakes").wait_for()
    press = page.keyboard.press
    press("Tab")
    press("Enter")  # the link that skips to the question
    page.keyboard.type(QUESTION)
    press("Enter")
    wait_for_answer(page)
    tab_to(page, "#result-", backwards=True)
    page.keyboard.type(RESULTS[1])
    press("Shift+Tab")
    tab_to(page, "#result-", backwards=True)
    page.keyboard.type(RESULTS[0])
    press("Control+Enter")
    page.locator(".results").wait_for()
    wait_for_answer(page)
    tab_to(page, "#tab-tokens")
    tab_to(page, "[role=listbox]")
    press("Home")
    press("ArrowRight")
    press("ArrowRight")
    chosen = page.locator("#panel [aria-selected=true]")
    assert chosen.get_attribute("id") == page.get_by_role("listbox").get_attribute("aria-activedescendant") == "token-2"
    assert "token 3," in page.locator("#panel .details").inner_text()
    tab_to(page, "#tab-tokens", backwards=True)
    press("ArrowRight")
    assert page.locator("#tab-prompt").get_attribute("aria-selected") == "true"


def tab_to(page: Page, selector: str, *, backwards: bool = False) -> None:
    """Press Tab until an element whose id begins so, or that the selector matches, has the focus."""
    selector = f"[id^={selector[1:]}]" if selector.endswith("-") else selector
    for _ in range(40):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
    pytest.fail(f"Tab does not lead to {selector}")


def test_a_narrow_screen(server: ServerProcess, open_page: Open) -> None:
    page = open_page(server, viewport={"width": 360, "height": 740}, has_touch=True)
    ask(page)
    send_results(page, [HOSTILE + "long" * 200, RESULTS[1]])
    for name in TABS:
        open_tab(page, name)
        if name == "compare":
            page.get_by_role("button", name="Compare", exact=True).click()
            page.locator(".pair").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        for control in page.locator("button:visible, input:visible, select:visible, textarea:visible").all():
            box = control.bounding_box()
            assert box is not None
            assert box["x"] >= 0, (name, control)
            assert box["x"] + box["width"] <= 360, (name, control)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(server: ServerProcess, open_page: Open, scheme: Any) -> None:
    package = importlib.util.find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("axe-playwright-python, which has axe-core, is not installed")
    axe = Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    page = open_page(server, color_scheme=scheme)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(17, 23, 26)") == (scheme == "dark")
    page.evaluate(axe)
    findings = serious(page)
    ask(page)
    findings += serious(page)
    send_results(page, [HOSTILE, RESULTS[1]])
    for name in TABS:
        open_tab(page, name)
        page.wait_for_timeout(200)
        findings += serious(page)
    assert findings == []


def serious(page: Page) -> list[str]:
    """Return axe's findings of the page as it is."""
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{found['id']}: {node['html']}: {node['failureSummary']}"
        for found in result["violations"]
        if found["impact"] in {"serious", "critical"}
        for node in found["nodes"]
    ]


def test_the_picture_in_the_documents(server: ServerProcess, open_page: Open, tmp_path: Path) -> None:
    """EDGEFC_SCREENSHOTS=1 replaces it."""
    page = open_page(server, viewport={"width": 1280, "height": 800})
    ask(page)
    page.locator("#panel .token", has_text="Par").hover()
    path = ROOT / "docs" / "page.png" if os.environ.get("EDGEFC_SCREENSHOTS") == "1" else tmp_path / "page.png"
    page.screenshot(path=path)
    assert 20_000 < path.stat().st_size < 300_000
    assert (ROOT / "docs" / "page.png").stat().st_size < 300_000
