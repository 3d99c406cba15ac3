"""Runs a module of CPython's tests, or one test of it, and writes a line for each test to a file.

    run.py MODULE RECORD PATIENCE

A line is a word, the test's id and the last words of what went wrong, with tabs between. One is written when a test
starts and one when it ends, so that the last tells which test was running when the process crashed or lost patience:
PATIENCE is how many seconds a test may take. Tests that RECORD names already are left out: started again, the module
goes on behind the test that ended the process. Whole tracebacks go to standard error.
"""

import faulthandler
import os
import random
import sys
import tempfile
import unittest

from test import support

# It talks to the machine that hosts this one, by AF_VSOCK, and waits for ever where that does not answer.
LEFT_OUT = "test.test_socket.ThreadedVSOCKSocketStreamTest."


class Record:
    """The file of lines."""

    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        with open(path, encoding="utf-8") as lines:
            self.known = {line.split("\t")[1] for line in lines}

    def write(self, word, test, told=""):
        last = told.strip().splitlines()[-1:]
        line = "\t".join([word, test, *last]) + "\n"
        os.write(self.file, line.encode(errors="replace"))
        if word in ("error", "failed"):
            print(test, told, sep="\n", file=sys.stderr, flush=True)


class Result(unittest.TestResult):
    """Tells the record what happens to each test."""

    def __init__(self, record, patience):
        super().__init__()
        self.record = record
        self.patience = patience
        self.process = os.getpid()
        self.outcome = None

    def startTest(self, test):
        super().startTest(test)
        self.outcome = ("ok", "")
        self.record.write("start", test.id())
        faulthandler.dump_traceback_later(self.patience, exit=True)

    def stopTest(self, test):
        super().stopTest(test)
        if os.getpid() != self.process:
            os._exit(70)  # A child of a test came back from it.
        faulthandler.cancel_dump_traceback_later()
        word, told = self.outcome
        self.outcome = None
        self.record.write(word, test.id(), told)

    def settle(self, test, word, told=""):
        if self.outcome is None:  # The fixture of a class or of the module.
            self.record.write(word, test.id(), told)
        elif self.outcome[0] in ("ok", "skipped"):
            self.outcome = (word, told)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.settle(test, "skipped", reason)

    def addError(self, test, error):
        super().addError(test, error)
        self.settle(test, "error", self.errors[-1][1])

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.settle(test, "failed", self.failures[-1][1])

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            word = "failed" if issubclass(error[0], test.failureException) else "error"
            self.settle(test, word, self._exc_info_to_string(error, test))

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.settle(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.settle(test, "unexpected success")


def flat(suite):
    """The tests of a suite, in order."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def tests_of(module, record):
    """The tests of a module that the record does not know yet."""
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName("test." + module)
    except unittest.SkipTest as skip:
        record.write("skipped", "test." + module, str(skip))
        return []
    new = (test for test in flat(suite) if test.id() not in record.known)
    return [test for test in new if not test.id().startswith(LEFT_OUT)]


def main(module, path, patience):
    record = Record(path)
    random.seed(1)
    # The tests of socketserver ask for the network; those that want the Internet are skipped, since it is not there.
    support.use_resources = ["network"] if module.startswith("test_socketserver") else []
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        unittest.TestSuite(tests_of(module, record)).run(Result(record, float(patience)))
        os.chdir("/")
    record.write("end", module)
    sys.stderr.flush()
    os._exit(0)  # Threads that a failed test left behind would keep the process.


if __name__ == "__main__":
    main(*sys.argv[1:])
