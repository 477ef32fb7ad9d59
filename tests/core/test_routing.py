"""Finding the route of a model name."""

import pytest

from headgate.core.routing import matches, nearest_route_names, route_for
from headgate.core.settings import Route, Settings, Target, Upstream

A = Upstream(name="a", kind="openai", base_url="https://a.example/v1")


def settings_with(*models: str, target_model: str | None = None) -> Settings:
    routes = tuple(Route(model=m, targets=(Target(upstream="a", model=target_model),)) for m in models)
    return Settings(upstreams={"a": A}, routes=routes)


def test_the_first_route_that_matches_wins() -> None:
    settings = settings_with("fast", "gpt-5*", "gpt-*", "*")
    found = [route_for(settings, name) for name in ("fast", "gpt-5-mini", "gpt-4o", "x", "")]
    assert [route.model for route in found if route] == ["fast", "gpt-5*", "gpt-*", "*", "*"]


def test_no_route_gives_none_and_the_nearest_names() -> None:
    settings = settings_with("gpt-*", "fast", target_model="gpt-5-mini")
    assert route_for(settings, "o5-mini") is None
    assert nearest_route_names(settings, "o5-mini") == ["gpt-5-mini"]
    assert nearest_route_names(settings, "fsat") == ["fast"]
    assert nearest_route_names(settings, "zzzzzzzz") == []


@pytest.mark.parametrize(
    ("glob", "name", "is_match"),
    [
        ("gpt-*", "gpt-5", True),
        ("gpt-*", "GPT-5", False),
        ("o[0-9]*", "o3-mini", True),
        ("o[0-9]*", "other", False),
        ("*/*", "openai/gpt-5", True),
        ("a.c", "abc", False),
        ("a", "a\n", False),
        ("*", "line\nbreak", True),
        ("[", "[", True),
    ],
)
def test_globs_match_whole_names(glob: str, name: str, is_match: bool) -> None:
    assert matches(glob, name) is is_match


def test_long_hostile_names_and_globs_do_not_explode() -> None:
    assert not matches("*a" * 40 + "b", "a" * 2000)
    assert nearest_route_names(settings_with("fast"), "f" * 1_000_000) == []


def test_an_upstream_speaks_its_own_dialect_and_the_demo_both() -> None:
    demo = Upstream(name="demo", kind="demo", base_url="unix:demo")
    assert A.speaks("openai") and not A.speaks("anthropic")
    assert demo.speaks("openai") and demo.speaks("anthropic") and demo.dialects == ("openai", "anthropic")
