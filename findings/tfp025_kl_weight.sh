#!/usr/bin/env bash
# TensorFlow Probability 0.25.0 with tf-keras 2.18.0: what a KL weight of 1 adds to the loss.
#
# Expected: beside a likelihood that Keras averages over the batch, the KL averaged over the batch,
# once, whether it is added by KLDivergenceRegularizer or by KLDivergenceAddLoss. Seen: the
# regularizer adds it twice, since a DistributionLambda gives Keras two outputs (the distribution
# and its sample) and Keras adds the activity regularizer of each; KLDivergenceAddLoss adds its sum
# over the batch, so that a weight of 1 weighs as the batch size.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  tensorflow-cpu==2.18.1 tensorflow-probability==0.25.0 tf-keras==2.18.0 2>/dev/null
TF_USE_LEGACY_KERAS=1 TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 \
  "$work/venv/bin/python" - 2>/dev/null <<'PY'
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as keras

tfd, layers = tfp.distributions, tfp.layers
LATENT, PIXELS = 3, 5


def weight_seen(added, batch):
    """The weight of the mean KL in the loss that Keras reports."""
    prior = tfd.Independent(tfd.Normal(tf.zeros(LATENT), 1.0), 1)
    options = {"use_exact_kl": True, "weight": 1.0}
    regularizer = layers.KLDivergenceRegularizer(prior, **options)
    encoder = keras.Sequential([
        keras.layers.InputLayer([PIXELS]),
        keras.layers.Dense(layers.IndependentNormal.params_size(LATENT)),
        layers.IndependentNormal(
            LATENT,
            convert_to_tensor_fn=tfd.Distribution.mean,
            activity_regularizer=regularizer if added == "regularizer" else None,
        ),
        *([layers.KLDivergenceAddLoss(prior, **options)] if added == "add_loss" else []),
    ])
    means = keras.layers.Dense(PIXELS)(encoder.outputs[0])
    unit = layers.DistributionLambda(lambda mean: tfd.Independent(tfd.Normal(mean, 1.0), 1))
    vae = keras.Model(encoder.inputs, unit(means))
    vae.compile(loss=lambda x, decoded: -decoded.log_prob(x))
    x = np.random.default_rng(0).normal(size=(batch, PIXELS)).astype("float32")
    total = vae.evaluate(x, x, batch_size=batch, verbose=0)
    likelihood = -tf.reduce_mean(vae(x).log_prob(x))
    posterior = keras.Model(encoder.inputs, encoder.layers[0].output)(x)
    loc, scale = np.split(posterior.numpy(), 2, axis=1)
    scale = np.log1p(np.exp(scale))
    kl = 0.5 * (loc**2 + scale**2 - 1 - 2 * np.log(scale)).sum(axis=1).mean()
    return float((total - likelihood) / kl)


print(f"tensorflow-probability {tfp.__version__}, tf-keras {keras.__version__}")
for added in ("regularizer", "add_loss"):
    for batch in (4, 32):
        seen = weight_seen(added, batch)
        print(f"{added} of weight 1, batch {batch}: the mean KL is in the loss {seen:.4f} times")
        assert abs(seen - (2 if added == "regularizer" else batch)) < 1e-3
PY
