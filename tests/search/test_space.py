"""The axes of the paper in the words of each engine."""

import math
import sys

import numpy as np
import pytest
import torch
from sklearn.model_selection import ParameterSampler

from sklearn_turn import TURNClassifier
from sklearn_turn.backbones.recipes import ALIASES
from sklearn_turn.search import space, suggest

AXES = {"fft_lr", "fft_weight_decay", "fft_optimizer", "fft_batch_size", "tau"}


def drawn_by_scikit_learn(axes, n=200):
    return list(ParameterSampler(axes, n, random_state=0))


def drawn_by_optuna(axes, n=200):
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [suggest(study.ask(), axes) for _ in range(n)]


def drawn_by_ray(axes, n=200):
    pytest.importorskip("ray")
    state = np.random.RandomState(0)
    return [
        {k: a.sample(random_state=state) for k, a in axes.items()} for _ in range(n)
    ]


ENGINES = {
    "scikit-learn": drawn_by_scikit_learn,
    "optuna": drawn_by_optuna,
    "ray": drawn_by_ray,
}


@pytest.fixture(params=ENGINES)
def draw(request):
    """Candidates as an engine draws them from a space."""

    def drawn(backbone, **options):
        if request.param != "scikit-learn":
            pytest.importorskip(request.param)
        axes = space(backbone, engine=request.param, **options)
        return ENGINES[request.param](axes)

    return drawn


@pytest.mark.filterwarnings("ignore")  # of the engines, when they are imported
class TestSpace:
    @pytest.mark.parametrize("alias", ["vit_b16", "resnet50"])
    def test_the_backbones_own_settings_are_in_the_middle(self, draw, alias):
        recipe = ALIASES[alias]
        candidates = draw(alias, optimizer=recipe.optimizer)
        decades = [math.log10(c["fft_lr"] / recipe.lr) for c in candidates]
        assert -1 <= min(decades) < -0.8 and 0.8 < max(decades) <= 1
        assert abs(np.mean(decades)) < 0.15
        assert {c["fft_optimizer"] for c in candidates} == {recipe.optimizer}
        decays = [math.log10(c["fft_weight_decay"]) for c in candidates]
        assert -6 <= min(decays) < math.log10(recipe.weight_decay) < max(decays) <= -2

    def test_rates_of_both_optimizers(self, draw):
        candidates = draw("vit_b16")  # SGD at 0.01
        rates = [c["fft_lr"] for c in candidates]
        assert 1e-5 <= min(rates) < 3e-5 and 3e-2 < max(rates) <= 0.1
        assert {c["fft_optimizer"] for c in candidates} == {"adamw", "sgd"}

    def test_the_estimator_takes_every_candidate(self, draw, blobs):
        for candidate in draw("letters")[:3]:
            assert set(candidate) == AXES
            TURNClassifier(lp_epochs=1, fft_epochs=0, **candidate).fit(blobs.X, blobs.y)

    def test_the_other_axes(self, draw):
        candidates = draw(torch.nn.Flatten())
        assert {c["fft_batch_size"] for c in candidates} == {32, 64, 128}
        taus = [c["tau"] for c in candidates]
        assert 0.5 <= min(taus) < 0.52 and 0.93 < max(taus) <= 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "vit_b17"}, "Unknown backbone 'vit_b17'. Did you mean"),
        ({"backbone": "vit_b16", "engine": "tune"}, "Unknown engine 'tune'. Use one"),
        ({"backbone": "vit_b16", "optimizer": "lion"}, "Unknown optimizer 'lion'"),
    ],
)
def test_refuses_what_it_does_not_know(arguments, message):
    with pytest.raises(ValueError, match=message):
        space(**arguments)


@pytest.mark.parametrize("engine", ["optuna", "ray"])
def test_says_how_to_install_an_engine(engine, monkeypatch):
    for name in (engine, "optuna.distributions", "ray.tune"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"pip install 'sklearn-turn\[{engine}\]'"):
        space("letters", engine=engine)


def test_suggest_takes_any_of_optunas_distributions_and_no_other():
    optuna = pytest.importorskip("optuna")
    trial = optuna.create_study().ask()
    axes = {
        "lp_epochs": optuna.distributions.IntDistribution(10, 40, step=10),
        "q": optuna.distributions.FloatDistribution(0.2, 0.8, step=0.2),
        "augment": optuna.distributions.CategoricalDistribution(["light", None]),
    }
    values = suggest(trial, axes)
    assert values == trial.params and trial.distributions == axes
    with pytest.raises(TypeError, match="'fft_lr' is .*engine='optuna'"):
        suggest(trial, space("letters"))
