"""Commands that make files, in directories of their own, and a task that is given what they made."""

import asyncio
from pathlib import Path

from asyncflow import InputFile, OutputFile, WorkflowEngine


def write_texts():
    names = [f"text-{number}.txt" for number in range(3)]
    for times, name in enumerate(names, 1):
        Path(name).write_text("to be or not to be\n" * times)
    return names


async def main(names):
    async with WorkflowEngine.create() as flow:

        @flow.executable_task(workdir=True)
        def count_words(text, result=OutputFile("words.txt")):
            return ["sh", "-c", 'tr -cs A-Za-z "\\n" < "$0" | sort | uniq -c > words.txt', text]

        @flow.function_task
        def total(runs):
            lines = [line for run in runs for line in Path(run.files["result"]).read_text().splitlines()]
            return sum(int(line.split()[0]) for line in lines if len(line.split()) > 1)

        runs = [count_words(InputFile(name)) for name in names]
        print(await total(runs), "words")


if __name__ == "__main__":
    asyncio.run(main(write_texts()))
