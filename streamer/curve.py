"""Who may connect: CURVE on the sockets that may leave this machine, and no open door by accident.

A socket that binds is a server. With `SecurityConfig.clients` it is encrypted and admits those public keys
and its own, no others. Without, it may bind to the loopback interface only, unless `SecurityConfig.insecure`
says that the network is trusted. A socket that connects is a client; it knows the server's public key, and
so whom it talks to.

The keys that a server accepts are asked for by libzmq over ZAP (ZeroMQ RFC 27), which a thread here answers:
pyzmq's own runs on asyncio, and on Windows that needs yet another package.
"""

import ipaddress
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from streamer.closing import Closing
from streamer.config import RunConfig, SecurityConfig
from streamer.errors import RunError, UsageError
from streamer.keys import KeyPair, expect_curve, load_pair, load_public

__all__ = [
    "ClientKeys",
    "Guard",
    "client_keys",
    "connect_client",
    "encrypt_client",
    "expect_secure",
    "leaves_machine",
    "own_keys",
]

_ZAP_ADDRESS = "inproc://zeromq.zap.01"  # where libzmq asks
_ZAP_DOMAIN = b"atomstream"
_ZAP_PARTS = 7  # of a question about a CURVE client; the last is its key
_KEY_BYTES = 32
_STOP_CHECK_MS = 50
_MOST_NAMED = 100  # refused keys
_TCP_WITH_PORT = re.compile(r"tcp://.+:(\d+|\*)")
_LAST_PORT = 65535

_log = logging.getLogger("atomstream.keys")


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a connecting socket needs: its own pair, and the server's public key (Z85)."""

    pair: KeyPair
    server: bytes


def client_keys(key: str, server_key: str) -> ClientKeys | None:
    """Read the key files of a connecting socket; None where the server is not encrypted.

    Parameters
    ----------
    key, server_key : str
        This machine's secret file, and the server's public one; empty: none.

    Raises
    ------
    UsageError
        If a file holds no key, or there is no key of one's own.
    """
    if not server_key:
        return None
    expect_curve()
    if not key:
        raise UsageError("--server-key needs --key too: this machine's own, by which the server knows it")
    return ClientKeys(load_pair(Path(key)), load_public(Path(server_key)))


def own_keys(security: SecurityConfig) -> ClientKeys | None:
    """Return the keys by which a program reaches what it has bound; None where nothing is encrypted."""
    pair = _server_pair(security)
    return None if pair is None else ClientKeys(pair, pair.public)


def encrypt_client(socket: Any, keys: ClientKeys | None) -> None:
    """Encrypt a socket that is going to connect; without keys it stays as it is."""
    if keys is not None:
        socket.curve_publickey, socket.curve_secretkey = keys.pair.public, keys.pair.secret
        socket.curve_serverkey = keys.server


def connect_client(socket: Any, address: str, keys: ClientKeys | None) -> None:
    """Connect a socket, encrypted if there are keys; ZeroMQ wants to be told of an IPv6 address."""
    encrypt_client(socket, keys)
    socket.set(zmq.IPV6, int("://[" in address))
    socket.connect(address)


