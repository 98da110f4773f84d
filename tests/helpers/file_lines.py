"""One line per test file, as soon as its last test has ended: several workers would mix the dots of their tests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator
from typing import Any

import pytest


class FileLines:
    """A plugin for the process that hands the tests out to workers and prints their reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager
        self._all = 0
        self._left: Counter[str] = Counter()
        self._outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._seconds: Counter[str] = Counter()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Every worker collects the same tests, and one that replaces a crashed worker does so late."""
        if not self._left:
            self._all = len(ids)
            self._left = Counter(name.partition("::")[0] for name in ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: Any) -> Generator[None, Any, Any]:
        category, letter, word = yield
        if isinstance(report, pytest.TestReport):
            file = report.nodeid.partition("::")[0]
            self._outcomes[file][category] += bool(category)
            letter = ""  # counted, and no dot printed
        return category, letter, word

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self._seconds[file] += report.duration
        if report.when != "teardown":
            return
        self._left[file] -= 1
        if self._left[file]:
            return
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in self._outcomes[file].items() if count)
        done = 100 * (self._all - sum(self._left.values())) // max(self._all, 1)
        terminal: Any = self._plugins.get_plugin("terminalreporter")
        terminal.write_line(f"[{done:3d}%] {file}: {outcomes} in {self._seconds[file]:.1f} s")
