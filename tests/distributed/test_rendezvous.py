"""How processes find each other, with threads in their place."""

import socket
import threading

import pytest

from lvm_jax.distributed import rendezvous
from lvm_jax.distributed.distributed_config import Place


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def join_all(places):
    """What `join` gave or raised, for each place."""
    joined = [None] * len(places)

    def join(number):
        try:
            joined[number] = rendezvous.join(places[number])
        except (RuntimeError, ValueError) as error:
            joined[number] = error

    threads = [threading.Thread(target=join, args=(i,)) for i in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return joined


def places(address, *index_and_count, timeout=60.0):
    return [Place(address=address, count=c, index=i, timeout=timeout) for i, c in index_and_count]


def close(joined):
    for line, lines in joined:
        for one in (line, *lines.values()):
            one.close()


def test_the_hub_has_a_line_to_each(address):
    joined = join_all(places(address, (2, 3), (0, 3), (1, 3)))
    (own, none), (_, lines), (other, _) = joined
    assert not none and sorted(lines) == [0, 1, 2]
    own.send({"from": 2})
    assert lines[2].receive() == [{"from": 2}]
    lines[1].send({"to": 1})
    heard = other.receive()
    while {"to": 1} not in heard:
        heard += other.receive()
    # The port is free again for JAX's own service, while the lines stay.
    socket.create_server(("", int(address.rpartition(":")[2]))).close()
    close(joined)


def test_strangers_at_the_port_do_no_harm(address):
    waiting = threading.Thread(target=lambda: joined.extend(join_all(places(address, (0, 2)))))
    joined = []
    waiting.start()
    port = int(address.rpartition(":")[2])
    for data in (b"PRI * HTTP/2.0\r\n\r\n", b"[1]\n", b""):
        while True:
            try:
                stranger = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                continue
        stranger.sendall(data)
        stranger.close()
    joined += join_all(places(address, (1, 2)))
    waiting.join()
    close(joined)


@pytest.mark.parametrize(
    "others, message",
    [
        ([(1, 3), (2, 4)], "num_processes is 3 on process 0 and 4 on process 2"),
        (
            [(1, 3), (1, 3)],
            "process_id=1 is that of pid .* and of pid .*; give each",
        ),
    ],
)
def test_places_that_do_not_fit_are_refused_everywhere(address, others, message):
    errors = join_all(places(address, (0, 3), *others, timeout=20.0))
    for error in errors:
        assert isinstance(error, ValueError)
    assert len({str(error) for error in errors}) == 1
    with pytest.raises(ValueError, match=message):
        raise errors[0]


def test_a_port_that_is_taken_is_refused(address, monkeypatch):
    monkeypatch.setattr(rendezvous, "_BIND_SECONDS", 0.0)
    with socket.create_server(("", int(address.rpartition(":")[2]))):
        (error,) = join_all(places(address, (0, 2)))
    assert isinstance(error, ValueError) and "cannot listen on port" in str(error)


def test_who_is_missing_is_said_now_and_then(address, monkeypatch, caplog):
    monkeypatch.setattr(rendezvous, "REMIND_EVERY", 0.2)
    with caplog.at_level("INFO"):
        errors = join_all(places(address, (0, 3), (2, 3), timeout=1.5))
    assert f"waiting for process 1 of 3 to join at {address}" in caplog.text
    for error in errors:  # the one that had come, too
        assert isinstance(error, RuntimeError)
        assert str(error).startswith(f"process 1 of 3 did not join at {address} within 1.5 s")
    caplog.clear()
    with caplog.at_level("INFO"):
        (error,) = join_all(places(address, (1, 3), timeout=0.5))
    assert f"waiting for process 0 of 3 at {address} (0 s): Connection refused" in caplog.text
    assert isinstance(error, RuntimeError) and "Connection refused" in str(error)