def leaves_machine(address: str) -> bool:
    """Whether something bound to a ZeroMQ address can be reached from other machines."""
    transport, _, rest = address.partition("://")
    host = rest.rpartition(":")[0].strip("[]")
    if transport != "tcp" or host in ("localhost", "lo"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:  # every interface (*), one of them by its name, or a host's name
        return True


def expect_secure(config: RunConfig) -> None:
    """Check a run's keys, and that what it binds is not open to all, before anything is started.

    Raises
    ------
    UsageError
        If a file holds no key, a key of one's own is missing, an address has no port, or can be reached from
        other machines and nothing says by whom.
    """
    client_keys(config.security.key, config.source.server_key)
    encrypted = _server_pair(config.security) is not None
    outputs = (*config.tee.lossless, *config.tee.best_effort)
    for address in filter(None, (config.view.bind, config.analysis.remote, *outputs)):
        _expect_address(address)
        if not encrypted:
            _expect_local(address, config.security)
    for path in config.security.clients:
        load_public(Path(path))


class Guard(Closing):
    """Binds sockets of one ZeroMQ context, and answers who may connect; a context manager.

    Close the sockets, then the guard, then the context.

    Parameters
    ----------
    context : zmq.Context
        One guard a context: libzmq asks at one address.
    security : SecurityConfig
    say : callable
        Told, once for each key, that a client was refused; called from the guard's thread.

    Raises
    ------
    UsageError
        If a key file holds none.
    """

    def __init__(
        self, context: "zmq.Context[Any]", security: SecurityConfig, say: Callable[[str], None] = _log.warning
    ) -> None:
        self._security = security
        self._say = say
        self._pair = _server_pair(security)
        self._thread: threading.Thread | None = None
        if self._pair is not None:
            self._admitted = {self._pair.public, *(load_public(Path(path)) for path in security.clients)}
            self._refused: set[bytes] = set()
            self._stop = threading.Event()
            self._questions = context.socket(zmq.REP)
            self._questions.set(zmq.LINGER, 0)
            self._questions.bind(_ZAP_ADDRESS)
            self._thread = threading.Thread(target=self._answer, name="atomstream-guard", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop answering; may be called twice."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def bind(self, socket: Any, address: str) -> str:
        """Bind a socket, encrypted if clients are named, and return the address it got.

        Raises
        ------
        UsageError
            If the address has no port, or can be reached from other machines and nothing says who may.
        RunError
            If the address cannot be bound.
        """
        _expect_address(address)
        if self._pair is not None:
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = self._pair.public, self._pair.secret
            socket.zap_domain = _ZAP_DOMAIN
        else:
            _expect_local(address, self._security)
        socket.set(zmq.IPV6, int("://[" in address))
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise RunError(
                f"cannot bind {address}: {error.strerror}; choose another address or port"
            ) from error
        return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))

    def _answer(self) -> None:
        try:
            while not self._stop.is_set():
                if self._questions.poll(_STOP_CHECK_MS):
                    self._questions.send_multipart(self._reply(self._questions.recv_multipart()))
        finally:
            self._questions.close()

    def _reply(self, question: list[bytes]) -> list[bytes]:
        """Answer one question: version, id, domain, address, identity, mechanism, key (RFC 27)."""
        version, request = (*question, b"", b"")[:2]
        mechanism, raw = question[5:_ZAP_PARTS] if len(question) == _ZAP_PARTS else (b"", b"")
        key = z85.encode(raw) if mechanism == b"CURVE" and len(raw) == _KEY_BYTES else b""
        if key in self._admitted:
            return [version, request, b"200", b"OK", key, b""]
        self._name_refused(key, question[3].decode(errors="replace") if len(question) > 3 else "?")
        return [version, request, b"400", b"this key is not admitted", b"", b""]

    def _name_refused(self, key: bytes, address: str) -> None:
        if key not in self._refused and len(self._refused) < _MOST_NAMED:
            self._refused.add(key)
            self._say(
                f"a client at {address} was refused: its key {key.decode()} is none of those of --client-key"
            )


def _expect_address(address: str) -> None:
    found = _TCP_WITH_PORT.fullmatch(address)
    wrong = found is None or (found[1] != "*" and int(found[1]) > _LAST_PORT)  # libzmq takes it modulo 65536
    if address.startswith("tcp://") and wrong:
        raise UsageError(
            f"{address} is no address to bind: expected tcp://HOST:PORT, as in tcp://127.0.0.1:31001"
        )


def _expect_local(address: str, security: SecurityConfig) -> None:
    if leaves_machine(address) and not security.insecure:
        raise UsageError(
            f"{address} can be reached from other machines: say who may connect (--key OWN.key_secret"
            " --client-key THEIRS.key; atomstream keys makes them), or --insecure if the network is trusted"
        )


def _server_pair(security: SecurityConfig) -> KeyPair | None:
    """Return the keys of sockets that bind; None where they are not encrypted."""
    if not security.clients:
        return None
    expect_curve()
    if not security.key:
        raise UsageError("--client-key needs --key too: this machine's own, by which the clients know it")
    return load_pair(Path(security.key))
