"""Senders that write down what was promised to them."""

import contextlib
import hashlib
import random
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from support import pdus
from support.scripted_peer import Address, PeerError, ScriptedPeer

SMALLEST_BYTES = 4_000
LARGEST_BYTES = 5_000_000
REPEAT_SHARE = 0.1
"""How often an instance that was acknowledged is sent again, with its own or with other bytes."""

_ROOT = "1.2.826.0.1.3680043.8.498"


@dataclass(frozen=True)
class Instance:
    """An instance on its way; `digest` is the SHA-256 of its data set."""

    uid: str
    data_set: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data_set).hexdigest()


@dataclass(frozen=True, slots=True)
class Promise:
    """A Success that a sender had in its hands at a time of CLOCK_MONOTONIC."""

    at_ns: int
    uid: str
    digest: str


@dataclass
class Ledger:
    """Digests of the data sets of each SOP Instance: what was sent, and what was answered with 0000."""

    sent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    refusals: list[int] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)

    def until(self, at_ns: int) -> "Ledger":
        """Return what had been promised at a moment, of all that was ever sent."""
        past = Ledger(sent=self.sent)
        for promise in self.promises:
            if promise.at_ns <= at_ns:
                past.acknowledged[promise.uid].add(promise.digest)
        return past

    @property
    def acknowledged_count(self) -> int:
        return sum(len(digests) for digests in self.acknowledged.values())


def make_instance(rng: random.Random, uid: str, size_bytes: int, *, study: int | None = None) -> Instance:
    """Return a CT instance of random pixels, in one of a few studies if none is given."""
    study = rng.randrange(5) if study is None else study
    series = f"{study}.{rng.randrange(3)}"
    elements = [
        _short(0x0008, 0x0016, b"UI", pdus.padded(pdus.CT_IMAGE_STORAGE)),
        _short(0x0008, 0x0018, b"UI", pdus.padded(uid)),
        _short(0x0010, 0x0010, b"PN", b"Kill^Test "),
        _short(0x0010, 0x0020, b"LO", b"P%03d" % study),
        _short(0x0020, 0x000D, b"UI", pdus.padded(f"{_ROOT}.{study}")),
        _short(0x0020, 0x000E, b"UI", pdus.padded(f"{_ROOT}.{series}")),
        struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size_bytes & ~1) + rng.randbytes(size_bytes & ~1),
    ]
    return Instance(uid, b"".join(elements))


def store(peer: ScriptedPeer, instance: Instance, message_id: int = 1) -> int:
    """Send `instance` and return the status that it was answered with."""
    peer.send(pdus.store_pdus(instance.uid, instance.data_set, message_id=message_id))
    response = peer.expect_response()
    if response.message_id != message_id:
        raise PeerError(f"an answer to message {response.message_id} in place of {message_id}")
    return response.status


class AcknowledgedSender:
    """Sends on several associations at once until it is stopped or cut off.

    Parameters
    ----------
    address
        Of the node.
    ledger
        Written to by all associations; keeps what earlier senders wrote.
    seed
        The same seed sends the same instances, unless the node is asked when to stop.
    largest_bytes
        Of pixel data.
    """

    def __init__(
        self,
        address: Address,
        ledger: Ledger,
        seed: int,
        *,
        association_count: int = 4,
        largest_bytes: int = LARGEST_BYTES,
    ) -> None:
        self.ledger = ledger
        self._address = address
        self._largest_bytes = largest_bytes
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._first_answer = threading.Event()
        self.cut_off: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._run, args=(f"{seed}.{number}",), name=f"sender-{number}")
            for number in range(association_count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no new instance, wait for the answers under way, release."""
        self._stop.set()
        self.join()

    def ask_to_stop(self) -> None:
        self._stop.set()

    def join(self, seconds: float = 30.0) -> None:
        for thread in self._threads:
            thread.join(seconds)
            if thread.is_alive():
                raise PeerError(f"{thread.name} still waits for an answer after {seconds} s")

    def wait_for_an_answer(self, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not self._first_answer.wait(0.01):
            if self.cut_off or time.monotonic() > deadline:
                raise PeerError(f"nothing was acknowledged: {self.cut_off}")

    def _run(self, name: str) -> None:
        rng = random.Random(name)
        try:
            with ScriptedPeer.connect(self._address, deadline_seconds=30.0) as peer:
                peer.associate()
                for count, instance in enumerate(_instances(rng, name, self._largest_bytes)):
                    if self._stop.is_set():
                        break
                    self._send(peer, instance, count % 0xFFFF + 1)
                peer.release()
        except (OSError, PeerError) as error:
            self.cut_off.append(error)

    def _send(self, peer: ScriptedPeer, instance: Instance, message_id: int) -> None:
        digest = instance.digest
        with self._lock:
            self.ledger.sent[instance.uid].add(digest)
        status = store(peer, instance, message_id)
        answered_at_ns = time.monotonic_ns()
        with self._lock:
            if status:
                self.ledger.refusals.append(status)
            else:
                self.ledger.acknowledged[instance.uid].add(digest)
                self.ledger.promises.append(Promise(answered_at_ns, instance.uid, digest))
        self._first_answer.set()


@contextmanager
def sending(
    address: Address,
    ledger: Ledger,
    seed: int,
    *,
    association_count: int = 4,
    largest_bytes: int = LARGEST_BYTES,
) -> Iterator[AcknowledgedSender]:
    """Send while the context lasts; at its end every thread has ended."""
    sender = AcknowledgedSender(
        address, ledger, seed, association_count=association_count, largest_bytes=largest_bytes
    )
    sender.start()
    try:
        yield sender
    finally:
        with contextlib.suppress(PeerError):
            sender.stop()


def _instances(rng: random.Random, name: str, largest_bytes: int) -> Iterator[Instance]:
    known: list[Instance] = []
    count = 0
    while True:
        if known and rng.random() < REPEAT_SHARE:
            yield _repetition(rng, rng.choice(known))
            continue
        count += 1
        # evenly over the orders of magnitude: most instances are small, some are of the largest size
        size = int(SMALLEST_BYTES * (largest_bytes / SMALLEST_BYTES) ** rng.random())
        instance = make_instance(rng, f"{_ROOT}.9.{name}.{count}", size)
        known = [*known[-20:], instance]
        yield instance


def _repetition(rng: random.Random, instance: Instance) -> Instance:
    """Return the same instance, or one that is a conflict with it."""
    if rng.random() < 0.5:
        return instance
    return make_instance(rng, instance.uid, SMALLEST_BYTES)


def _short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value
