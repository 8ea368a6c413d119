"""Prompt tasks: bodies that return a question, for backends that answer."""

import pytest

from asyncflow import NoopExecutionBackend, WorkflowEngine
from asyncflow.body import parse_prompt
from asyncflow.errors import EmptyBodyError


async def test_a_backend_that_cannot_says_so_and_what_to_do(any_flow):
    """The call fails with NotImplementedError that names backend and remedy; other calls go on."""

    @any_flow.prompt_task
    async def ask(topic):
        return f"What is {topic}?"

    @any_flow.function_task
    def one():
        return 1

    other = one()
    with pytest.raises(
        NotImplementedError, match=f"'{any_flow.backend.name}' does not serve prompts.*backend='its name'"
    ):
        await ask("life")
    assert await other == 1


async def test_the_noop_backend_answers():
    """On the no-op backend a prompt is answered with "Dummy Prompt Output", after its inputs."""
    async with WorkflowEngine.create(backend=NoopExecutionBackend()) as flow:

        @flow.function_task
        def topic():
            raise AssertionError("a dry run runs nothing")

        @flow.prompt_task
        async def ask(topic):
            return f"What is {topic}?"

        assert await ask(topic()) == "Dummy Prompt Output"


async def test_a_prompt_is_routed_to_the_backend_that_serves_it(thread_flow):
    """With a second backend, a prompt task sent there by name is answered on what the first computed."""
    from concurrent.futures import ThreadPoolExecutor

    from asyncflow import ConcurrentExecutionBackend

    with ThreadPoolExecutor(1) as pool:
        backends = [ConcurrentExecutionBackend(pool), NoopExecutionBackend(name="oracle")]
        async with WorkflowEngine.create(backend=backends) as flow:

            @flow.function_task
            def topic():
                return "life"

            @flow.prompt_task(backend="oracle")
            async def ask(topic):
                return f"What is {topic}?"

            assert await ask(topic()) == "Dummy Prompt Output"


async def test_a_prompt_inside_a_body_is_refused_in_words(flow):
    """Where there is no backend to ask, a prompt task called inside another's body says so."""

    @flow.prompt_task
    def ask():
        return "What is life?"

    @flow.function_task
    def outer():
        return ask()

    with pytest.raises(NotImplementedError, match="does not serve prompts"):
        await outer()


@pytest.mark.parametrize("returned", [None, "", "  \n", 3, ["a"]])
def test_a_prompt_is_a_non_empty_string(returned):
    """Anything else is refused by name."""
    with pytest.raises(EmptyBodyError, match="prompt task 'ask' returned"):
        parse_prompt(returned, "ask")
