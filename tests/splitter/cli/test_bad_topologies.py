"""Topologies, rules and plans that do not hold: one message that says what and what to do."""

import json
from pathlib import Path

import pytest
from command_line import Cli, Refused

TOPOLOGY_ERROR, PLAN_ERROR, USAGE_ERROR = 4, 5, 2
TINY = "tiny_models:tiny"


def changed(two: Path, before: str, after: str) -> Path:
    text = two.read_text()
    assert before in text
    two.write_text(text.replace(before, after))
    return two


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('card = "x86_64_v3"', 'card = "x86_64_v9"', 'no card is called "x86_64_v9"; did you mean'),
        ('["a", "b"]', '["a", "c"]', 'link a -> c: no device is called "c" (devices: a, b)'),
        ('["a", "b"]', '["a", "a"]', 'link a -> a joins device "a" to itself; remove it'),
        ('input = "a"', 'input = "c"', '"c"'),
        ("[[links]]", "[[cables]]", "cables"),
        ("latency_ms = 1", "latency_ms = -1", "latency_ms"),
        ('name = "b"', 'name = "a"', 'device "a" is there twice'),
        ("threads = 1", "threads = ", "is not valid TOML"),
    ],
)
def test_faulty_topology(
    before: str, after: str, message: str, two: Path, refused: Refused
) -> None:
    path = changed(two, before, after)
    for verb in (["topology", path], ["plan", TINY, "-t", path]):
        found = refused(TOPOLOGY_ERROR, *verb)
        assert found.startswith(str(path))
        assert message in found


def test_disconnected_topology(two: Path, refused: Refused) -> None:
    text = two.read_text()
    two.write_text(text[: text.index("[[links]]")])
    message = refused(TOPOLOGY_ERROR, "plan", TINY, "-t", two)
    assert 'no links lead from "a" to the output "b"; add links or remove the devices' in message


def test_unknown_topology(refused: Refused) -> None:
    message = refused(TOPOLOGY_ERROR, "plan", TINY, "-t", "homme")
    assert 'no topology is called "homme"; did you mean "home"?' in message
    assert "home.toml: no such file" in refused(TOPOLOGY_ERROR, "topology", "./home.toml")


def test_too_little_memory(two: Path, refused: Refused) -> None:
    changed(two, 'card = "x86_64_v3"', 'card = "x86_64_v3"\nmemory_mb = 4')
    message = refused(PLAN_ERROR, "plan", "tiny_models:heavy", "-t", two)
    assert "does not fit into the memory of two: layer " in message
    assert "alone needs at least 7.2 MB" in message
    assert "MB in total) would do" in message


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["--pin", "first=a", "--pin", "f*=b"], "the pin of 'f*' to b (--pin f*=b); drop"),
        (["--pin", "first=a", "--ban", "*=a"], "conflict: the pin of 'first' to a (--pin first=a)"),
        (["--ban", "first=a", "--ban", "first=b"], "first"),
        (["--private-input", "--pin", "first=b"], "first"),
        (["--pin", "first=c"], 'no device is called "c"'),
        (["--pin", "frist=a"], "the pattern 'frist' matches no layer of tiny; the nearest names"),
        (["--max-sent-mb", "0", "--pin", "second=b"], "the cap of 0 MB sent (--max-sent-mb 0)"),
        (["--rule", "drained = ['a', 'b']"], 'the draining of a (--rule drained: "a") and the'),
        (["--rule", "without = ['x']"], "device to do without: no device is called"),
        (["--rule", "at_most.latency_ms = 0"], "the limit of 0 ms on the latency"),
        (["--rule", "link_caps = [{from='a', to='z', max_mb=1}]"], "there is no such link"),
    ],
)
def test_rules_that_contradict(rules: list[str], message: str, two: Path, refused: Refused) -> None:
    assert message in refused(PLAN_ERROR, "plan", TINY, "-t", two, *rules)


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--rule", "max_devices = 0", "--rule max_devices = 0: max_devices = 0: must be"),
        ("--rule", "frist = 1", "frist is not a known key"),
        ("--rule", "apart = [[", "is not valid TOML"),
        ("--rules", "none.toml", "none.toml: no such file"),
    ],
)
def test_malformed_rules(option: str, text: str, message: str, two: Path, refused: Refused) -> None:
    assert message in refused(USAGE_ERROR, "plan", TINY, "-t", two, option, text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pin", "first"], "--pin first: write LAYERS=DEVICE"),
        (["--ban", "=a"], "--ban =a: write LAYERS=DEVICE"),
        (["--max-sent-mb", "-1"], "--max-sent-mb -1.0: give 0 or more"),
        (["--slots", "0"], "'--slots': Input should be greater than or equal to 1"),
        (["--objective", "speed"], "'speed' is not one of 'latency', 'throughput', 'energy'"),
        (["--time-limit", "never"], "'--time-limit'"),
        (["--frobnicate"], "No such option: --frobnicate; see splitter plan --help"),
        (["more"], "Got unexpected extra argument(s) (more); see splitter plan --help"),
        (["--pin"], "Option '--pin' requires an argument"),
    ],
)
def test_malformed_options(options: list[str], message: str, two: Path, refused: Refused) -> None:
    assert message in refused(USAGE_ERROR, "plan", TINY, "-t", two, *options)


