# SPDX-License-Identifier: BSD-3-Clause
"""What the documents name is there."""

import re

import pytest
from harness import ROOT

TEST = re.compile(r"`((?:integration|unit|chaos)/[\w/]+\.(?:py|c))(?:::(\w+))?`")


@pytest.mark.parametrize("name", ["reliability.md", "security.md"])
def test_tests_that_keep_a_promise_exist(name):
    text = (ROOT / "docs" / name).read_text()
    named = TEST.findall(text)
    assert len(named) > 10
    for path, function in named:
        file = ROOT / "tests" / path
        assert file.is_file(), path
        assert not function or re.search(rf"^def {function}\(", file.read_text(), re.M), \
            f"{path}::{function}"


def test_every_worst_bug_is_listed():
    source = (ROOT / "tests" / "integration" / "test_worst_bugs.py").read_text()
    listed = (ROOT / "docs" / "reliability.md").read_text().partition("## The worst bugs")[2]
    for function in re.findall(r"^def (test_\w+)\(", source, re.M):
        assert f"::{function}`" in listed, function


@pytest.mark.parametrize("path", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "docs" / path).read_text()):
        assert (ROOT / "docs" / target).exists(), target
