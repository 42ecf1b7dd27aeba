"""Parts on a device that is too small for all of them: who is where, who has to leave, and who never moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.errors import UsageError
from systems.codi2.residence import GIB, Residence, size_of

DEVICE = "cuda"
MIB = 2**20


class Elsewhere(nn.Linear):
    """A layer of which a device exists that this machine may lack: it stays where it is and keeps where it was sent."""

    def __init__(self, mebibytes: int) -> None:
        super().__init__(256, mebibytes * MIB // 4 // 256, bias=False, device="meta")
        self.place = "cpu"
        self.journeys: list[str] = []

    def to(self, *args: Any, **kwargs: Any) -> Self:
        if str(args[0]) != self.place:
            self.journeys.append(str(args[0]))
        self.place = str(args[0])
        return self


def parts(**mebibytes: int) -> dict[str, nn.Module]:
    return {name: Elsewhere(size) for name, size in mebibytes.items()}


def places(parts: dict[str, nn.Module]) -> dict[str, Any]:
    return {name: part.place for name, part in parts.items()}


def journeys(parts: dict[str, nn.Module]) -> list[Any]:
    return [journey for part in parts.values() for journey in part.journeys]


def use(residence: Residence, *names: str) -> None:
    for name in names:
        with residence.on_device(name):
            pass


@pytest.mark.parametrize("memory_gb", [0.0, 6 * MIB / GIB, 1.0])
def test_parts_that_fit_are_on_the_device_from_the_beginning_and_never_move(memory_gb: float) -> None:
    own = parts(encoder=1, language=3, decoder=2)
    residence = Residence(own, DEVICE, memory_gb)
    assert set(places(own).values()) == {DEVICE}
    use(residence, "encoder", "language", "decoder", "encoder")
    assert journeys(own) == [DEVICE] * 3


def test_where_memory_is_short_the_part_used_longest_ago_makes_room() -> None:
    own = parts(encoder=1, language=3, decoder=2)
    residence = Residence(own, DEVICE, 5 * MIB / GIB)
    assert set(places(own).values()) == {"cpu"}
    use(residence, "encoder", "language", "encoder")
    assert places(own) == {"encoder": DEVICE, "language": DEVICE, "decoder": "cpu"}
    use(residence, "decoder")
    assert places(own) == {"encoder": DEVICE, "language": "cpu", "decoder": DEVICE}


def test_a_part_whose_leaving_was_interrupted_is_brought_again(monkeypatch: pytest.MonkeyPatch) -> None:
    own = parts(language=3, decoder=3)
    residence = Residence(own, DEVICE, 3 * MIB / GIB)
    use(residence, "language")

    def interrupted(device: str) -> None:
        monkeypatch.undo()
        own["language"].to(device)
        raise KeyboardInterrupt

    monkeypatch.setattr(own["language"], "to", interrupted)
    with pytest.raises(KeyboardInterrupt):
        use(residence, "decoder")
    use(residence, "language")
    assert places(own) == {"language": DEVICE, "decoder": "cpu"}


def test_a_part_that_still_fits_is_not_sent_away() -> None:
    own = parts(encoder=1, language=3, decoder=2)
    residence = Residence(own, DEVICE, 5 * MIB / GIB)
    use(residence, *("language", "decoder") * 3)
    assert journeys(own) == [DEVICE] * 2


def test_the_room_is_made_before_the_part_is_brought() -> None:
    order: list[tuple[str, str]] = []

    class Told(Elsewhere):
        def to(self, *args: Any, **kwargs: Any) -> Self:
            order.append((str(self.out_features), str(args[0])))
            return super().to(*args, **kwargs)

    first, second = Told(1), Told(2)
    residence = Residence({"first": first, "second": second}, DEVICE, 2 * MIB / GIB)
    order.clear()
    use(residence, "first", "second")
    assert order == [("1024", DEVICE), ("1024", "cpu"), ("2048", DEVICE)]


def test_a_part_in_use_is_never_moved_and_what_does_not_fit_beside_it_is_an_error() -> None:
    own = parts(encoder=1, language=3, decoder=2)
    residence = Residence(own, DEVICE, 4 * MIB / GIB)
    with residence.on_device("encoder"), residence.on_device("language"):
        with pytest.raises(UsageError, match=r"memory_gb=0.0039\d*: decoder is needed beside encoder, language, which"):
            use(residence, "decoder")
        assert places(own) == {"encoder": DEVICE, "language": DEVICE, "decoder": "cpu"}
    use(residence, "decoder")
    assert places(own)["decoder"] == DEVICE


def test_a_part_that_fails_is_no_longer_in_use() -> None:
    own = parts(language=3, decoder=2)
    residence = Residence(own, DEVICE, 3 * MIB / GIB)
    with pytest.raises(RuntimeError, match="out of memory"), residence.on_device("language"):
        raise RuntimeError("out of memory")
    use(residence, "decoder")
    assert places(own) == {"language": "cpu", "decoder": DEVICE}


def test_a_part_larger_than_the_memory_is_named_with_its_size() -> None:
    own = parts(encoder=1, language=2048)
    with pytest.raises(UsageError, match=r"memory_gb=1.5: language alone is 2 GiB of weights; set memory_gb higher"):
        Residence(own, DEVICE, 1.5)
    assert journeys(own) == []


@pytest.mark.parametrize("memory_gb", [-1.0, float("nan")])
def test_memory_that_is_no_amount_is_refused(memory_gb: float) -> None:
    with pytest.raises(UsageError, match=f"memory_gb={memory_gb:g}: must be at least 0"):
        Residence(parts(encoder=1), DEVICE, memory_gb)


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    memory=st.integers(6, 24),
    asked=st.lists(st.integers(0, 3), max_size=12),
)
def test_what_is_used_is_on_the_device_and_the_device_never_holds_more_than_its_memory(
    sizes: Sequence[int], memory: int, asked: Sequence[int]
) -> None:
    own = parts(**{str(number): size for number, size in enumerate(sizes)})
    residence = Residence(own, DEVICE, memory * MIB / GIB)
    for number in asked:
        name = str(number % len(sizes))
        with residence.on_device(name):
            assert places(own)[name] == DEVICE
            held = sum(size for part, size in zip(own.values(), sizes, strict=True) if part.place == DEVICE)
            assert held <= memory


def test_sizes_are_those_of_parameters_and_buffers_each_counted_once() -> None:
    part = nn.Sequential(nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8).bfloat16(), nn.Linear(8, 8, bias=False))
    part[2].weight = part[0].weight
    assert size_of(part) == 8 * 8 * 4 + 4 * 8 * 2 + 8


def test_outputs_do_not_depend_on_how_much_memory_there_is() -> None:
    def answer(memory_gb: float) -> Tensor:
        torch.manual_seed(0)
        own = {"encoder": nn.Linear(64, 128), "decoder": nn.Linear(128, 64)}
        residence = Residence(own, "cpu", memory_gb)
        states = torch.ones(2, 64)
        for _ in range(3):
            for name in own:
                with residence.on_device(name), torch.no_grad():
                    states = own[name](states)
        return states

    assert torch.equal(answer(0), answer(40_000 / GIB))


def test_real_parts_are_on_the_device_while_they_are_used() -> None:
    own = {"encoder": nn.Linear(8, 8), "decoder": nn.BatchNorm1d(8)}
    residence = Residence(own, "meta", 300 / GIB)
    with residence.on_device("decoder"):
        assert {tensor.device.type for tensor in own["decoder"].state_dict().values()} == {"meta"}
        assert own["encoder"].weight.device.type == "cpu"
