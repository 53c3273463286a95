"""Reports of runs: of a real one, and of one whose figures are known."""

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.host import Bundle, RequestTime, run_report, run_text
from runtime.host.report import _alone, _period_s
from runtime.host.runs import new_run
from runtime.host.timeline import draw_timeline
from runtime.host.trace import read_trace
from splitter.errors import BundleError, DeploymentError

MS = 1_000_000
SLOW = np.full((2, 3), 5.0, np.float32)


def write_traces(folder: Path, requests: int, period_ms: int) -> tuple[RequestTime, ...]:
    """Nodes a, b, c: 1, 2, 3 ms of computing, 1 ms until a tensor has arrived."""
    lines: dict[str, list[str]] = {name: [] for name in "abc"}
    for r in range(requests):
        t = r * period_ms
        for name, event, index, start, end in (
            ("a", "receive", 0, 0, 0),
            ("a", "stage", 0, 0, 1),
            ("a", "send", 1, 1, 1.5),
            ("b", "receive", 1, 1.5, 2),
            ("b", "stage", 0, 2, 4),
            ("b", "send", 2, 4, 4.5),
            ("c", "receive", 2, 4.5, 5),
            ("c", "stage", 0, 5, 8),
            ("c", "send", 3, 8, 8),
        ):
            lines[name].append(f"{event},{r},{index},{int((t + start) * MS)},{int((t + end) * MS)}")
    for name, peak in (("a", 2_500_000), ("b", 2_600_000), ("c", 2_700_000)):
        text = "\n".join(["event,request,index,start_ns,end_ns", *lines[name]])
        (folder / f"trace-{name}.csv").write_text(f"{text}\nexit,0,{peak},0,1\n")
    return tuple(
        RequestTime(r, r * period_ms * MS, (r * period_ms + 9) * MS) for r in range(requests)
    )


def test_known_figures_alone(chain: Bundle, tmp_path: Path) -> None:
    report = run_report(chain, tmp_path, write_traces(tmp_path, requests=4, period_ms=20))
    assert report.latency_measured_s == pytest.approx(0.009)
    assert report.period_measured_s is None
    assert report.latency_predicted_s == chain.plan.estimate.latency_s
    assert [s.measured_s for s in report.stages] == pytest.approx([0.001, 0.002, 0.003])
    assert [s.predicted_s for s in report.stages] == pytest.approx([1e-5] * 3)
    assert [(link.source, link.target) for link in report.links] == [("a", "b"), ("b", "c")]
    assert [link.arrival_s for link in report.links] == pytest.approx([0.001, 0.001])
    assert [link.send_s for link in report.links] == pytest.approx([0.0005, 0.0005])
    assert [m.measured_bytes for m in report.memory] == [2_500_000, 2_600_000, 2_700_000]
    node = chain.manifest.nodes["a"]
    assert report.memory[0].planned_bytes == (
        node.weights_bytes + 3 * node.slot_bytes + node.arena_bytes + 4_000_000
    )


def test_known_figures_pipelined(chain: Bundle, tmp_path: Path) -> None:
    report = run_report(chain, tmp_path, write_traces(tmp_path, requests=20, period_ms=3))
    assert report.latency_measured_s is None
    assert report.period_measured_s == pytest.approx(0.003)
    assert {span.request for span in report.timeline} == set(range(8))
    assert {s.lane for s in report.timeline} == {"host", "a", "b", "c", "a → b", "b → c"}
    assert min(span.start_s for span in report.timeline) == 0.0


def test_text_names_everything(chain: Bundle, tmp_path: Path) -> None:
    text = str(run_report(chain, tmp_path, write_traces(tmp_path, 4, 20)))
    assert max(map(len, text.splitlines())) <= 100
    for word in ("toy on toys: 4 requests", "one request alone", "a → b", "1: three", "2.50"):
        assert word in text


def test_emulated_is_said(toys: Any, build: Callable[[Any], Bundle], tmp_path: Path) -> None:
    layers = {"p": (("x",), "a"), "q": (("p",), "b"), "r": (("q",), "c")}
    foreign = build(toys(layers, ("r",), processors={"b": "riscv64"}))
    report = run_report(foreign, tmp_path, write_traces(tmp_path, 2, 20))
    assert report.memory[1].measured_bytes is None
    text = run_text(report)
    assert "b (emulated)" in text
    assert "emulated, not measured" in text


