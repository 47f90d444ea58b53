"""Addresses, parsers and sockets of the sources."""

import socket
import time

import pytest
import zmq

from streamer.config import IngestConfig
from streamer.errors import MessageTooLargeError, SourceUnreachableError, UsageError
from streamer.records import SeriesEnd
from streamer.sources import (
    ZMQ_SCHEMES,
    Scheme,
    Source,
    make_encoder,
    make_parser,
    open_receiver,
    parse_source,
    wait_reachable,
)
from tests.streamer.frames import KEY, make_frame, make_image


@pytest.mark.parametrize(
    ("address", "source", "endpoint"),
    [
        ("dectris2://127.0.0.1:31001", Source(Scheme.DECTRIS2, "127.0.0.1", 31001), "tcp://127.0.0.1:31001"),
        ("dectris2://dcu-1.lab", Source(Scheme.DECTRIS2, "dcu-1.lab", 31001), "tcp://dcu-1.lab:31001"),
        ("merlin://merlin-pc", Source(Scheme.MERLIN, "merlin-pc", 6342), "tcp://merlin-pc:6342"),
        ("dectris1://dcu", Source(Scheme.DECTRIS1, "dcu", 9999), "tcp://dcu:9999"),
        ("atomstream://[::1]:5555/", Source(Scheme.ATOMSTREAM, "[::1]", 5555), "tcp://[::1]:5555"),
    ],
)
def test_addresses(address: str, source: Source, endpoint: str) -> None:
    assert parse_source(address) == source
    assert source.endpoint == endpoint
    assert parse_source(str(source)) == source


@pytest.mark.parametrize(
    "address",
    [
        "", "127.0.0.1:31001", "tcp://127.0.0.1:31001", "dectris3://host:1", "dectris2://", "dectris2://:31001",
        "dectris2://host:port", "dectris2://host:1:2", "dectris2://a b:1", "dectris2://host:31001/stream",
        "atomstream://host", "atomstream://host:0", "atomstream://host:65536", "atomstream://::1:5555",
    ],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(
        UsageError, match=r"is not a source: expected dectris2://|needs a port from 1 to 65535"
    ):
        parse_source(address)


@pytest.mark.parametrize("scheme", [Scheme.DECTRIS2, Scheme.ATOMSTREAM])
def test_each_stream_has_a_parser_and_an_encoder(scheme: Scheme) -> None:
    parser = make_parser(Source(scheme, "127.0.0.1", 1))
    encoder = make_encoder(scheme, 0.0)
    for message in (make_frame(make_image(), t=1.5), SeriesEnd(KEY)):
        (parts,) = parser.split([memoryview(part) for part in encoder.encode(message)])
        assert parser.parse(parts) == message


def test_the_limits_reach_the_parser() -> None:
    limits = IngestConfig(frame_limit_bytes=100)
    for scheme in ZMQ_SCHEMES:
        parts = [memoryview(part) for part in make_encoder(scheme, 0.0).encode(make_frame(make_image()))]
        with pytest.raises(MessageTooLargeError, match="the limit is 100"):
            make_parser(Source(scheme, "127.0.0.1", 1), limits=limits).parse(parts)


def test_a_channel_belongs_to_a_detector() -> None:
    with pytest.raises(UsageError, match="carries one channel; 'threshold_2'"):
        make_parser(parse_source("atomstream://127.0.0.1:5555"), "threshold_2")


def test_a_receiver_gets_what_a_detector_pushes() -> None:
    frame = make_frame(make_image(), t=1.5)
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
        port = sender.bind_to_random_port("tcp://127.0.0.1")
        source = Source(Scheme.ATOMSTREAM, "127.0.0.1", port)
        with open_receiver(context, source, IngestConfig(), receive_timeout_ms=5000) as receiver:
            sender.send_multipart(make_encoder(source.scheme, 0.0).encode(frame))
            parts = [memoryview(part) for part in receiver.recv_multipart(copy=False)]
            assert make_parser(source).parse(parts) == frame
            assert (receiver.rcvhwm, receiver.linger, receiver.reconnect_ivl_max) == (512, 0, 1000)


def test_a_message_over_the_limit_is_named_and_the_next_one_arrives() -> None:
    limits = IngestConfig(message_limit_bytes=1000)
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
        source = Source(Scheme.DECTRIS2, "127.0.0.1", sender.bind_to_random_port("tcp://127.0.0.1"))
        parser = make_parser(source, limits=limits)
        with open_receiver(context, source, limits, receive_timeout_ms=5000) as receiver:
            sender.send(bytes(1500))
            sender.send(make_encoder(source.scheme, 0.0).encode(SeriesEnd(KEY))[0])
            with pytest.raises(MessageTooLargeError):
                parser.parse([memoryview(receiver.recv(copy=False))])
            assert parser.parse([memoryview(receiver.recv(copy=False))]) == SeriesEnd(KEY)


def test_a_message_far_over_the_limit_is_never_read() -> None:
    limits = IngestConfig(message_limit_bytes=1000)
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender:
        sender.linger = 0
        source = Source(Scheme.DECTRIS2, "127.0.0.1", sender.bind_to_random_port("tcp://127.0.0.1"))
        with open_receiver(context, source, limits, receive_timeout_ms=500) as receiver:
            sender.send(bytes(2001))
            with pytest.raises(zmq.Again):
                receiver.recv()


def test_a_source_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wait_reachable(Source(Scheme.DECTRIS2, "127.0.0.1", port), 5.0)
    started = time.monotonic()
    with pytest.raises(
        SourceUnreachableError, match=f"nothing answers at dectris2://127.0.0.1:{port} "
    ) as error:
        wait_reachable(Source(Scheme.DECTRIS2, "127.0.0.1", port), 0.3)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started > 0.15


def test_a_host_that_does_not_exist_is_named_at_once() -> None:
    with pytest.raises(
        SourceUnreachableError, match=r"nothing answers at dectris2://no\.such\.host\.invalid"
    ):
        wait_reachable(parse_source("dectris2://no.such.host.invalid"), 60.0)
