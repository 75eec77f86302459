"""The contract suite every model must pass: run on the built-in ones by the tests, and on a user's
own at launch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from textwrap import shorten
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vae_core.errors import ContractError, UserError
from vae_core.geometry import ImageShape
from vae_core.likelihoods import squared_error
from vae_core.models.blame import layer_of, mixing_layer
from vae_core.models.contract import VAE, Head, Reconstruction, evaluating
from vae_core.models.finishing import finish
from vae_core.models.initialise import private_randomness
from vae_core.models.repeating import not_repeated, plain_numbers, private_generators
from vae_core.models.start import Start, named_tensors
from vae_core.randomness import derive

T = TypeVar("T")


@dataclass(frozen=True)
class Findings:
    """What :func:`check_model` found of a model that keeps the contract."""

    one_row: str | None = None
    """Why its banks can have one row only; None: they can have any number."""


def check_model(
    model_class: type[VAE], shape: ImageShape, latent: int, **settings: Any
) -> Findings:
    """Check that a model keeps the contract, on small random batches on the CPU.

    The clauses, in the order they are checked:

    1. It can be built, and keeps the shape and latent size it was given.
    2. All parameters are float32 and trainable (constants belong in buffers). No two share memory,
       unless they are one parameter under two names, nor do those of two models. Each is set by
       ``reset_parameters()`` of its module or by ``__init__``, from torch's generator alone.
    3. ``encode`` and ``decode`` return finite float32 tensors of the declared shapes for any batch
       size; in evaluation mode an image's results do not depend on the others of its batch.
       The arguments are left as they were.
    4. ``forward`` decodes mu + exp(logvar/2) * noise.
    5. In both modes, equal inputs, parameters and buffers give equal outputs: it draws no random
       numbers, except in torch's dropout layers (:mod:`vae_core.models.dropout`), and keeps no
       state outside its buffers.
    6. The gradient of the reconstruction error, or with a head of -ln p(x | z), reaches every
       parameter and is finite. The backward pass leaves buffers as they are.
    7. ``torch.func.vmap(randomness="error")`` of ``functional_call`` over stacked parameters and
       buffers gives, in training mode, the outputs, gradients and updated buffers of plain calls.
       Where ``vmap`` cannot run the model, its banks can have one row only.
    8. All this holds too with each head the model declares. ``decode_spread`` then gives the means
       of ``decode`` and a finite ln variance of the declared shape, and a head leaves the names
       and shapes of the other parameters as they are.

    Raises:
        ContractError: names the first clause that is broken and what to do about it.
    """
    with private_generators():
        plain = _Checks(model_class, shape, latent, settings)
        one_row = plain.run()
        for head in sorted(model_class.heads):
            headed = _Checks(model_class, shape, latent, {**settings, "head": head})
            one_row = headed.run() or one_row
            headed.keeps_the_parameters_of(plain)
    return Findings(one_row)


class _Checks:
    """The clauses of :func:`check_model`, over one model and one batch of images and noise."""

    def __init__(
        self, kind: type[VAE], shape: ImageShape, latent: int, settings: dict[str, Any]
    ) -> None:
        self._kind, self._name = kind, kind.__name__
        self._shape, self._latent = shape, latent
        self._settings = {name: value for name, value in settings.items() if name != "head"}
        self._head: Head | None = settings.get("head")
        self._model = self._built(self._head)
        if self._model.head != self._head:
            raise self._broken(
                f"has head {self._model.head!r}, but was given {self._head!r}",
                "take the keyword head, and pass it on to super().__init__(shape, latent, head)",
            )
        if (self._model.shape, self._model.latent) != (shape, latent):
            raise self._broken(
                f"has shape {self._model.shape} and latent {self._model.latent}, "
                f"but was given {shape} and {latent}",
                "call super().__init__(shape, latent) and leave both attributes as they are",
            )
        generator = torch.Generator().manual_seed(derive(0, "contract"))
        self._x = torch.rand(4, *shape.chw, generator=generator)
        self._noise = torch.randn(4, latent, generator=generator)

    def run(self) -> str | None:
        """Check all clauses; return why banks can have one row only, or None."""
        self.initialisation()
        self.shapes()
        if self._head is not None:
            self.spread()
        self.sampling()
        model = self._model.train()
        self.repeats(lambda: _tensors(model(self._x, self._noise)))
        self.gradients()
        return self.stacking()

    def initialisation(self) -> None:
        model = self._model
        if not any(True for _ in model.parameters()):
            raise self._broken("has no parameters", "register its weights as nn.Parameter")
        for name, parameter in model.named_parameters():
            if parameter.dtype != torch.float32 or not parameter.requires_grad:
                raise self._broken(
                    f"has a parameter '{name}' that is {parameter.dtype} with "
                    f"requires_grad={parameter.requires_grad}",
                    "make it a trainable float32 parameter, or a buffer if it is a constant",
                )
        self.memory()
        starts = []
        for _ in range(2):
            start = self._attempt("be initialised", lambda: Start(self._built, self._head))
            model = self._attempt("be initialised", partial(start.model, 0))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(torch.nan)  # what is not set again stays so
            self._attempt("be initialised", partial(start.model, 0))
            starts.append(start)
        self._start, again = starts
        self._model = self._start.model(0)
        self._numbers = plain_numbers(self._model)
        there = named_tensors(again.model(0))
        for name, value in named_tensors(self._model).items():
            if isinstance(value, nn.Parameter) and not value.isfinite().all():
                raise self._broken(
                    f"leaves parameter '{name}' unset or not finite when initialised",
                    "let reset_parameters() of the module that owns it set all its values",
                )
            if not torch.equal(value, there[name]):
                kind = "parameter" if isinstance(value, nn.Parameter) else "buffer"
                raise self._broken(
                    f"starts {kind} '{name}' at different values for one seed",
                    "let reset_parameters() and __init__ draw from torch's default generator only",
                )

    def memory(self) -> None:
        """Each parameter has memory of its own: a bank keeps a copy of each in every row."""
        tensors = named_tensors(self._model)
        found: dict[int, str] = {}
        for name, tensor in tensors.items():  # parameters, then buffers
            first = found.setdefault(tensor.untyped_storage().data_ptr(), name)
            if first != name and tensor.numel() and isinstance(tensors[first], nn.Parameter):
                raise self._broken(
                    f"has '{first}' and '{name}' in one memory, and they are not one parameter",
                    "assign the nn.Parameter itself to both modules: a.weight = b.weight",
                )
        for name, parameter in self._built(self._head).named_parameters():
            if parameter.numel() and parameter.untyped_storage().data_ptr() in found:
                raise self._broken(
                    f"has parameter '{name}' in common with other models of its class",
                    "copy in __init__ what every model is to have: copy.deepcopy(module), "
                    "nn.Parameter(tensor.clone())",
                )

    def shapes(self) -> None:
        model, x, z, before = self._model, self._x, self._noise, self._x.clone()
        with evaluating(model):
            mu, logvar = self._encoded(x)
            xhat = self._attempt("decode", lambda: model.decode(z))
            self._check_tensor("encode's mu", mu, z.shape)
            self._check_tensor("encode's logvar", logvar, z.shape)
            self._check_tensor("decode's result", xhat, x.shape)
            few_mu, few_logvar = self._encoded(x[:3])
            few_xhat = self._attempt("decode 3 latents", lambda: model.decode(z[:3]))
        if not torch.equal(x, before):
            raise self._broken(
                "changes the images it is given", "do not write into the arguments in place"
            )
        with evaluating(model):
            self.repeats(lambda: (*model.encode(x), model.decode(z)))
        for few, all_ in ((few_mu, mu), (few_logvar, logvar), (few_xhat, xhat)):
            if not _close(few, all_[:3]):
                with evaluating(model):
                    layer = mixing_layer(
                        model, lambda n: (model.encode(x[:n]), model.decode(z[:n])), _close
                    )
                raise self._broken(
                    f"gives an image other results beside other images, in evaluation mode: "
                    f"{layer} mixes them",
                    "compute each row of a batch from that row alone when self.training is False; "
                    "batch normalisation needs track_running_stats=True",
                )

    def spread(self) -> None:
        model, z, images = self._model, self._noise, len(self._x)
        per_pixel = self._shape.chw if self._head == "pixel" else (1, 1, 1)
        with evaluating(model):
            xhat = model.decode(z)
            means, log_sigma2 = self._attempt("decode_spread", lambda: model.decode_spread(z))
            few = self._attempt("decode_spread 3 latents", lambda: model.decode_spread(z[:3])[1])
            shape = torch.Size((images, *per_pixel))
            self._check_tensor("decode_spread's log_sigma2", log_sigma2, shape)
        if not _close(means, xhat):
            raise self._broken(
                "gives other means from decode_spread than from decode", "let both share the layers"
            )
        if not _close(few, log_sigma2[:3]):
            raise self._broken(
                "gives an image another variance beside other images, in evaluation mode",
                "compute each row of a batch from that row alone when self.training is False",
            )

    def keeps_the_parameters_of(self, plain: _Checks) -> None:
        with_head = {name: p.shape for name, p in self._model.named_parameters()}
        for name, parameter in plain._model.named_parameters():
            if with_head.get(name) != parameter.shape:
                raise self._broken(
                    f"has another parameter '{name}' with a head for each {self._head}, or none",
                    "only add parameters for a head: equal names and shapes get equal starts",
                )

    def sampling(self) -> None:
        model = self._model
        with evaluating(model):
            got = self._attempt("run forward", lambda: model(self._x, self._noise))
            mu, logvar = model.encode(self._x)
            z = mu + (0.5 * logvar).exp() * self._noise
            decoded = (model.decode(z), None) if self._head is None else model.decode_spread(z)
        expected = Reconstruction(decoded[0], mu, logvar, decoded[1])
        if not (
            isinstance(got, Reconstruction)
            and (got.log_sigma2 is None) == (self._head is None)
            and all(_close(a, b) for a, b in zip(_tensors(got), _tensors(expected), strict=True))
        ):
            raise self._broken(
                "has a forward that does not decode mu + exp(logvar/2) * noise",
                "do not override forward; define encode and decode, and decode_spread for a head",
            )

    def repeats(self, call: Callable[[], tuple[Tensor, ...]]) -> None:
        mode = "training" if self._model.training else "evaluation"
        fault = self._attempt(
            f"run twice in {mode} mode",
            lambda: not_repeated(self._model, self._numbers, call, _close),
        )
        if fault is not None:
            raise self._broken(f"{fault.what}, in {mode} mode", fault.remedy)

    def gradients(self) -> None:
        model = self._model.train()
        parameters = dict(model.named_parameters())
        loss = self._loss(self._x, model(self._x, self._noise)).sum()
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        found = self._attempt(
            "be differentiated",
            lambda: torch.autograd.grad(loss, list(parameters.values()), allow_unused=True),
            "correct the model; torch.utils.checkpoint needs use_reentrant=False",
        )
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is None or not gradient.isfinite().all():
                state = "no" if gradient is None else "a non-finite"
                raise self._broken(
                    f"passes {state} gradient to parameter '{name}'",
                    "use it in encode or decode without detaching, or remove it; "
                    "torch.utils.checkpoint needs use_reentrant=False",
                )
        for name, buffer in model.named_buffers():
            if not torch.equal(buffer, before[name]):
                raise self._broken(
                    f"changes buffer '{name}' in the backward pass too",
                    "keep dropout and normalisation layers out of torch.utils.checkpoint, which "
                    "runs them twice a step",
                )

    def stacking(self) -> str | None:
        members = [self._built(self._head).train() for _ in range(2)]
        with torch.no_grad():
            for seed, member in enumerate(members):
                start = named_tensors(self._start.model(seed))
                for name, tensor in named_tensors(member).items():
                    tensor.copy_(start[name])
        x, noise = torch.stack([self._x, 1 - self._x]), torch.stack([self._noise, -self._noise])

        def one(parameters: Any, buffers: Any, x: Tensor, noise: Tensor) -> Any:
            inputs = (x, noise)
            return _tensors(torch.func.functional_call(self._model, (parameters, buffers), inputs))

        def together(*stacked: Any) -> Any:
            return torch.func.vmap(one, randomness="error")(*stacked)

        def one_by_one(*stacked: Any) -> Any:
            rows = [one(*(_row(part, k) for part in stacked)) for k in range(2)]
            return tuple(map(torch.stack, zip(*rows, strict=True)))

        one_row = None
        try:
            self._stacked_like_plain(members, x, noise, together)
        except UserError:
            raise
        except Exception as error:
            sentence = str(error).partition("\n")[0].partition(". ")[0]
            reason = shorten(sentence or type(error).__name__, 120, placeholder=" ...")
            one_row = f"torch.func.vmap cannot run {layer_of(self._model, error)}: {reason}"
            self._attempt(
                "run by functional_call",
                lambda: self._stacked_like_plain(members, x, noise, one_by_one),
            )
        return one_row

    def _stacked_like_plain(
        self, members: list[VAE], x: Tensor, noise: Tensor, run: Callable[..., Any]
    ) -> None:
        """Check that ``run`` on stacked parameters does what plain calls of ``members`` do."""
        parameters, buffers = torch.func.stack_module_state(list[nn.Module](members))
        rows = run(parameters, buffers, x, noise)
        losses = [self._loss(x[k], Reconstruction(*(row[k] for row in rows))) for k in range(2)]
        torch.autograd.backward(torch.cat(losses).sum())
        for k, member in enumerate(members):
            plain = member(x[k], noise[k])
            loss = self._loss(x[k], plain).sum()
            found = torch.autograd.grad(loss, list(member.parameters()))
            pairs = [(f"output {i}", rows[i][k], out) for i, out in enumerate(_tensors(plain))]
            pairs += [(f"buffer '{n}'", buffers[n][k], b) for n, b in member.named_buffers()]
            alike = [(what, _close(stacked, alone)) for what, stacked, alone in pairs]
            gradients = dict(zip(dict(member.named_parameters()), found, strict=True))
            # A bias before a normalisation has gradient 0, up to the rounding of larger ones.
            rounding = 1e-5 * max(float(gradient.abs().max()) for gradient in gradients.values())
            for name, gradient in gradients.items():
                grad = parameters[name].grad
                row = torch.full_like(gradient, torch.nan) if grad is None else grad[k]
                alike += [(f"the gradient of '{name}'", _close(row, gradient, rounding))]
            for what, close in alike:
                if not close:
                    raise self._broken(
                        f"differs as a row of stacked parameters in {what}",
                        "reach parameters and buffers as attributes of their modules at every "
                        "call, and change buffers in place only",
                    )

    def _loss(self, x: Tensor, found: Reconstruction) -> Tensor:
        """Something of each image [B] that every parameter has a part in."""
        return squared_error(x, found.xhat) if self._head is None else found.nll(x)

    def _built(self, head: Head | None, seed: int = 0) -> VAE:
        settings = self._settings if head is None else {**self._settings, "head": head}
        with private_randomness():
            torch.default_generator.manual_seed(seed)
            return self._attempt(
                "be built", lambda: finish(self._kind(self._shape, self._latent, **settings))
            )

    def _encoded(self, x: Tensor) -> tuple[Any, Any]:
        found: Any = self._attempt(f"encode {len(x)} images", lambda: self._model.encode(x))
        if not isinstance(found, tuple) or len(found) != 2:
            raise self._broken("does not return a pair from encode", "return (mu, logvar)")
        return found

    def _check_tensor(self, what: str, got: Any, shape: torch.Size) -> None:
        if not isinstance(got, Tensor) or got.shape != shape or got.dtype != torch.float32:
            found = (
                f"{got.dtype} {list(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
            )
            raise self._broken(
                f"returns {found} as {what}, not torch.float32 {list(shape)}",
                "return tensors of the shapes VAE.encode and VAE.decode state",
            )
        if not got.isfinite().all():
            raise self._broken(
                f"returns values that are not finite as {what}", "check its starting weights"
            )

    def _attempt(self, what: str, action: Callable[[], T], remedy: str = "") -> T:
        try:
            return action()
        except UserError:
            raise
        except Exception as error:
            raise self._broken(
                f"cannot {what}: {type(error).__name__}: {error}", remedy or "correct the model"
            ) from error

    def _broken(self, what: str, remedy: str) -> ContractError:
        name = f"{self._name} with a head" if self._head else self._name
        return ContractError(f"{name} {what}", where="model contract", remedy=remedy)


def _tensors(found: Any) -> tuple[Tensor, ...]:
    """The tensors a model returned, without None: the variance if it has no head."""
    return tuple(value for value in found if value is not None)


def _row(stacked: Any, k: int) -> Any:
    """Row ``k`` of a stack, or of each stack of a dictionary."""
    if isinstance(stacked, Tensor):
        return stacked[k]
    return {name: stack[k] for name, stack in stacked.items()}


def _close(a: Tensor, b: Tensor, rounding: float = 0.0) -> bool:
    """Whether two tensors agree to float32 rounding, measured against their largest entry.

    Entries may be ``rounding`` apart in any case.
    """
    if a.shape != b.shape:
        return False
    a, b = a.detach().double(), b.detach().double()
    scale = float(b.abs().max()) if b.numel() else 0.0
    return bool(torch.allclose(a, b, rtol=1e-3, atol=max(1e-4 * scale + 1e-6, rounding)))