def test_nodes_elsewhere_leave_no_trace(chain: Bundle) -> None:
    times = (RequestTime(0, 0, 4 * MS), RequestTime(1, 5 * MS, 7 * MS))
    report = run_report(chain, None, times)
    assert report.latency_measured_s == pytest.approx(0.002)
    assert {s.measured_s for s in report.stages} == {None}
    assert "-" in run_text(report)


def test_no_request(chain: Bundle, tmp_path: Path) -> None:
    report = run_report(chain, None, ())
    assert report.latency_measured_s is None
    draw_timeline(report, tmp_path / "empty.png")
    assert run_text(report)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("event,request,index,start_ns,end_ns\nstage,1,2\n", "line 2: expected"),
        ("stage,1,2,x,4\n", "line 1: expected"),
        ("fly,1,2,3,4\n", "line 1: expected"),
        ("\udcff", "cannot be read"),
    ],
)
def test_damaged_trace(chain: Bundle, tmp_path: Path, text: str, message: str) -> None:
    write_traces(tmp_path, 1, 1)
    (tmp_path / "trace-b.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DeploymentError, match=message):
        run_report(chain, tmp_path, ())


def test_missing_trace(chain: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"trace-a\.csv cannot be read"):
        run_report(chain, tmp_path, ())


@given(st.binary(max_size=200))
def test_noise_is_no_trace(noise: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(noise)
        file.flush()
        with suppress(DeploymentError):
            read_trace(Path(file.name))


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 50)), max_size=12))
def test_any_times_make_a_report(pairs: list[tuple[int, int]]) -> None:
    times = [RequestTime(i, s, s + d) for i, (s, d) in enumerate(sorted(pairs))]
    alone = _alone(times)
    for one in alone:
        others = [t for t in times if t.request != one.request]
        assert not any(t.start_ns < one.end_ns and one.start_ns < t.end_ns for t in others)
    period_s = _period_s(times)
    assert period_s is None or period_s >= 0.0


def test_real_run(own_chain: Path) -> None:
    bundle = Bundle.open(own_chain)
    with new_run(bundle.path) as folder:
        with bundle.launch(timeout_s=10, trace_dir=folder.draft) as deployment:
            for _ in range(3):
                deployment(SLOW)
            assert len(list(deployment.map([SLOW] * 12))) == 12
        report = run_report(bundle, folder.draft, deployment.times)
        folder.write(report)
        assert not folder.path.exists()
    assert sorted(p.name for p in folder.path.iterdir()) == [
        "report.json",
        "report.txt",
        "timeline.png",
        *(f"trace-{name}.csv" for name in "abc"),
    ]
    assert json.loads((folder.path / "report.json").read_text())["requests"] == 15
    assert (folder.path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert report.latency_measured_s is not None
    assert report.period_measured_s is not None
    assert all(stage.measured_s is not None for stage in report.stages)
    assert all(link.arrival_s is not None for link in report.links)
    for node in report.memory:
        assert node.measured_bytes is not None
        assert node.measured_bytes < node.planned_bytes
    Bundle.open(own_chain)


def test_runs_of_one_second_have_names_of_their_own(own_chain: Path) -> None:
    with new_run(own_chain) as first, new_run(own_chain) as second:
        pass
    assert first.path != second.path
    assert sorted((own_chain / "runs").iterdir()) == sorted([first.path, second.path])


def test_failed_run_leaves_nothing(own_chain: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_run(own_chain):
        raise ZeroDivisionError
    assert list((own_chain / "runs").iterdir()) == []


def test_bundle_that_cannot_be_written(own_chain: Path) -> None:
    (own_chain / "runs").write_text("in the way")
    with pytest.raises(BundleError, match="cannot write the run"), new_run(own_chain):
        pass


def test_full_disk(own_chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    bundle = Bundle.open(own_chain)
    report = replace(run_report(bundle, None, ()), timeline=())
    monkeypatch.setattr(Path, "write_text", full)
    message = "cannot write the run: No space left"
    with pytest.raises(BundleError, match=message), new_run(own_chain) as folder:
        folder.write(report)
    assert list((own_chain / "runs").iterdir()) == []
