"""The benchmarks: both sides compute the same, and the page gets all it shows. No test on time."""
import copy
import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import common, others, page  # noqa: E402

NETWORKS = {"784-200-10": ("mlp", (784, 200, 10)), "64-64-10": ("mlp", (64, 64, 10)),
            "784-1024-1024-10": ("mlp", (784, 1024, 1024, 10)), "convolutions": ("small_convolutions", ()),
            "LeNet-5": ("lenet", ())}


@pytest.fixture
def torch():
    """PyTorch, with one thread; every script but `others` and `page` needs it."""
    pytest.importorskip("threadpoolctl", reason="the benchmarks need the extra: pip install -e .[bench]")
    found = pytest.importorskip("torch", reason="the benchmarks need the extra: pip install -e .[bench]")
    found.set_num_threads(1)
    return found


@pytest.fixture
def data() -> dict:
    """What the page shows."""
    return json.loads(page.PAGE.read_text(encoding="utf-8"))


# ---- the scripts

@pytest.mark.parametrize("name", sorted(page.ROWS))
def test_a_script_can_be_imported_and_measures(torch, name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.measure) and module.__doc__


def test_make_bench_runs_every_script_and_then_the_page() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = text[text.index("\nbench:"):text.index("\ndocs:")]
    names = re.search(r"for name in ([\w ]+);", recipe)[1].split()
    assert set(names[:-1]) == set(page.ROWS) and names[-1] == "page" and "execute speed" in recipe


@pytest.mark.parametrize("name", NETWORKS)
def test_both_sides_compute_the_same_loss_and_go_on_doing_so(torch, name: str) -> None:
    from benchmarks import networks

    maker, units = NETWORKS[name]
    network = getattr(networks, maker)(*units)
    model, peer, rule = networks.pair(network, "sgd")
    X, y = networks.examples(64, network[2])
    for _ in range(3):
        J = torch.nn.functional.cross_entropy(peer(torch.tensor(X)), torch.tensor(y))
        common.same_loss(model.mean_loss(X, y), J.item())
        rule.zero_grad()
        J.backward()
        rule.step()
        model.fit(X, y, epochs=1, batch_size=64, progress=False)


def test_adam_steps_as_there(torch) -> None:
    from benchmarks import networks

    model, peer, rule = networks.pair(networks.mlp(64, 64, 10), "adam")
    X, y = networks.examples(32, (64,))
    for _ in range(3):
        rule.zero_grad()
        torch.nn.functional.cross_entropy(peer(torch.tensor(X)), torch.tensor(y)).backward()
        rule.step()
        model.fit(X, y, epochs=1, batch_size=32, progress=False)
    J = torch.nn.functional.cross_entropy(peer(torch.tensor(X)), torch.tensor(y))
    common.same_loss(model.mean_loss(X, y), J.item())


def test_different_losses_are_refused() -> None:
    common.same_loss(2.0, 2.0001)
    with pytest.raises(AssertionError, match="the losses differ"):
        common.same_loss(2.0, 2.001)


def test_rounds_take_turns() -> None:
    order = []
    times = common.in_turns([lambda: order.append("a"), lambda: order.append("b")], rounds=3)
    assert order == ["a", "b"] * 4 and [len(own) for own in times] == [3, 3]
    found = common.ratio([2.0, 1.0], [4.0, 5.0])
    assert found == {"ours_ms": 1e3, "theirs_ms": 4e3, "ratio": 0.25, "lowest": 0.2, "highest": 0.5}


def test_adam_in_blocks_is_the_textbook_s(torch) -> None:
    from benchmarks.choices import adam, plain_adam, vectors

    states = [vectors(1000) for _ in range(3)]
    for state in states:
        state[2:] = 0  # the two keep their averages in different scales
    for step in (adam(states[0], 64), adam(states[1], 1000), plain_adam(states[2])):
        step()
    np.testing.assert_array_equal(states[0][0], states[1][0])
    np.testing.assert_allclose(states[0][0], states[2][0], rtol=1e-5)


