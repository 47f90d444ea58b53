"""The REST interface of a DECTRIS detector (SIMPLON): settings, states and commands.

Source: DECTRIS, SIMPLON API Reference, 1.8.0; paths are ``/MODULE/api/VERSION/TASK/NAME``, values travel as
JSON, ``{"value": …}``. No proxy is asked: a detector is a machine beside the microscope.
"""

import http.client
import json
import select
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from streamer.errors import DetectorError, UsageError

__all__ = ["Simplon"]

_CHECK_S = 0.1
_SHOWN_CHARACTERS = 200
_NOT_FOUND = 404
_ANSWER_LIMIT_BYTES = 1 << 20


class Simplon:
    """One detector's REST interface; every call is a connection of its own.

    Parameters
    ----------
    url : str
        ``http://HOST[:PORT]``.
    version : str
        Of the interface, as in the paths.
    timeout_s : float
        How long an answer may take that should come at once [s].

    Raises
    ------
    UsageError
        If the address is none.
    """

    def __init__(self, url: str, version: str, timeout_s: float) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname, parts.port or http.client.HTTP_PORT
        except ValueError as error:
            raise UsageError(f"{url!r} is no address of a detector: {error}") from error
        if parts.scheme != "http" or not self._host or parts.path.strip("/") or parts.query:
            raise UsageError(f"{url!r} is no address of a detector: expected http://HOST or http://HOST:PORT")
        self.url = f"http://{parts.netloc}"
        self._version = version
        self._timeout_s = timeout_s

    def state(self) -> str:
        """Return the detector's state, such as ``idle``, ``ready`` or ``acquire``."""
        return str(self.get("detector", "status/state"))

    def get(self, module: str, name: str) -> Any:
        """Return a value.

        Raises
        ------
        DetectorError
            If the detector does not answer, or has no such value.
        """
        answer = self._call("GET", module, name, None, self._timeout_s)
        if not isinstance(answer, dict) or "value" not in answer:
            raise DetectorError(f"{self.url} gives no value for {module} {name}: {answer!r}")
        return answer["value"]

    def put(self, module: str, name: str, value: Any) -> None:
        """Set a value.

        Raises
        ------
        DetectorError
            If the detector does not answer, or does not take the value.
        """
        self._call("PUT", module, f"config/{name}", {"value": value}, self._timeout_s)

    def command(
        self, name: str, timeout_s: float | None = None, stop: Callable[[], bool] = lambda: False
    ) -> dict[str, Any] | None:
        """Give the detector a command and wait until it is done.

        Parameters
        ----------
        name : str
        timeout_s : float or None
            How long that may take [s].
        stop : callable
            Asked ten times a second; if it says yes, the answer is not waited for.

        Returns
        -------
        dict or None
            What the detector says; None if it was not waited for.

        Raises
        ------
        DetectorError
            If the detector does not answer in time, or does not take the command.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        answer = self._call("PUT", "detector", f"command/{name}", {}, timeout_s, stop)
        return answer if isinstance(answer, dict) or answer is None else {}

    def _call(
        self,
        method: str,
        module: str,
        name: str,
        content: dict[str, Any] | None,
        timeout_s: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> Any:
        what = f"{module} {name}" + (f" = {content['value']}" if content else "")
        connection = http.client.HTTPConnection(str(self._host), self._port, timeout=self._timeout_s)
        try:
            self._send(connection, method, f"/{module}/api/{self._version}/{name}", content)
            if not _answered(connection, timeout_s, stop):
                return None
            response = connection.getresponse()
            text = response.read(_ANSWER_LIMIT_BYTES).decode(errors="replace")
        except TimeoutError as error:
            raise DetectorError(f"{self.url} did not answer {what} within {timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or error
            raise DetectorError(
                f"no detector answers at {self.url} ({reason}): is it switched on, and the address right?"
            ) from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise DetectorError(self._refusal(what, response.status, text))
        return _decoded(text)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, content: dict[str, Any] | None
    ) -> None:
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})

    def _refusal(self, what: str, status: int, text: str) -> str:
        reason = " ".join(text.split())[:_SHOWN_CHARACTERS].strip('"')
        hint = ""
        if status == _NOT_FOUND:
            hint = f"; API {self._version} has no such thing there: is --api-version right?"
        return f"{self.url} refuses {what}: HTTP {status}{f', {reason}' if reason else ''}{hint}"


def _answered(connection: http.client.HTTPConnection, timeout_s: float, stop: Callable[[], bool]) -> bool:
    """Wait for the first bytes of the answer; False if they are not waited for any longer."""
    deadline = time.monotonic() + timeout_s
    while not select.select([connection.sock], [], [], _CHECK_S)[0]:
        if stop():
            return False
        if time.monotonic() > deadline:
            raise TimeoutError
    return True


def _decoded(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text
