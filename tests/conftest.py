"""Set before any test file imports TensorFlow; fixtures that every folder shares."""

import ctypes
import gc
import os
import pathlib
import random
import resource
import sys

ROOT = pathlib.Path(__file__).parents[1]

# TensorFlow reads these once. Launch scripts started by a test inherit them.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402

# A worker that grows beyond this fails the run: two of them and the tests' own processes must
# fit on a small machine. Slow tests train larger networks.
MEMORY_LIMIT, SLOW_MEMORY_LIMIT = 4.0, 6.0  # GiB

# What takes longest starts first, so that no worker is left alone with it at the end.
LONGEST_FIRST = ("learning", "reliability", "slow", "exhaustive")


def pytest_configure(config):
    data = os.environ.get("TFREC_DATA")
    if data and not pathlib.Path(data).is_dir():
        raise pytest.UsageError(f"TFREC_DATA={data}: no such folder")


def pytest_collection_modifyitems(items):
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in ("learning", "reliability"):
            item.add_marker(folder)
    long_files = {
        item.path for item in items if any(item.get_closest_marker(m) for m in LONGEST_FIRST)
    }
    items.sort(key=lambda item: item.path not in long_files)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Frees what a test file leaves before the next begins: graphs, modules, freed pages."""
    result = yield
    if "tensorflow" in sys.modules and (nextitem is None or nextitem.path != item.path):
        import tf_keras

        tf_keras.backend.clear_session()
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
            _after[str(item.path.relative_to(ROOT))] = _resident()
    return result


def _resident():
    """Memory of this process in GiB (resident set)."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


_after = {}  # test file -> memory of this worker after it, in GiB
_peaks = {}  # worker -> its peak memory in GiB
_growth = {}  # test file -> memory in GiB that it left behind in its worker


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
        session.config.workeroutput |= {"peak": peak, "after": list(_after.items())}
    elif any(peak > _limit(session.config) for peak in _peaks.values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    output = getattr(node, "workeroutput", {})
    _peaks[node.gateway.id] = output.get("peak", float("nan"))
    after = output.get("after", [])
    for (_, before), (file, now) in zip(after[:-1], after[1:], strict=True):
        _growth[file] = now - before


def _limit(config):
    return MEMORY_LIMIT if "not slow" in config.option.markexpr else SLOW_MEMORY_LIMIT


def pytest_terminal_summary(terminalreporter):
    limit = _limit(terminalreporter.config)
    for worker, peak in sorted(_peaks.items()):
        over = f", more than the limit of {limit} GiB" if peak > limit else ""
        terminalreporter.write_line(f"peak memory of {worker}: {peak:.1f} GiB{over}")
    for file in sorted(_growth, key=_growth.__getitem__, reverse=True)[:5]:
        terminalreporter.write_line(f"  {file} left {1024 * _growth[file]:.0f} MiB behind")


@pytest.fixture(autouse=True)
def _seeds():
    """Every test starts from the same seeds; tests that need others set their own."""
    random.seed(0)
    np.random.seed(0)
    if "tensorflow" in sys.modules:  # a test of sources alone does not wait for the import
        sys.modules["tensorflow"].random.set_seed(0)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real sample logs that TFREC_DATA names."""
    data = os.environ.get("TFREC_DATA")
    if not data:
        pytest.skip("TFREC_DATA is not set: no folder of real sample logs to read")
    return pathlib.Path(data)
