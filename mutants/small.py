"""A pytest plugin: hypothesis with few examples, the same ones each time, and nothing made smaller on failure."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile(
    "mutants",
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    print_blob=False,
)
settings.load_profile("mutants")
