"""What an engine shows of itself: as HTML, as a graph, and live in a notebook."""

import weakref
from collections.abc import Callable

from asyncflow.dispatch import Dispatch
from asyncflow.events.pools import Pools
from asyncflow.notebook.graph import Graph
from asyncflow.notebook.live import NotebookProgress, Pace
from asyncflow.notebook.page import EngineView, engine_html, progress_html


class Looks:
    """Looks at the books of one engine; asks nobody, so that nothing has to be waited for.

    Parameters
    ----------
    dispatch : Dispatch
        Whose books.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._live: NotebookProgress | None = None

    def html(self) -> str:
        """The engine."""
        return engine_html(self.view())

    def graph(self, *, by_name: bool | None) -> Graph:
        """Its calls and what depends on what."""
        return Graph(self._dispatch.ledger.picture(), by_name=by_name)

    def follow(self, interval: float) -> NotebookProgress:
        """Show in this notebook how far it is; a view shown earlier keeps what it shows."""
        self.close()
        self._live = NotebookProgress(_render(self), interval)
        return self._live

    def close(self) -> None:
        """Follow no more."""
        if self._live is not None:
            self._live.close()

    @property
    def dashboard_link(self) -> str | None:
        """The address of the dashboard of the default backend."""
        return getattr(self._dispatch.default, "dashboard_link", None)

    def view(self) -> EngineView:
        """What is known now."""
        dispatch = self._dispatch
        view = EngineView(dispatch.uid, tuple(dispatch.backends), picture=dispatch.ledger.picture())
        if dispatch.keeping.run is not None:
            view.run_dir = str(dispatch.keeping.run.path)
        if dispatch.closed:
            view.status = "closed"
            return view
        pools = Pools()
        for event in dispatch.events.standing:
            pools.take(event)
        view.link, view.pools = self.dashboard_link, pools.counts()
        known = [force for backend in dispatch.backends.values() if (force := backend.workforce) is not None]
        if known:
            view.workers = sum(force.workers for force in known)
            view.slots = sum(force.slots for force in known)
        return view


def _render(looks: Looks) -> Callable[[], str | None]:
    """What shows how far the engine is, as long as it is there: a view does not keep it."""
    found, pace = weakref.ref(looks), Pace()

    def render() -> str | None:
        alive = found()
        if alive is None:
            return None
        view = alive.view()
        return progress_html(view, pace.told(view.picture.ended, view.picture.total - view.picture.ended))

    return render
