"""Engines with worker processes, the real packages, by the scripts among the examples.

The workers meet an empty store together; each image passes through the backbone once.
"""

import builtins
import contextlib
from functools import partial

import numpy as np
import pytest
from search.models import Logged
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from sklearn_turn.search import space

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the engines, and of their processes
    pytest.mark.usefixtures("importable"),
]
N = 60


@pytest.fixture
def run(example, monkeypatch, backbone):
    """Runs a script on few digits, functions of it with a backbone that counts."""
    digits = load_digits(n_class=3)
    few = Bunch(images=digits.images[:N], target=digits.target[:N])

    def run(name, *arguments, **replaced):
        main = example(name)["main"]
        monkeypatch.setitem(main.__globals__, "load_digits", lambda n_class: few)
        monkeypatch.setattr("sys.argv", [name, *arguments])
        for function, replacement in replaced.items():
            original = main.__globals__[function]
            monkeypatch.setitem(
                main.__globals__, function, partial(replacement, original)
            )
        main()

    return run


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The search of the script in this process, done once."""
    found = []

    def search_alone(search, X, y):
        if not found:
            folder = tmp_path_factory.mktemp("alone")
            backbone = Logged(folder / "passes.txt")
            found.append(search(X, y, str(folder / "features"), backbone))
        return found[0]

    return search_alone


@pytest.fixture
def same_as_alone(backbone, alone):
    """In the script's place of ``search``."""

    def check(search, X, y, memory):
        found = search(X, y, memory, backbone)
        assert backbone.n_passed == N
        expected = alone(search, X, y)
        for i in range(3):
            split = f"split{i}_test_score"
            np.testing.assert_array_equal(
                found.cv_results_[split], expected.cv_results_[split]
            )
        assert found.best_params_ == expected.best_params_
        np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
        return found

    return check


@pytest.fixture
def stored_once(backbone):
    """In the script's place of what stores the features of files."""

    def check(store, paths, name, memory, *args):
        store(paths, backbone, memory, *args)
        assert backbone.n_passed == len(paths) == N
        from sklearn_turn import FeatureExtractor

        FeatureExtractor(backbone, memory=memory).fit_transform(paths)
        assert backbone.n_passed == N

    return check


def test_loky(run, same_as_alone, capsys):
    run("search_engines", "loky", search=same_as_alone)
    assert capsys.readouterr().out.startswith("loky: ")


class TestDask:
    @pytest.fixture(scope="class")
    def client(self, importable):
        distributed = pytest.importorskip("distributed")
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with (
            distributed.LocalCluster(**options) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client

    @pytest.fixture(autouse=True)
    def running(self, client, monkeypatch):
        """The scripts get the cluster that runs."""
        for name in ("LocalCluster", "Client"):
            given = contextlib.nullcontext(client)
            monkeypatch.setattr(f"dask.distributed.{name}", lambda *a, g=given, **k: g)

    def test_search(self, run, same_as_alone):
        run("search_engines", "dask", search=same_as_alone)

    def test_features(self, run, stored_once, capsys):
        run("features_on_a_cluster", "dask", with_dask=stored_once)
        assert " of 60 labels look wrong" in capsys.readouterr().out


class TestRay:
    @pytest.fixture(scope="class")
    def cluster(self, importable):
        ray = pytest.importorskip("ray")
        with pytest.MonkeyPatch.context() as patch:
            # Once Ray has something to say it replaces print, for good, and skorch then
            # prints the epochs of silent nets.
            patch.setattr(builtins, "print", print)
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                object_store_memory=80 * 2**20,
            )
            yield
            ray.shutdown()

    @pytest.fixture(autouse=True)
    def running(self, cluster, monkeypatch):
        """The scripts use the cluster that runs, and leave it running."""
        monkeypatch.setattr("ray.init", lambda **options: None)
        monkeypatch.setattr("ray.shutdown", lambda: None)

    def test_search(self, run, same_as_alone):
        run("search_engines", "ray", search=same_as_alone)

    def test_features(self, run, stored_once, capsys):
        run("features_on_a_cluster", "ray", with_ray=stored_once)
        assert " of 60 labels look wrong" in capsys.readouterr().out

    def test_tune(self, run, backbone, capsys):
        def check(search, X, y, memory, results):
            found = search(X, y, memory, results, n_trials=4, backbone=backbone)
            assert not found.errors
            epochs = [int(result.metrics["epoch"]) for result in found]
            assert len(epochs) == 4 and max(epochs) == 3
            for result, n in zip(found, epochs, strict=True):
                reported = result.metrics_dataframe
                assert reported["epoch"].tolist() == list(range(1, n + 1))
                assert reported["valid_acc"].between(0, 1).all()
            assert set(found.get_best_result().config) == set(space(backbone))
            return found

        run("search_ray_tune", search=check)
        assert "% of noisy labels: {'fft_lr'" in capsys.readouterr().out
