"""An engine whose model is computed by another server. edgefc's own code renders, checks and ends every answer.

The server proposes token by token. Each is read as if edgefc's own engine had chosen it: by the grammar, which refuses
what is not part of it, by the guide that knows how sure the model is, by stop strings and limits. Where these want
another token than the server took, or go on where it ended, a new request continues from there, with the rest of the
grammar.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from llguidance import LLTokenizer
from typing_extensions import Unpack

from edgefc.cache import TextCache
from edgefc.engine.adapters import UsualAdapters
from edgefc.engine.constraint import ConstraintFactory
from edgefc.engine.costs import PLAIN, Costs
from edgefc.engine.generation import Generation
from edgefc.engine.remote.api import N_TOP, RemoteApi, RemoteEnd, RemoteFacts, RemoteRequest, RemoteToken, read_answer
from edgefc.engine.remote.choices import RemoteSampler, judged_alone, logits_of
from edgefc.engine.remote.client import Client
from edgefc.engine.remote.grammars import GbnfGrammar, LarkGrammar, RemoteGrammar, with_open_tokens
from edgefc.engine.remote.probe import Probe
from edgefc.engine.sequence import GREEDY, RequestOptions, Sequence, new_sequence
from edgefc.engine.setup import Setup
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import (
    CancelledError,
    ConstraintError,
    EdgefcError,
    EngineClosedError,
    GrammarError,
    RequestError,
)
from edgefc.grammar import CompiledGrammar
from edgefc.grammar.portable import portable

T = TypeVar("T")
N_BATCH = 512
MAX_GRAMMARS = 16 << 20  # characters of cached grammars
MAX_CHARACTER = 4  # tokens of a character that a limit may cut


class RemoteEngine:
    """Generates with another server. Thread-safe; `close()` cancels all requests.

    facts   what the server says about its model
    proven  what the probe found of it
    """

    def __init__(
        self,
        client: Client,
        api: RemoteApi,
        tokenizer: Tokenizer,
        guidance: Callable[[Collection[int]], LLTokenizer],
        *,
        control: Callable[[], Collection[int]] = tuple,
        n_ctx: int | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask the server for its facts, and prove that it enforces grammars.

        guidance  converts the vocabulary for llguidance, with these tokens as control tokens besides its own
        control   returns the control tokens that are part of the model's calls

        Raises RemoteEngineError, or RequestError for an n_ctx above the server's.
        """
        self.tokenizer, self._api, self._on_close = tokenizer, api, on_close
        self.adapters = UsualAdapters(label=client.target.kind)  # tells its results from those of the weights here
        self._client = client
        self._grammars: TextCache[str] = TextCache(len, MAX_GRAMMARS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgefc-remote", daemon=True)
        self._tasks: dict[Generation, asyncio.Task[None]] = {}
        self._is_closed = False
        self._thread.start()
        atexit.register(self.close)
        try:
            self.facts: RemoteFacts = self._wait(api.facts(self._client))
            self.n_ctx = self._checked_context(n_ctx)
            probe = Probe(self._client, api, self.facts, tokenizer)
            self.proven = self._wait(probe.run())
            # A server that has llguidance has its way to read a tokenizer.json, too.
            markers = tokenizer.add_markers() if self.proven.takes_lark else frozenset()
            self._wait(probe.prove_control(control(), takes_lark=self.proven.takes_lark))
        except BaseException:
            self.close()
            raise
        self._constraints = ConstraintFactory(functools.cache(lambda: guidance(markers)), tokenizer.vocabulary.handle)
        self.setup = Setup(
            n_ctx=self.n_ctx,
            n_batch=N_BATCH,
            n_seq_max=1,
            n_gpu_layers=0,
            on_cpu=False,
            extra_buffers=False,
            n_threads=1,
            n_threads_batch=1,
            costs=Costs(PLAIN),
            calibrated=False,
        )

    def _checked_context(self, n_ctx: int | None) -> int:
        facts, n_vocab = self.facts, self.tokenizer.n_vocab
        if facts.n_vocab is not None and facts.n_vocab != n_vocab:
            raise self._client.error(
                f"has another vocabulary: {facts.n_vocab:,} tokens, not {n_vocab:,}",
                "Load the model that the engine serves.",
            )
        if n_ctx is not None and n_ctx > facts.n_ctx:
            raise RequestError("n_ctx", f"must be at most {facts.n_ctx}, the context of {self._client.target}")
        return facts.n_ctx if n_ctx is None else n_ctx

    @property
    def name(self) -> str:
        """The server's kind and address, for messages."""
        return str(self._client.target)

    @property
    def cached_bytes(self) -> Mapping[str, int]:
        """Memory of the started grammars; KV caches are the server's."""
        return {"grammars": self._constraints.cached_bytes}

    def save_prefixes(self) -> list[Path]:
        """Raise RequestError: the server keeps its own KV caches."""
        reason = f"snapshots of prompts are not possible: {self.name} keeps its own KV caches"
        raise RequestError("engine", reason, "Warm it with a chat.")

    def submit(self, prompt: list[int], **options: Unpack[RequestOptions]) -> Generation:
        """Start a request and return at once, as `Engine.submit` does.

        Raises RequestError, ContextOverflowError, GrammarError or EngineClosedError.
        """
        self._check_open()
        for name, option in (("trace", "trace"), ("adapters", "lora")):
            if options.get(name):
                raise RequestError(option, f"not supported: {self.name} computes", "Load the model without `engine`.")
        answer = _Answer(self, prompt, options)
        self._loop.call_soon_threadsafe(self._start, answer)
        return answer.sequence.handle

    def close(self) -> None:
        """Cancel all requests and close the connections. May be called more than once."""
        if self._is_closed:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        with contextlib.suppress(RuntimeError):  # the interpreter shuts down
            self._wait(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._on_close()

    def _written(self, grammar: CompiledGrammar) -> RemoteGrammar:
        """Return a grammar in the server's notation. Raises RequestError for one that exists in another only."""
        if self.proven.takes_lark and grammar.build is not None:
            return LarkGrammar(grammar.lark, grammar, self.tokenizer)

        def write() -> str:
            if not (text := grammar.gbnf):
                raise RequestError("grammar", f"cannot be sent to {self.name}", "Load the model without `engine`.")
            return portable(text) if grammar.build is not None else text

        return GbnfGrammar(self._grammars.get(grammar.lark, write), grammar, self.tokenizer)

    def _check_open(self) -> None:
        if self._is_closed:
            raise EngineClosedError("the model was closed", "Load it again.")

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the engine's loop, from another thread."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()

    # -- in the engine's loop ---------------------------------------------------------------------------------

    def _start(self, answer: _Answer) -> None:
        handle = answer.sequence.handle
        if self._is_closed:
            handle.fail(EngineClosedError("the model was closed", "Load it again."))
            return
        self._tasks[handle] = task = self._loop.create_task(answer.run())
        task.add_done_callback(lambda _: self._tasks.pop(handle, None))
        if handle.cancelled:
            task.cancel()

    def _cancel(self, handle: Generation) -> None:
        def cancel() -> None:
            if (task := self._tasks.get(handle)) is not None:
                task.cancel()

        with contextlib.suppress(RuntimeError):  # the loop is closed, and with it the request
            self._loop.call_soon_threadsafe(cancel)

    async def _stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()
        await self._loop.shutdown_asyncgens()
        # Streams that were left early are closed by tasks of the loop's own.
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


class _Answer:
    """One answer while a server generates it."""

    def __init__(self, engine: RemoteEngine, prompt: list[int], options: RequestOptions) -> None:
        """Check the request. Raises what `RemoteEngine.submit` does."""
        self._engine = engine
        self._client, self._api = engine._client, engine._api  # noqa: SLF001 - a part of the engine
        tokenizer = engine.tokenizer
        if engine.proven.takes_lark:
            options = with_open_tokens(options, tokenizer, engine._grammars)  # noqa: SLF001
        self.sequence: Sequence = new_sequence(
            Generation(engine._cancel),  # noqa: SLF001
            prompt,
            options,
            tokenizer=tokenizer,
            n_ctx=engine.n_ctx,
            constraints=engine._constraints,  # noqa: SLF001
        )
        self._sampler = RemoteSampler(options.get("sampling", GREEDY), tokenizer.n_vocab, prompt, self._is_spelled)
        self.sequence.sampler = self._sampler
        n_top = options.get("logprobs")
        self._n_top = max(N_TOP, n_top or 0) if n_top is not None or options.get("guide") is not None else None
        grammar = options.get("grammar")
        self._grammar = None if grammar is None else engine._written(grammar)  # noqa: SLF001
        allowed = self.sequence.visible_control | self.sequence.end_tokens
        is_spelled = self._grammar is not None and self._grammar.spells_control
        self._forbidden = tuple(sorted(tokenizer.vocabulary.control - allowed)) if is_spelled else ()
        self._n_read = 0  # tokens of the answer that the server knows of
        self._n_before = -1  # tokens of the answer when the last request was sent
        self._api.body(self._request(0, ""), engine.facts)  # raises for options that the server does not have

    def _is_spelled(self, token: int) -> bool:
        """Return True if the grammar that the server has allows a token: there, control tokens are text."""
        grammar = self._grammar
        if grammar is None or not grammar.spells_control or not self.sequence.visible_control:
            return False
        return grammar.allows([*self.sequence.generated, token])

    async def run(self) -> None:
        """Generate the answer, and hand it over; an error ends it."""
        sequence = self.sequence
        try:
            sequence.start()
            while not sequence.ended:
                async with contextlib.aclosing(self._found()) as found:
                    await self._follow(found)
            sequence.deliver()
        except asyncio.CancelledError:
            closed = self._engine._is_closed  # noqa: SLF001
            sequence.handle.fail(
                EngineClosedError("the model was closed", "Load it again.")
                if closed and not sequence.handle.cancelled
                else CancelledError("the request was cancelled")
            )
        except EdgefcError as error:
            sequence.handle.fail(error)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer must get it
            reason = f"the answer could not be read: {type(error).__name__}: {error}"
            sequence.handle.fail(EdgefcError(reason, "This is a bug of edgefc: report it."))

    def _request(self, n_read: int, grammar: str) -> RemoteRequest:
        """Build the request for what follows the first `n_read` tokens of the answer."""
        sequence = self.sequence
        return RemoteRequest(
            [*sequence.prompt, *sequence.generated[:n_read]],
            sequence.max_tokens - n_read,
            grammar,
            self._sampler.options,
            self._sampler.seed,
            self._n_top,
            sequence.end_tokens,
            self._forbidden,
        )

    def _start_of_rest(self) -> tuple[int, str]:
        """Return the number of answer tokens that go into the next prompt, and the grammar of what may follow them.

        They are all tokens so far, or those before a character that is not complete yet.
        """
        grammar, size = self._grammar, len(self.sequence.generated)
        if grammar is None:
            return size, ""
        while size:
            try:
                return size, grammar.rest(self.sequence.generated[:size])
            except UnicodeDecodeError:
                size -= 1
            except GrammarError:  # a caller's, in words that only llguidance and the server know
                break
        return 0, grammar.text

    def _found(self) -> AsyncGenerator[RemoteToken | RemoteEnd, None]:
        """Return the server's tokens for the rest of the answer, and its end."""
        if len(self.sequence.generated) == self._n_before:
            raise self._client.error("cannot continue the answer as its grammar demands", "Simplify the grammar.")
        self._n_before = len(self.sequence.generated)
        self._n_read, grammar = self._start_of_rest()
        return self._answer(self._request(self._n_read, grammar))

    def _answer(self, request: RemoteRequest) -> AsyncGenerator[RemoteToken | RemoteEnd, None]:
        return read_answer(self._client, self._api, self._engine.facts, request)

    async def _follow(self, found: AsyncGenerator[RemoteToken | RemoteEnd, None]) -> None:
        """Append the server's tokens until the answer ends, or continues otherwise than the server has it."""
        sequence, last = self.sequence, -1
        async for item in found:
            if isinstance(item, RemoteEnd):
                if item.cached_tokens and not sequence.stats.cached_tokens:
                    sequence.stats.cached_tokens = min(item.cached_tokens, len(sequence.prompt))
                self._end(item, last)
                return
            last = item.token
            if not self._take(await self._judged_alone(item) if self._is_judged(item.token) else item):
                return

    def _is_judged(self, token: int) -> bool:
        """Return True where the guide wants the logprobs before the grammar, and the server tells those after it."""
        sequence = self.sequence
        if self._grammar is None or self._engine.proven.own_logprobs or self._n_read < len(sequence.generated):
            return False
        return sequence.guide is not None and sequence.guide.judges(token)

    async def _judged_alone(self, found: RemoteToken) -> RemoteToken:
        """Ask once more for the token that comes next, without the grammar; return the one that was found with it."""
        tokens = [*self.sequence.prompt, *self.sequence.generated]
        request = RemoteRequest(tokens, 1, n_top=N_TOP, end_tokens=self.sequence.end_tokens)
        self.sequence.stats.model_steps += 1
        async with contextlib.aclosing(self._answer(request)) as answer:
            alone = [item async for item in answer if isinstance(item, RemoteToken)]
        if not alone:
            raise self._client.error("ended an answer before its first token", "See its log, and try again.")
        return judged_alone(found, alone[0], self.sequence.tokenizer.n_vocab)

    def _take(self, found: RemoteToken) -> bool:
        """Append a token, with what the grammar forces after it.

        False if the answer has ended, or the server has another token where the grammar forced one, or the guide took
        one.
        """
        sequence = self.sequence
        if not 0 <= found.token < sequence.tokenizer.n_vocab:
            raise self._client.error(f"sent the token {found.token}, which is not in the vocabulary", _OTHER_TOKENIZER)
        sequence.stats.model_steps += 1
        if self._n_read == len(sequence.generated):
            self._sampler.found = found
            sequence.pending.clear()
            try:
                sequence.sample(logits_of(found, sequence.tokenizer.n_vocab))
            except ConstraintError as error:
                reason = f"does not enforce the grammar: {error.reason}"
                raise self._client.error(reason, self._api.grammar_hint) from None
            if sequence.ended:
                return False
        self._n_read += 1
        return sequence.generated[self._n_read - 1] == found.token

    def _end(self, end: RemoteEnd, last: int) -> None:
        """End the answer where the server did, unless it goes on here.

        last  the server's last token, if it sent one
        """
        sequence = self.sequence
        if end.reason == "length":
            is_full = len(sequence.generated) + MAX_CHARACTER >= sequence.max_tokens
            sequence.end(sequence.max_tokens_reason if is_full else "context")
        elif last not in sequence.visible_control:  # one that ends answers elsewhere is a part of this one
            is_open = self._n_read < len(sequence.generated)
            if is_open or (self._take(RemoteToken(min(sequence.end_tokens, default=-1))) or not sequence.ended):
                raise self._client.error("ended an answer that may not end yet", self._api.grammar_hint)


_OTHER_TOKENIZER = "Load the model that the engine serves."
