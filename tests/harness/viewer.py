"""Someone who looks at a server all the time, as a browser would."""

from __future__ import annotations

import threading

from harness.live import ask, state_of


class Viewer:
    """Asks for the page's state, and the metrics, until the server is gone.

    Attributes:
        states: Documents of the page.
        scrapes: Texts of the metrics.
    """

    def __init__(self, places: dict) -> None:
        self.states: list[dict] = []
        self.scrapes: list[str] = []
        self._places = places
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def finish(self) -> dict:
        """The last document, once the server is gone."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not close its page"
        return self.states[-1]

    def await_state(self, state: str) -> None:
        """Wait until a document says that the run is in this state."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: any(one["state"] == state for one in self.states), 60
            ), f"the page never said {state}"

    def _look(self) -> None:
        pause = threading.Event()
        try:
            while not pause.wait(0.05):
                state = state_of(self._places["page"])
                if "prometheus" in self._places:
                    self.scrapes.append(ask(self._places["prometheus"])[2].decode())
                with self._changed:
                    self.states.append(state)
                    self._changed.notify_all()
        except OSError:
            return
