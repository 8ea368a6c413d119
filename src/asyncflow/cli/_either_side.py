"""Commands whose own options may stand on either side of a script that has options of its own."""

from collections.abc import Sequence

import click


class EitherSide(click.Command):
    """After the script, its long options belong to it where they are spelt out; all else is the script's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, own_first(args, self.params))


def own_first(args: list[str], parameters: Sequence[click.Parameter]) -> list[str]:
    """`args` with the command's own options moved before the script, and a ``--`` that keeps click off the rest."""
    options = [each for each in parameters if isinstance(each, click.Option)]
    valued = {word for option in options if not option.is_flag for word in option.opts}
    flags = {word for option in options if option.is_flag for word in option.opts}
    before, after = _split(args, valued)
    if not after:
        return before
    script, *rest = after
    own: list[str] = []
    theirs: list[str] = []
    words = iter(rest)
    for word in words:
        name, has_value, _ = word.partition("=")
        if word == "--":
            theirs.extend(words)
        elif not word.startswith("--") or name not in valued | flags:
            theirs.append(word)
        elif name in flags or has_value:
            own.append(word)
        else:
            value = next(words, None)
            if value is None:
                raise click.BadOptionUsage(word, f"Option {word!r} requires an argument.")
            own.append(f"{word}={value}")
    return [*before, *own, "--", script, *theirs]


def _split(args: list[str], valued: set[str]) -> tuple[list[str], list[str]]:
    """What stands before the script, and the script with what follows."""
    words = enumerate(args)
    for index, word in words:
        if word == "--":
            return args[:index], args[index + 1 :]
        if not word.startswith("-"):
            return args[:index], args[index:]
        if word in valued:
            next(words, None)  # its value
    return args, []
