"""Recipes and the text form of methods: round trips, who follows which rule, clear refusals."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from compress_nets import Residual
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.apply import apply_recipe
from compress.formats import Codebook, Factors, Ternary
from compress.method import Method
from compress.methods import format_method, make_method, method_names, parse_method, settings_of
from compress.recipe import Recipe, Rule, exactly, read_recipe, recipe_for
from compress.sites import Site, chosen_sites, sites_of
from splitter.errors import UsageError

OTHER: dict[str, dict[str, Any]] = {
    "trp": {"scheme": "vh", "period": 7, "train_energy": 0.95, "nuclear": 0.0, "steps": 9},
    "svd": {"scheme": "nd", "rank": 3, "threshold": 0.25, "energy": 0.5, "multiple": 8},
    "slq": {"bits": 3, "order": "magnitude", "fractions": (0.5, 1.0), "per_channel": True},
    "gptq": {"bits": 6, "per_channel": False, "full": False},
    "kmeans": {"bits": 2, "full": True},
    "mlq": {"order": "distortion", "layers_per_round": 0, "boundary_first": False},
    "ternary": {"symmetric": True},
    "dnq": {"bits": 6, "levels": "powers", "order": "smallest", "steps_per_round": 5},
    "inq": {"bits": 7, "fractions": (0.125, 1.0)},
}


@st.composite
def methods(draw: st.DrawFn) -> Method:
    name = draw(st.sampled_from(sorted(OTHER)))
    chosen = draw(st.sets(st.sampled_from(sorted(OTHER[name]))))
    return make_method(name, {key: OTHER[name][key] for key in chosen})


def test_every_method_has_a_name_and_a_document() -> None:
    assert set(OTHER) == set(method_names())
    for name in method_names():
        method = make_method(name, {})
        assert method.name == name
        assert format_method(method) == name
        assert type(method).__doc__
        changed = make_method(name, OTHER[name])
        assert set(settings_of(changed)) == set(OTHER[name])
        assert len([f for f in fields(method) if f.init]) >= len(OTHER[name])


@given(methods())
def test_text_of_a_method_round_trips(method: Method) -> None:
    assert parse_method(format_method(method)) == method


rules = st.builds(Rule, st.text(min_size=1, max_size=12), st.none() | methods())


@given(st.lists(rules, min_size=1, max_size=5))
@settings(max_examples=100)
def test_recipe_round_trips(found: list[Rule]) -> None:
    recipe = Recipe(tuple(found))
    text = recipe.to_toml()
    assert Recipe.from_toml(text) == recipe
    assert text.count("[[rules]]") >= len(found)


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_exact_patterns(name: str, other: str) -> None:
    sites = [Site(f"{n}.w", n, "linear", (2, 2)) for n in dict.fromkeys((name, other))]
    found = [s for s in chosen_sites(sites, [exactly(name)]) if s.layer == name]
    assert len(found) == 1


@pytest.mark.parametrize("name", method_names())
def test_default_recipe_means_the_default_layers(name: str, net: Residual) -> None:
    method, sites = make_method(name, {}), sites_of(net)
    recipe = recipe_for(method, sites)
    recipe.check(sites)
    assigned = recipe.assigned(sites, method.family)
    found = {site.weight for _, own in assigned for site in own}
    assert found == {site.weight for site in method.default_sites(sites)}


def test_first_rule_of_a_family_counts(net: Residual) -> None:
    text = """
    version = 1
    [[rules]]
    layers = "conv1"
    method = "svd"
    rank = 2
    [[rules]]
    layers = "head"
    method = "keep"
    [[rules]]
    layers = "conv1.1"
    method = "kmeans"
    bits = 3
    [[rules]]
    layers = "conv1"
    method = "kmeans"
    bits = 5
    [[rules]]
    layers = "conv?"
    method = "ternary"
    [[rules]]
    layers = "*"
    method = "kmeans"
    """
    applied = apply_recipe(net, Recipe.from_toml(text))
    assert {n: (type(t), t.rank) for n, t in applied.factored.items()} == {
        "conv1.weight": (Factors, 2)
    }
    kinds = {
        name: tensor.bits if isinstance(tensor, Codebook) else type(tensor)
        for name, tensor in applied.tensors.items()
    }
    assert kinds == {
        "stem.weight": 8,
        "conv1.0.weight": 5,
        "conv1.1.weight": 3,
        "conv2.weight": Ternary,
    }


HEAD = "version = 1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = ", "r.toml is not valid TOML: "),
        ("", "r.toml: version must be 1, not missing"),
        ("version = 2\n[[rules]]", "r.toml: version must be 1, not 2"),
        (HEAD, "r.toml has no rules; write at least one [[rules]] table"),
        (HEAD + "rules = 3", "r.toml has no rules; write at least one [[rules]] table"),
        (HEAD + "rules = [3]", "r.toml, rule 1: write it as a [[rules]] table"),
        (HEAD + "x = 3", "r.toml: unknown key 'x'; a recipe has version, rules"),
        (HEAD + "[[rules]]\nmethod = 'slq'", 'r.toml, rule 1: write layers = "..."'),
        (HEAD + "[[rules]]\nlayers = ''\nmethod = 'slq'", 'r.toml, rule 1: write layers = "..."'),
        (HEAD + "[[rules]]\nlayers = '*'", 'r.toml, rule 1: write method = "..."'),
        (
            HEAD + "[[rules]]\nlayers = '*'\nmethod = 'sql'",
            "r.toml, rule 1: no compression method 'sql'; there are trp, svd, slq, gptq, kmeans, "
            'mlq, ternary, dnq, inq; did you mean "slq"?',
        ),
        (
            HEAD + "[[rules]]\nlayers = '*'\nmethod = 'slq'\nbit = 3",
            "r.toml, rule 1: slq has no setting 'bit'; it has bits, order, fractions, "
            'steps_per_round, per_channel, full; did you mean "bits"?',
        ),
        (
            HEAD + "[[rules]]\nlayers = '*'\nmethod = 'slq'\nbits = 3.5",
            "r.toml, rule 1: slq: bits must be a whole number, not 3.5",
        ),
        (
            HEAD + "[[rules]]\nlayers = '*'\nmethod = 'slq'\nbits = true",
            "r.toml, rule 1: slq: bits must be a whole number, not True",
        ),
        (
            HEAD + "[[rules]]\nlayers = '*'\nmethod = 'inq'\nfractions = ['a']",
            "r.toml, rule 1: inq: fractions must be a number, not 'a'",
        ),
        (
            HEAD + "[[rules]]\nlayers = '*'\nmethod = 'keep'\nbits = 3",
            "r.toml, rule 1: keep has no settings, but 'bits' is given",
        ),
    ],
)
def test_malformed_recipes(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(message)


def test_recipes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.toml cannot be read: No such file"):
        read_recipe(tmp_path / "no.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"b\.toml is not text"):
        read_recipe(tmp_path / "b.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slqq", "no compression method 'slqq'"),
        ("slq:bits", "'slq:bits': write slq:setting=value,setting=value"),
        ("slq:bits=x", "slq: bits must be a whole number, not 'x'"),
        ("slq:full=1", "slq: full must be true or false, not '1'"),
        ("svd:energy=x", "svd: energy must be a number, not 'x'"),
        ("inq:fractions=0.5+x", "inq: fractions must be a number, not 'x'"),
        ("ternary:bits=2", "ternary has no setting 'bits'; it has symmetric"),
    ],
)
def test_malformed_methods(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_method(text)
    assert str(caught.value).startswith(message)


def test_rules_that_do_not_fit(net: Residual) -> None:
    def refused(*found: Rule) -> str:
        with pytest.raises(UsageError) as caught:
            apply_recipe(net, Recipe(found))
        return str(caught.value)

    svd = make_method("svd", {"scheme": "vh"})
    assert refused(Rule("konv1", svd)).startswith("no layer with weights matches 'konv1'; layers ")
    assert refused(Rule("*", svd)) == (
        "rule '*': layer head cannot be compressed with svd: scheme vh needs a kernel; use nc; "
        'put a rule for it with method = "keep" before'
    )
    apply_recipe(net, Recipe((Rule("head", None), Rule("*", svd))))
