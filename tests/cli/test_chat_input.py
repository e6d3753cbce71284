"""Lines of a chat: what was typed while there was no prompt."""

from __future__ import annotations

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.keys import Keys

from edgefc.cli.chat_input import keep_typed_ahead

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="the console of Windows keeps Enter as it is")


def test_what_was_typed_too_early_goes_to_the_next_prompt_in_order() -> None:
    with create_pipe_input() as source:
        source.send_text("Hel")
        store_typeahead(source, source.read_keys())  # read by the last prompt, after its Enter
        source.send_text("lo\nyou\n")  # a terminal that is not in raw mode makes line feeds of Enter
        keep_typed_ahead(source)
        keys = [press.key for press in get_typeahead(source)]
    assert keys == [*"Hello", Keys.Enter, *"you", Keys.Enter]


def test_nothing_typed_is_nothing() -> None:
    with create_pipe_input() as source:
        keep_typed_ahead(source)
        assert get_typeahead(source) == []