def test_a_clock_counts_each_second_once(torch, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.parts import Clock

    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds
    clock = Clock()
    inner = clock.wrapped("inner", lambda: wait(2.0))

    def work() -> None:
        wait(1.0)
        inner()
        inner()
        wait(0.5)
    clock.wrapped("outer", work)()
    assert clock.seconds == {"inner": 4.0, "outer": 1.5}


def test_every_part_of_a_step_is_found_and_left_as_it_was(torch) -> None:
    from benchmarks import parts

    before = [getattr(owner, name) for _, owner, name in parts.OWNERS]
    row = parts.one_batch_size(32, 128, rounds=1)
    assert set(row["parts_us"]) == set(parts.PARTS) and min(row["parts_us"].values()) > 0
    assert [getattr(owner, name) for _, owner, name in parts.OWNERS] == before


def test_growth_has_a_slope(torch) -> None:
    from benchmarks import growth

    rows = growth.measure((128, 256), (1, 2), seconds=0.0)
    found = [(row["series"], row["size"]) for row in rows]
    assert found == [("examples", 128), ("examples", 256), ("depth", 1), ("depth", 2)]
    assert growth.slope([{"series": "a", "size": n, "ms": 3 * n} for n in (1, 10, 100)], "a") == pytest.approx(1)
    for sizes in (growth.EXAMPLES, growth.DEPTHS):
        assert max(sizes) >= 100 * min(sizes)


def test_the_threads_are_given_back(torch) -> None:
    import threadpoolctl
    from benchmarks.threads import square_product, two_over_one

    before = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    assert two_over_one(square_product(8), rounds=1)["ratio"] > 0
    assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == before


def test_training_respects_the_threads_that_the_user_set(torch) -> None:
    import threadpoolctl
    from benchmarks import networks
    from slugnet.model import Callback

    def numbers() -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    class Watch(Callback):
        def on_batch_end(self, model, step, logs):
            assert numbers() == {1}
    model, *_ = networks.pair(networks.mlp(64, 64, 10))
    X, y = networks.examples(256, (64,))
    with threadpoolctl.threadpool_limits(1):
        model.fit(X, y, epochs=1, progress=False, callbacks=[Watch()])
        assert numbers() == {1}
    before = numbers()
    model.fit(X, y, epochs=1, progress=False)
    model.transform(X)
    assert numbers() == before


def test_work_is_counted(torch) -> None:
    from benchmarks import roofline

    assert roofline.dense_work(2, 3, 5) == (60, 4 * (6 + 15 + 5 + 10))
    assert roofline.convolution_work((2, 3, 4, 4), 5, 3) == (2 * 2 * 16 * 5 * 27, 4 * (2 * 16 * 8 + 5 * 28))
    assert roofline.elementwise_work((2, 3), 2) == (12, 48)
    for _, layer, shape, (flops, size) in roofline.points():
        assert flops > 0 and size >= 4 * np.prod(shape)


# ---- the other NumPy libraries

def test_slugnet_s_side_of_the_others_is_the_network_that_is_described(tmp_path: Path) -> None:
    others.prepare(tmp_path / "data.npz")
    data = dict(np.load(tmp_path / "data.npz"))
    losses = others.slugnet_steps(data)()
    X, y = next(others.batches(data))
    A = np.maximum(X @ data["W1"] + data["b1"], 0) @ data["W2"] + data["b2"]
    expected = np.mean(np.log(np.exp(A).sum(axis=1)) - A[np.arange(len(y)), y])
    assert len(losses) == others.STEPS and losses[0] == pytest.approx(expected, rel=1e-5)


def test_the_others_were_measured_once_with_versions_and_date(data: dict) -> None:
    kept = json.loads(page.OTHERS.read_text(encoding="utf-8"))
    assert {row["library"] for row in kept["rows"]} == {"slugnet", *others.LIBRARIES}
    assert all(row["version"] for row in kept["rows"]) and re.fullmatch(r"\d{4}-\d\d-\d\d", kept["date"])
    assert data["others"] == page.rounded(kept)


# ---- the page's data

def test_the_page_has_all_it_shows(data: dict) -> None:
    assert page.problems(data) == []


@pytest.mark.parametrize(("change", "problem"), [
    (lambda data: data.pop("growth"), "growth: not measured"),
    (lambda data: data["parts"].pop("machine"), "parts: has no machine"),
    (lambda data: data["roofline"].pop("roofs"), "roofline: has no roofs"),
    (lambda data: data["mlp"]["rows"][2].pop("lowest"), "mlp: a row has no lowest"),
    (lambda data: data["layers"]["rows"].clear(), "layers: has no rows"),
    (lambda data: data["threads"].update(date="2001-01-01"), "threads: measured on 2001-01-01"),
])
def test_what_is_missing_is_named(data: dict, change, problem: str) -> None:
    changed = copy.deepcopy(data)
    change(changed)
    assert any(problem in text for text in page.problems(changed)), page.problems(changed)


def test_results_are_gathered(tmp_path: Path) -> None:
    (tmp_path / "mlp.json").write_text(json.dumps({"rows": [{"ratio": 1.23456789, "threads": 2}]}))
    (tmp_path / "memmap.json").write_text("{}")
    found = page.gather(tmp_path)
    assert found["mlp"] == {"rows": [{"ratio": 1.235, "threads": 2}]} and "memmap" not in found


def test_the_page_was_executed_since_its_data_were_measured(data: dict) -> None:
    notebook = json.loads(page.PAGE.with_suffix(".ipynb").read_text(encoding="utf-8"))
    shown = json.dumps([cell.get("outputs", []) for cell in notebook["cells"]], ensure_ascii=False)
    assert data["mlp"]["date"] in shown
    for row in data["mlp"]["rows"]:
        assert f"({row['lowest']:.2f}–{row['highest']:.2f})" in shown, row
