"""Searches without a cluster: scikit-learn's own, Optuna, and news of each epoch."""

from functools import partial

import numpy as np
import pytest
import skorch
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
)
from sklearn.utils import Bunch
from support import pool, tiny
from torch import nn

from sklearn_turn import TURNClassifier
from sklearn_turn.search import ReportEpoch, space


def test_halving_gives_more_epochs_to_fewer_candidates(images, backbone, tmp_path):
    model = tiny(backbone=backbone, memory=str(tmp_path / "features"))
    search = HalvingGridSearchCV(
        model,
        {"fft_lr": [1e-4, 1e-2, 1e-1, 1.0]},
        resource="fft_epochs",
        min_resources=1,
        max_resources=4,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(images.X, images.y)
    assert search.n_resources_ == [1, 2, 4]
    assert search.n_candidates_ == [4, 2, 1]
    assert search.best_estimator_.fft_epochs == 4
    epochs = [r["epoch"] for r in search.best_estimator_.history_][-4:]
    assert epochs == [1, 2, 3, 4]
    # A rung fits anew: what it is worth is what a fit of so many epochs is worth.
    best = {"fft_lr": search.best_params_["fft_lr"]}
    alone = GridSearchCV(
        model.set_params(fft_epochs=4), {k: [v] for k, v in best.items()}, cv=2
    ).fit(images.X, images.y)
    assert search.cv_results_["mean_test_score"][-1] == alone.best_score_


def test_random_search_over_the_papers_axes(images, backbone, tmp_path):
    model = tiny(backbone=backbone, fft_epochs=1, memory=str(tmp_path / "features"))
    search = RandomizedSearchCV(model, space(backbone), n_iter=3, cv=2, random_state=0)
    search.fit(images.X, images.y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert set(search.best_params_) == set(space(backbone))


class TestReportEpoch:
    def test_reports_what_history_will_hold(self, images):
        seen = []
        clf = tiny(
            fft_epochs=3,
            fft_params={
                "callbacks": [ReportEpoch(seen.append)],
                "train_split": skorch.dataset.ValidSplit(5, stratified=True),
            },
        ).fit(images.X, images.y)
        rows = [row for row in clf.history_ if row["phase"] == "fine-tune"]
        assert len(seen) == 3
        for numbers, row in zip(seen, rows, strict=True):
            assert {"epoch", "train_loss", "valid_loss", "seconds"} <= set(numbers)
            assert all(type(value) is float for value in numbers.values())
            assert numbers == {name: row[name] for name in numbers}

    def test_what_it_raises_ends_the_fit_and_the_next_one_works(self, images):
        def stop(numbers):
            if numbers["epoch"] == 2:
                raise TimeoutError("enough")

        clf = tiny(fft_epochs=3, fft_params={"callbacks": [ReportEpoch(stop)]})
        with pytest.raises(TimeoutError, match="enough"):
            clf.fit(images.X, images.y)
        assert not clf.__sklearn_is_fitted__()
        clf.set_params(fft_params=None).fit(images.X, images.y)
        again = tiny(fft_epochs=3).fit(images.X, images.y)
        np.testing.assert_array_equal(
            clf.predict_proba(images.X), again.predict_proba(images.X)
        )

    def test_for_any_skorch_net(self, blobs):
        seen = []
        net = skorch.NeuralNetClassifier(
            nn.Linear,
            module__in_features=2,
            module__out_features=3,
            criterion=nn.CrossEntropyLoss,
            max_epochs=2,
            verbose=0,
            callbacks=[ReportEpoch(seen.append)],
        )
        net.fit(blobs.X.astype(np.float32), blobs.y)
        assert [numbers["epoch"] for numbers in seen] == [1, 2]
        assert seen[-1]["valid_acc"] == net.history[-1, "valid_acc"]


@pytest.mark.filterwarnings("ignore")  # of Optuna: what it calls experimental
class TestOptuna:
    @pytest.fixture(autouse=True)
    def optuna(self):
        optuna = pytest.importorskip("optuna")
        pytest.importorskip("optuna_integration")
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        yield optuna
        optuna.logging.set_verbosity(level)

    def test_trials_are_pruned_epoch_by_epoch(
        self, example, images, backbone, tmp_path, monkeypatch, optuna
    ):
        """Every second one after its second epoch."""
        tune = example("search_optuna")["tune"]

        class Second(optuna.pruners.BasePruner):
            def prune(self, study, trial):
                return trial.number % 2 == 1 and trial.last_step == 1

        monkeypatch.setattr(optuna.pruners, "MedianPruner", lambda **_: Second())
        memory = str(tmp_path / "features")
        study = tune(images.X, images.y, memory, n_trials=4, backbone=backbone)
        states = [t.state.name for t in study.trials]
        assert states == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED"]
        assert [len(t.intermediate_values) for t in study.trials] == [3, 2, 3, 2]
        # A pruned fit leaves nothing behind: the next trial scores as it does alone.
        last = study.trials[2]
        alone = tiny(
            backbone=backbone,
            input_size=None,
            lp_epochs=20,
            augment=None,
            fft_epochs=3,
            fft_params={
                "train_split": skorch.dataset.ValidSplit(5, stratified=True),
                "callbacks": [
                    skorch.callbacks.EpochScoring(
                        "accuracy", name="valid_acc", lower_is_better=False
                    )
                ],
            },
            **last.params,
        ).fit(images.X, images.y)
        assert alone.history_[-1]["valid_acc"] == last.value

    def test_search_cv(self, example, images, backbone, tmp_path):
        search = example("search_optuna")["search"]
        memory = str(tmp_path / "features")
        found = search(images.X, images.y, memory, n_trials=2, backbone=backbone)
        assert found.best_estimator_.fft_optimizer == "adamw"
        assert found.predict(images.X).shape == (60,)
        assert len(found.trials_) == 2

    @pytest.mark.parametrize(
        ("arguments", "printed"),
        [([], " trials were pruned\n"), (["--cv"], "% of noisy labels: {'fft_lr'")],
    )
    def test_script(self, example, arguments, printed, monkeypatch, capsys):
        """Few samples, and a smaller network than the script's."""
        main = example("search_optuna")["main"]
        digits = load_digits(n_class=3)
        few = Bunch(images=digits.images[:60], target=digits.target[:60])
        monkeypatch.setitem(main.__globals__, "load_digits", lambda n_class: few)
        for name in ("tune", "search"):
            function = partial(main.__globals__[name], n_trials=2, backbone=pool)
            monkeypatch.setitem(main.__globals__, name, function)
        monkeypatch.setattr("sys.argv", ["search_optuna.py", *arguments])
        main()
        assert printed in capsys.readouterr().out

    def test_threads_take_turns(self, blobs, optuna):
        """n_jobs of Optuna are threads; each fit is what it is alone."""

        def objective(trial):
            seed = trial.suggest_int("seed", 0, 3)
            clf = TURNClassifier(lp_epochs=2, fft_epochs=1, random_state=seed)
            return float(clf.fit(blobs.X, blobs.y).losses_.mean())

        study = optuna.create_study(
            sampler=optuna.samplers.GridSampler({"seed": [0, 1, 2, 3]})
        )
        study.optimize(objective, n_trials=4, n_jobs=2)
        for trial in study.trials:
            clf = TURNClassifier(lp_epochs=2, fft_epochs=1, random_state=0)
            clf.set_params(random_state=trial.params["seed"]).fit(blobs.X, blobs.y)
            assert trial.value == float(clf.losses_.mean())