def test_missing_words(refused: Refused) -> None:
    message = "Missing option '--topology' / '-t'; see splitter plan --help"
    assert refused(USAGE_ERROR, "plan", TINY) == message
    assert refused(USAGE_ERROR, "run") == "Missing argument 'bundle'; see splitter run --help"
    assert refused(USAGE_ERROR, "fly") == "No such command 'fly'; see splitter --help"


# --- plan files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[]", "a plan is a JSON object, not list"),
        (b"{}", "version"),
        (b'{"version": 1}', "plan has no key 'model'; make the plan again"),
        (b'{"version": 9}', "the plan has format version 9, this program reads 1; make it again"),
    ],
)
def test_malformed_plan(
    content: bytes, message: str, two: Path, tmp_path: Path, refused: Refused
) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    for verb in (["plan"], ["compile", "-o", tmp_path / "bundle"]):
        found = refused(PLAN_ERROR, *verb, TINY, "-t", two, "--plan", path)
        assert str(path) in found
        assert message in found
    assert sorted(tmp_path.iterdir()) == [path, two]


def test_plan_of_another_model_or_topology(
    two: Path, tmp_path: Path, cli: Cli, refused: Refused
) -> None:
    path = tmp_path / "plan.json"
    assert cli("plan", TINY, "-t", two, "-o", path).code == 0
    given = ["--plan", path]
    message = refused(PLAN_ERROR, "compile", "tiny_models:heavy", "-t", two, *given)
    assert "the placement does not hold for heavy: it has no device for" in message
    message = refused(PLAN_ERROR, "compile", TINY, "-t", "home", *given)
    assert "which home does not have; its devices are camera, pi, board, laptop" in message
    missing = tmp_path / "missing.json"
    message = refused(PLAN_ERROR, "plan", TINY, "-t", two, "--plan", missing)
    assert message == f"the plan {missing} cannot be read: No such file or directory"


def test_plan_with_a_wrong_type(two: Path, tmp_path: Path, cli: Cli, refused: Refused) -> None:
    path = tmp_path / "plan.json"
    assert cli("plan", TINY, "-t", two, "-o", path).code == 0
    data = json.loads(path.read_text())
    data["placement"]["first"] = 7
    path.write_text(json.dumps(data))
    assert "plan.placement.first must be" in refused(
        PLAN_ERROR, "plan", TINY, "-t", two, "--plan", path
    )


@pytest.mark.parametrize("option", ["--output", "--dot", "--onnx"])
def test_places_where_no_file_can_be(
    option: str, two: Path, tmp_path: Path, refused: Refused
) -> None:
    message = refused(1, "plan", TINY, "-t", two, option, tmp_path / "none" / "file")
    assert message.startswith(f"cannot write {tmp_path}/none/file: No such file or directory;")
    for place in (tmp_path, Path("/dev/full")):
        message = refused(1, "plan", TINY, "-t", two, option, place)
        assert message == f"cannot write {place}: it exists and is no file; give another name"
    assert Path("/dev/full").is_char_device()
    assert list(tmp_path.iterdir()) == [two]
