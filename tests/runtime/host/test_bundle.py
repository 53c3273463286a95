"""Every damage to a bundle is told, never a traceback and never passed over."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runtime.host import Bundle
from splitter.errors import BundleError


def edit(bundle: Path, change: Callable[[dict], object]) -> None:
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_whole_bundle_opens(chain: Bundle) -> None:
    bundle = Bundle.open(chain.path)
    assert [s.device for s in bundle.node_schedules] == ["a", "b", "c"]
    assert bundle.wire == {"x": 0, "one": 1, "two": 2, "three": 3}
    assert str(bundle) == f"{chain.path}: toy for toys on a, b, c"


def test_missing_file_is_named(own_chain: Path) -> None:
    (own_chain / "nodes/b/weights.bin").unlink()
    with pytest.raises(BundleError, match=r"nodes/b/weights\.bin is missing; compile"):
        Bundle.open(own_chain, verify=False)


def test_short_file_is_named(own_chain: Path) -> None:
    path = own_chain / "nodes/b/weights.bin"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=rf"has {size - 1} bytes, expected {size}; compile"):
        Bundle.open(own_chain, verify=False)


def test_unlisted_program_is_named(own_chain: Path) -> None:
    edit(own_chain, lambda data: data["files"].pop("nodes/a/node"))
    with pytest.raises(BundleError, match="does not list nodes/a/node"):
        Bundle.open(own_chain)


def test_file_that_is_a_folder_is_missing(own_chain: Path) -> None:
    (own_chain / "graph.json").unlink()
    (own_chain / "graph.json").mkdir()
    with pytest.raises(BundleError, match=r"graph\.json is missing"):
        Bundle.open(own_chain)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (3, "has bundle format version 3, this program reads version 2; update this program"),
        (1, "has bundle format version 1, this program reads version 2; compile the model again"),
    ],
)
def test_other_version_says_what_to_do(own_chain: Path, version: int, message: str) -> None:
    edit(own_chain, lambda data: data.update(format_version=version, news=1))
    with pytest.raises(BundleError, match=message):
        Bundle.open(own_chain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("slots"), "slots: Field required"),
        (lambda d: d.pop("format_version"), "format_version: Field required"),
        (lambda d: d.update(slots=0), "slots: Input should be greater"),
        (lambda d: d.update(slots=True), "slots: Input should be a valid integer"),
        (lambda d: d.update(slots=4), "manifest.json has 4 slots, plan.json 3"),
        (lambda d: d.update(bundle_id="12"), "bundle_id: String should match pattern"),
        (lambda d: d.update(tolerance=float("nan")), "tolerance: Input should be a finite"),
        (lambda d: d["nodes"].pop("b"), r"nodes \['a', 'c'\], plan.json needs \['a', 'b', 'c'\]"),
        (lambda d: d["nodes"]["b"].update(processor="z80"), "nodes.b: unknown processor 'z80'"),
        (lambda d: d["inputs"][0].update(dtype="complex64"), "x: unknown type 'complex64'"),
        (lambda d: d["inputs"][0].update(shape=[1]), "the inputs in manifest.json are not those"),
        (lambda d: d["outputs"].clear(), "the outputs in manifest.json are not those"),
        (
            lambda d: d["files"].update({"../x": {"sha256": "0" * 64, "bytes": 0}}),
            "'../x' is no path inside the bundle",
        ),
        (
            lambda d: d["files"].update({"/etc/x": {"sha256": "0" * 64, "bytes": 0}}),
            "'/etc/x' is no path inside the bundle",
        ),
    ],
)
def test_wrong_manifest_is_told(
    own_chain: Path, change: Callable[[dict], object], message: str
) -> None:
    edit(own_chain, change)
    with pytest.raises(BundleError, match=message):
        Bundle.open(own_chain)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "\x00", "[" * 100_000, '"x"'])
def test_manifest_that_is_none(own_chain: Path, text: str) -> None:
    (own_chain / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.open(own_chain)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"layers": 3}', "\udc80"])
@pytest.mark.parametrize("name", ["graph.json", "plan.json", "topology.toml"])
def test_wrong_contents_with_right_hashes(own_chain: Path, name: str, text: str) -> None:
    """A compiler's mistake, which no hash finds."""
    data = text.encode(errors="surrogateescape")
    (own_chain / name).write_bytes(data)
    facts = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    edit(own_chain, lambda d: d["files"].update({name: facts}))
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Bundle.open(own_chain)


@pytest.mark.parametrize("path", ["nothing", "manifest.json"])
def test_no_bundle(own_chain: Path, path: str) -> None:
    with pytest.raises(BundleError, match="is no bundle"):
        Bundle.open(own_chain / path)


@pytest.fixture(scope="module")
def victim(chain: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(chain.path, tmp_path_factory.mktemp("victim") / "bundle"))


def fault_of(bundle: Path) -> BundleError | None:
    try:
        Bundle.open(bundle)
    except BundleError as error:
        return error
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_flipped_byte_is_told(victim: Path, data: st.DataObject) -> None:
    files = sorted(p for p in victim.rglob("*") if p.is_file() and p.stat().st_size)
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    told = fault_of(victim)
    path.write_bytes(whole)
    # Only what the manifest alone says can change unseen, and none of it steers a run.
    assert path.name == "manifest.json" or path.name in str(told)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300))
@example(b'{"format_version": 2}')
def test_noise_as_manifest(victim: Path, noise: bytes) -> None:
    path = victim / "manifest.json"
    whole = path.read_bytes()
    path.write_bytes(noise)
    told = fault_of(victim)
    path.write_bytes(whole)
    assert told is not None
