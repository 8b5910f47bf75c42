"""A test that failed and passed when it was run once more: a race, of the product or of the test, that is to be mended.

Thousands of tests, many of which kill processes, cannot be held up by one that fails in one run of a hundred; but what
it said then is shown, and more than a few of them are no accident.
"""

import pytest

MOST = 3
"""So many tests may need to be run again; the run fails where more do."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the failure of each test that was run again, also of those that passed then."""
    reruns = _reruns(terminalreporter)
    for report in reruns:
        terminalreporter.section(f"FAILED, AND WAS RUN AGAIN: {report.nodeid}", sep="!", red=True, bold=True)
        terminalreporter.line(report.longreprtext)
        for name, content in report.sections:
            terminalreporter.section(name, sep="-")
            terminalreporter.line(content)
    if _too_many(reruns):
        terminalreporter.line(f"The run fails: more than {MOST} tests had to be run again.", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run in which too many tests were run again."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _too_many(_reruns(reporter)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reruns(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    found: list[pytest.TestReport] = reporter.stats.get("rerun", [])
    return found


def _too_many(reruns: list[pytest.TestReport]) -> bool:
    return len({report.nodeid for report in reruns}) > MOST
