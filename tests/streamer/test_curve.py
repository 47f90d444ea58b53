"""Keys and encrypted sockets: who is let in, who is not, and what each is told."""

import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from zmq.auth.certs import load_certificate

from streamer.config import LOCAL_ONLY, IngestConfig, RunConfig, SecurityConfig, TeeConfig
from streamer.connection import ConnectionWatch
from streamer.curve import ClientKeys, Guard, client_keys, encrypt_client, expect_secure, leaves_machine
from streamer.errors import RunError, UsageError
from streamer.keys import KeyPair, load_pair, load_public, make_key_files
from streamer.message_kind import Kind, kind_reader
from streamer.replay import ReplaySettings, stream_file
from streamer.sources import Scheme, open_receiver, parse_source

PATIENCE_S = 10.0


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with the keys of a server, a friend, and a stranger."""
    for name in ("server", "friend", "stranger"):
        make_key_files(tmp_path / name)
    return tmp_path


def security(lab: Path, *clients: str) -> SecurityConfig:
    return SecurityConfig(
        key=str(lab / "server.key_secret"), clients=tuple(str(lab / f"{name}.key") for name in clients)
    )


def keys_of(lab: Path, name: str, server: str = "server") -> ClientKeys | None:
    return client_keys(str(lab / f"{name}.key_secret"), str(lab / f"{server}.key"))


def test_the_files_are_zeromqs_own_and_the_secret_one_is_the_owners_alone(tmp_path: Path) -> None:
    secret, public = make_key_files(tmp_path / "mine")
    pair = load_pair(secret)
    assert load_certificate(secret) == (pair.public, pair.secret)
    assert load_certificate(public) == (pair.public, None)
    assert load_public(public) == load_public(secret) == pair.public
    assert zmq.curve_public(pair.secret) == pair.public
    assert pair.secret.decode() not in repr(pair)
    if sys.platform != "win32":
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert stat.S_IMODE(public.stat().st_mode) & 0o022 == 0


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    secret, public = make_key_files(tmp_path / "mine")
    before = secret.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        make_key_files(tmp_path / "mine")
    secret.unlink()
    with pytest.raises(UsageError, match="never overwritten"):
        make_key_files(tmp_path / "mine")
    assert not secret.exists()
    assert public.exists()
    assert before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' permissions are the folder's")
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret, _ = make_key_files(tmp_path / "mine")
    secret.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        load_pair(secret)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no key file"),
        ("nonsense", "is no key file"),
        ('curve\n    public-key = "short"\n', "a key of 5 characters"),
        (f'curve\n    public-key = "{"~" * 40}"\n', "expected 40, in Z85"),
    ],
)
def test_what_is_no_key_is_named(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        load_public(path)


def test_a_public_key_is_not_a_secret_one(lab: Path) -> None:
    with pytest.raises(UsageError, match="holds no secret key"):
        load_pair(lab / "server.key")


def test_keys_of_others_need_a_key_of_ones_own(lab: Path) -> None:
    with pytest.raises(UsageError, match="--server-key needs --key"):
        client_keys("", str(lab / "server.key"))
    assert client_keys(str(lab / "friend.key_secret"), "") is None
    with zmq.Context() as context, pytest.raises(UsageError, match="--client-key needs --key"):
        Guard(context, SecurityConfig(clients=(str(lab / "friend.key"),)))


@pytest.mark.parametrize(
    ("address", "leaves"),
    [
        ("tcp://127.0.0.1:5555", False), ("tcp://127.8.9.1:*", False), ("tcp://localhost:1", False),
        ("tcp://[::1]:5555", False), ("tcp://lo:5555", False), ("inproc://x", False), ("ipc:///tmp/x", False),
        ("tcp://*:5555", True), ("tcp://0.0.0.0:5555", True), ("tcp://192.168.1.7:5555", True),
        ("tcp://eth0:5555", True), ("tcp://[::]:5555", True), ("tcp://dcu.lab:5555", True),
    ],
)  # fmt: skip
def test_which_addresses_can_be_reached_from_outside(address: str, leaves: bool) -> None:
    assert leaves_machine(address) is leaves


def test_an_open_door_must_be_asked_for() -> None:
    elsewhere = "tcp://192.0.2.1:*"  # an address for documentation: no machine has it
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        with Guard(context, LOCAL_ONLY) as guard:
            with pytest.raises(UsageError, match=r"can be reached from other machines: .*--insecure"):
                guard.bind(socket, elsewhere)
            assert guard.bind(socket, "tcp://127.0.0.1:*").startswith("tcp://127.0.0.1:")
        with Guard(context, SecurityConfig(insecure=True)) as guard:
            with pytest.raises(RunError, match=r"cannot bind tcp://192\.0\.2\.1"):
                guard.bind(socket, elsewhere)


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://*", "tcp://:5555", "tcp://a:b", "tcp://127.0.0.1:99999"],
)
def test_an_address_without_a_port_that_there_is_is_called_so(address: str) -> None:
    config = RunConfig(tee=TeeConfig(lossless=(address,)))
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket, Guard(context, LOCAL_ONLY) as guard:
        with pytest.raises(UsageError, match="expected tcp://HOST:PORT"):
            guard.bind(socket, address)
    with pytest.raises(UsageError, match="expected tcp://HOST:PORT"):
        expect_secure(config)


@contextmanager
def server(security: SecurityConfig, say: Callable[[str], None] = lambda line: None) -> Iterator[Any]:
    """A PUSH socket that is bound as the security says, and its address."""
    with zmq.Context() as context, Guard(context, security, say) as guard:
        with context.socket(zmq.PUSH) as socket:
            socket.set(zmq.LINGER, 0)
            yield socket, guard.bind(socket, "tcp://127.0.0.1:*")


@contextmanager
def client(address: str, keys: ClientKeys | None) -> Iterator[tuple[Any, ConnectionWatch]]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RECONNECT_IVL, 50)
        watch = ConnectionWatch(socket)
        encrypt_client(socket, keys)
        socket.connect(address)
        try:
            yield socket, watch
        finally:
            watch.close()


def wait_for_answer(watch: ConnectionWatch) -> str:
    """Wait until the server has let the client in (empty) or has not, and return why not."""
    deadline = time.monotonic() + PATIENCE_S
    while not (watch.n_joined or watch.refusal):
        assert time.monotonic() < deadline, "the server said nothing"
        watch.wait(0.1)
    return watch.refusal


@pytest.mark.parametrize("name", ["friend", "server"])  # a server reaches what it has bound itself
def test_a_friend_is_let_in(lab: Path, name: str) -> None:
    with server(security(lab, "friend")) as (socket, address):
        with client(address, keys_of(lab, name)) as (receiver, watch):
            socket.send(b"frame")
            assert receiver.poll(1000 * PATIENCE_S)
            assert receiver.recv() == b"frame"
            assert wait_for_answer(watch) == ""
            assert watch.n_peers == 1


def test_a_stranger_is_refused_and_both_sides_are_told(lab: Path) -> None:
    said: list[str] = []
    with server(security(lab, "friend"), said.append) as (socket, address):
        with client(address, keys_of(lab, "stranger")) as (_, watch):
            assert wait_for_answer(watch) == "it does not admit this machine's key"
            with pytest.raises(zmq.Again):  # nobody has connected
                socket.send(b"frame", zmq.NOBLOCK)
            watch.wait(0.3)  # it tries again, and is named once
    assert len(said) == 1
    assert load_public(lab / "stranger.key").decode() in said[0]


def test_a_wrong_server_key_is_noticed(lab: Path) -> None:
    with server(security(lab, "friend")) as (_, address):
        with client(address, keys_of(lab, "friend", server="stranger")) as (_, watch):
            assert "is not the one that --server-key names" in wait_for_answer(watch)


def test_a_client_without_keys_is_refused(lab: Path) -> None:
    with server(security(lab, "friend")) as (socket, address):
        with client(address, None) as (_, watch):
            assert "it is encrypted" in wait_for_answer(watch)
            with pytest.raises(zmq.Again):
                socket.send(b"frame", zmq.NOBLOCK)


def test_a_client_with_keys_does_not_take_a_plain_server_for_another(lab: Path) -> None:
    with server(LOCAL_ONLY) as (_, address), client(address, keys_of(lab, "friend")) as (_, watch):
        assert "is not encrypted" in wait_for_answer(watch)


def test_peers_are_counted_though_others_fail(lab: Path) -> None:
    with zmq.Context() as context, Guard(context, security(lab, "friend"), lambda line: None) as guard:
        with context.socket(zmq.PUSH) as socket:
            watch = ConnectionWatch(socket)
            address = guard.bind(socket, "tcp://127.0.0.1:*")
            with client(address, keys_of(lab, "friend")) as (_, inside):
                assert wait_for_answer(inside) == ""
                with client(address, keys_of(lab, "stranger")) as (_, outside):
                    assert wait_for_answer(outside)
                watch.wait(0.2)
                assert (watch.n_peers, watch.n_joined, watch.n_left) == (1, 1, 0)
            deadline = time.monotonic() + PATIENCE_S
            while watch.n_peers and time.monotonic() < deadline:
                watch.wait(0.1)
            assert (watch.n_peers, watch.n_left) == (0, 1)
            watch.close()


def test_a_pair_that_was_made_elsewhere_is_read(tmp_path: Path) -> None:
    from zmq.auth.certs import create_certificates

    _, secret = create_certificates(tmp_path, "theirs")
    Path(secret).chmod(0o600)
    assert isinstance(load_pair(Path(secret)), KeyPair)


def replay_settings(tmp_path: Path, **more: Any) -> ReplaySettings:
    path = tmp_path / "frames.npy"
    np.save(path, np.arange(4 * 16 * 16, dtype=np.uint16).reshape(4, 16, 16))
    return ReplaySettings(path=str(path), rate_hz=0.0, **more)


def receive_kinds(socket: Any) -> list[Kind]:
    kind_of, kinds = kind_reader(Scheme.ATOMSTREAM), []
    while Kind.END not in kinds:
        assert socket.poll(1000 * PATIENCE_S)
        kinds.append(kind_of([part.buffer for part in socket.recv_multipart(copy=False)]))
    return kinds


def test_a_replay_is_encrypted_where_it_binds(lab: Path) -> None:
    addresses: list[str] = []
    settings = replay_settings(lab, security=security(lab, "friend"))
    thread = threading.Thread(target=stream_file, args=(settings, lambda: False, addresses.append))
    thread.start()
    try:
        while not addresses:
            time.sleep(0.01)
        source = parse_source(addresses[0])
        with zmq.Context() as context:
            with open_receiver(context, source, IngestConfig(), keys=keys_of(lab, "friend")) as socket:
                assert receive_kinds(socket) == [Kind.START, *[Kind.IMAGE] * 4, Kind.END]
    finally:
        thread.join(PATIENCE_S)


def test_a_replay_is_encrypted_where_it_connects(lab: Path) -> None:
    with zmq.Context() as context, Guard(context, security(lab, "friend")) as guard:
        with context.socket(zmq.PULL) as socket:
            settings = replay_settings(
                lab,
                address=guard.bind(socket, "tcp://127.0.0.1:*"),
                connect=True,
                security=SecurityConfig(key=str(lab / "friend.key_secret")),
                server_key=str(lab / "server.key"),
            )
            thread = threading.Thread(target=stream_file, args=(settings,))
            thread.start()
            assert receive_kinds(socket) == [Kind.START, *[Kind.IMAGE] * 4, Kind.END]
            thread.join(PATIENCE_S)
