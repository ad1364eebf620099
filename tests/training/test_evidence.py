"""What a net says of every training sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from support import Spy, losses_by_hand, spy_net
from torch import nn

from sklearn_turn.inputs import FeatureRows
from sklearn_turn.losses import GCELoss
from sklearn_turn.training.batches import Labelled
from sklearn_turn.training.evidence import collect_evidence
from sklearn_turn.training.modules import Classifier
from sklearn_turn.training.net import Net


@pytest.mark.parametrize("criterion", ["logits", "probabilities"])
def test_losses_are_cross_entropies_in_index_order(criterion, numbered):
    X, y = numbered
    net = spy_net(criterion, max_epochs=1).fit(X, y)
    net.module_.evaluated.clear()
    evidence, labels = collect_evidence(net, net.get_dataset(X, y), {"losses"})
    assert net.module_.evaluated == list(range(300))
    assert set(evidence) == {"losses", "predicted"}
    np.testing.assert_array_equal(labels, y)
    predicted = net.predict_proba(X).argmax(axis=1)
    np.testing.assert_array_equal(evidence["predicted"], predicted)
    assert evidence["losses"].dtype == np.float64
    expected = losses_by_hand(net.module_.state_dict(), X, y)
    np.testing.assert_allclose(
        evidence["losses"], expected[:, None], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("criterion", ["logits", "probabilities"])
def test_log_probabilities_are_those_the_net_predicts(criterion, numbered):
    X, y = numbered
    net = spy_net(criterion, max_epochs=1).fit(X, y)
    evidence, _ = collect_evidence(net, net.get_dataset(X, y), {"log_proba"})
    log_proba = evidence["log_proba"]
    assert log_proba.dtype == np.float64
    np.testing.assert_allclose(np.exp(log_proba), net.predict_proba(X), rtol=1e-4)
    np.testing.assert_allclose(
        evidence["losses"][:, 0], -log_proba[np.arange(300), y], rtol=1e-6
    )


@pytest.mark.parametrize("options", [{"criterion": GCELoss}, {"warmup_epochs": 5}])
def test_losses_of_other_criteria_are_cross_entropies_too(options, numbered):
    X, y = numbered
    net = Net(Spy, lr=0.05, max_epochs=1, **options)
    data = Labelled(FeatureRows(X), y)
    net.fit(data, y)
    evidence, _ = collect_evidence(net, data, {"losses"})
    expected = losses_by_hand(net.module_.state_dict(), X, y)
    np.testing.assert_allclose(evidence["losses"][:, 0], expected, rtol=1e-4, atol=1e-5)


def test_features_are_what_the_last_layer_sees(numbered):
    X, y = numbered
    module = Classifier(nn.Linear(3, 5), nn.Identity(), nn.Linear(5, 3))
    net = Net(module).initialize()
    data = Labelled(FeatureRows(X), y)
    evidence, _ = collect_evidence(net, data, {"features", "log_proba"})
    with torch.inference_mode():
        features = module.embed(torch.as_tensor(X))
        log_proba = module.head(features).log_softmax(dim=1)
    np.testing.assert_allclose(evidence["features"], features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(evidence["log_proba"], log_proba, rtol=1e-4, atol=1e-5)


def test_a_module_without_features_is_named(numbered):
    X, y = numbered
    net = spy_net(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"wants features, but Spy has no embed"):
        collect_evidence(net, net.get_dataset(X, y), {"features"})


def test_outputs_that_are_no_probabilities_are_refused(numbered):
    """Logits under a criterion that does not say so."""
    X, y = numbered
    net = spy_net(max_epochs=1).set_params(criterion=nn.MultiMarginLoss).fit(X, y)
    with pytest.raises(ValueError, match=r"Spy are no probabilities.*SampleLoss"):
        collect_evidence(net, net.get_dataset(X, y), {"losses"})


def test_probability_of_zero_gives_a_finite_loss():
    class Certain(nn.Linear):
        def forward(self, X):
            return torch.eye(2)[torch.zeros(len(X), dtype=int)]

    net = NeuralNetClassifier(
        Certain, module__in_features=1, module__out_features=2, lr=0.1, verbose=0
    )
    net.initialize()
    X, y = np.zeros((2, 1), dtype=np.float32), np.array([0, 1])
    evidence, _ = collect_evidence(net, net.get_dataset(X, y), {"losses"})
    first, second = evidence["losses"][:, 0]
    assert first == 0
    assert second > 50 and np.isfinite(second)


def test_losses_of_one_logit_are_exact_for_both_labels():
    """The rest of a probability near 1 is 0 in single precision."""
    X = np.array([[-40.0], [-18.0], [-1.0], [0.0], [10.0], [18.0], [40.0]], "float32")
    net = NeuralNetBinaryClassifier(
        nn.Linear, module__in_features=1, module__out_features=1, verbose=0
    ).initialize()
    nn.init.ones_(net.module_.weight)
    nn.init.zeros_(net.module_.bias)
    for label in (0, 1):
        y = np.full(len(X), label, dtype=np.float32)
        dataset = net.get_dataset(X, y)
        found, _ = collect_evidence(net, dataset, {"losses", "log_proba"})
        margin = X[:, 0].astype(float) * (2 * label - 1)
        np.testing.assert_allclose(found["losses"][:, 0], np.logaddexp(0, -margin))
        np.testing.assert_allclose(
            found["log_proba"][:, label], -np.logaddexp(0, -margin)
        )
