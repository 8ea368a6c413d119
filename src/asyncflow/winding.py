"""The end of one engine in two steps: first what runs may end, then the rest is cancelled."""

import asyncio
import logging

from asyncflow.dispatch import Dispatch

logger = logging.getLogger("asyncflow")


class Winding:
    """Winds one engine down.

    Parameters
    ----------
    dispatch : Dispatch
        Where its calls are.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def wind_down(self, grace: float, reason: str = "") -> None:
        """Begin nothing any more, and wait at most `grace` seconds for what runs.

        Calls that have not begun stay pending, those that are made meanwhile too, and blocks go on as far as they
        get: whoever awaits them sees neither an error nor an end that is none. `reason` is for the journal.
        """
        dispatch = self._dispatch
        if reason:
            dispatch.keeping.ends(reason, grace)
        dispatch.hold_back()
        if running := dispatch.in_flight:
            logger.info("%d calls that run may end within %g s; no other begins", running, grace)
        try:
            async with asyncio.timeout(grace):
                await dispatch.quiet()
        except TimeoutError:
            logger.warning("%d calls still run after %g s, and are cancelled", dispatch.in_flight, grace)

    def cancel_all(self) -> None:
        """Cancel what is left; further calls begin as ever, as a script may have to clean up."""
        self._dispatch.cancel_all()
        self._dispatch.go_on()
