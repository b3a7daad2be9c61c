"""Hooks of modules beside PyTorch's: what they are called with, what they replace, in which order."""

import numpy as np
import pytest
import torch
from util import FIRST, assert_close

import minicnn as mc
from minicnn import nn

LIBRARIES = ((nn, mc), (torch.nn, torch))
X, Z = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]]), np.array([[2.0, 1.0, -1.0], [1.5, 0.5, -0.25]])


def both(scenario):
    """The scenario in both libraries; its tensors must agree."""
    ours, theirs = (scenario(nn_, lambda a, grad=True, mc_=mc_: mc_.tensor(a, requires_grad=grad))
                    for nn_, mc_ in LIBRARIES)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert (a is None) == (b is None), f"entry {i}"
        if isinstance(b, torch.Tensor):
            assert_close(a, b, FIRST, f"entry {i}")
        else:
            assert a == b, f"entry {i}"


def layer(nn_, tensor):
    """A linear layer with fixed weights."""
    linear = nn_.Linear(3, 2, bias=False)
    linear.weight = nn_.Parameter(tensor(np.array([[1.0, 2.0, -1.0], [0.5, -1.5, 1.0]]), False))
    return linear


def test_backward_hook_sees_inputs_and_outputs():
    def scenario(nn_, tensor):
        seen, linear, x = [], layer(nn_, tensor), tensor(X)
        linear.register_full_backward_hook(lambda m, gi, go: seen.extend([m is linear, len(gi), *gi, len(go), *go]))
        (linear(x * x) ** 2).sum().backward()
        return [*seen, x.grad, linear.weight.grad]
    both(scenario)


def test_backward_hook_with_several_inputs_and_outputs():
    def scenario(nn_, tensor):
        class Two(nn_.Module):
            def forward(self, a, number, b):
                return a * b * number, "text", a + b

        seen, two, x, z = [], Two(), tensor(X), tensor(Z)
        two.register_full_backward_hook(lambda m, gi, go: seen.extend([*gi, *go]))
        y, _, w = two(x, 3, z)
        (y * w).sum().backward()
        return [*seen, x.grad, z.grad]
    both(scenario)


def test_backward_hook_replaces_the_gradient_of_the_input():
    def scenario(nn_, tensor):
        linear, x = layer(nn_, tensor), tensor(X)
        linear.register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,))
        linear.register_full_backward_hook(lambda m, gi, go: (gi[0] + 1,))
        linear(x).sum().backward()
        return [x.grad, linear.weight.grad]
    both(scenario)


def test_backward_pre_hook_replaces_the_gradient_of_the_output():
    def scenario(nn_, tensor):
        seen, linear, x = [], layer(nn_, tensor), tensor(X)
        linear.register_full_backward_pre_hook(lambda m, go: (go[0] * 3,))
        linear.register_full_backward_hook(lambda m, gi, go: seen.extend([*gi, *go]))
        linear(x).sum().backward()
        return [*seen, x.grad, linear.weight.grad]
    both(scenario)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
def test_backward_hook_where_no_input_needs_a_gradient():
    def scenario(nn_, tensor):
        seen, linear = [], layer(nn_, tensor)
        linear.register_full_backward_hook(lambda m, gi, go: seen.extend([*gi, *go]))
        linear(tensor(X, False)).sum().backward()
        return [*seen, linear.weight.grad]
    both(scenario)


def test_backward_hook_of_a_chain_and_its_parts():
    def scenario(nn_, tensor):
        order, x = [], tensor(X)
        net = nn_.Sequential(layer(nn_, tensor), nn_.Tanh())
        for name, module in (("net", net), ("linear", net[0]), ("tanh", net[1])):
            module.register_full_backward_hook(lambda m, gi, go, name=name: order.extend([name, *gi, *go]))
        net(x).sum().backward()
        return [*order, x.grad]
    both(scenario)


def test_backward_hook_in_every_backward_and_not_without_gradients():
    def scenario(nn_, tensor):
        seen, linear, x = [], layer(nn_, tensor), tensor(X)
        handle = linear.register_full_backward_hook(lambda m, gi, go: seen.append("hook"))
        y = linear(x).sum()
        y.backward(retain_graph=True)
        y.backward()
        with (mc if nn_ is nn else torch).no_grad():
            linear(x)
        handle.remove()
        linear(x).sum().backward()
        return [*seen, x.grad]
    both(scenario)


def test_a_hooked_module_may_record_where_its_caller_does_not():
    def scenario(nn_, tensor):
        library = mc if nn_ is nn else torch

        class Recording(nn_.Module):
            def forward(self, x):
                with library.enable_grad():
                    return x * x

        module, x = Recording(), tensor(X)
        module.register_full_backward_hook(lambda m, gi, go: None)
        with library.no_grad():
            y = module(x)
        y.sum().backward()
        return [x.grad]
    both(scenario)


def test_a_wrong_number_of_gradients_is_refused():
    for nn_, mc_ in LIBRARIES:
        for register in ("register_full_backward_hook", "register_full_backward_pre_hook"):
            linear = nn_.Linear(3, 2)
            getattr(linear, register)(lambda m, *g: (g[0][0], g[0][0]))
            with pytest.raises(RuntimeError, match="number of grad|gradients as grad"):
                linear(mc_.ones(2, 3, requires_grad=True)).sum().backward()


def test_a_hooked_module_may_write_into_its_input():
    gradients = []
    for hooked in (False, True):
        x, act = mc.tensor(X, requires_grad=True), nn.ReLU(inplace=True)
        if hooked:
            act.register_full_backward_hook(lambda m, gi, go: None)
        h = x * 2
        (act(h) ** 2).sum().backward()
        gradients.append(x.grad.numpy())
        np.testing.assert_array_equal(h.detach().numpy(), X.clip(0) * 2)
    np.testing.assert_array_equal(*gradients)


def test_a_tensor_that_needs_no_gradient_has_none_in_the_hook():
    seen, bilinear = [], type("Product", (nn.Module,), {"forward": lambda self, a, b: a * b})()
    bilinear.register_full_backward_hook(lambda m, gi, go: seen.extend(gi))
    bilinear(mc.tensor(X, requires_grad=True), mc.tensor(Z)).sum().backward()
    np.testing.assert_array_equal(seen[0].numpy(), Z)
    assert seen[1] is None


def test_a_write_to_the_input_of_a_hooked_module_is_noticed():
    x, sigmoid = mc.tensor(X, requires_grad=True), nn.Identity()
    sigmoid.register_full_backward_hook(lambda m, gi, go: None)
    h = x * 1
    y = (sigmoid(h) ** 3).sum()
    h.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()


def test_hooked_gradients_differentiate_again():
    x, linear = mc.tensor(X, requires_grad=True), nn.Linear(3, 2).double()
    linear.register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,))
    (gx,) = mc.autograd.grad((linear(x) ** 3).sum(), [x], create_graph=True)
    (ggx,) = mc.autograd.grad(gx.sum(), [x])
    weight = linear.weight.detach().numpy()
    y = linear(x).detach().numpy()
    np.testing.assert_allclose(gx.detach().numpy(), 2 * (3 * y**2) @ weight)
    np.testing.assert_allclose(ggx.numpy(), 2 * 2 * (6 * y * weight.sum(1)) @ weight)


# -- forward hooks --------------------------------------------------------------------------------------------------

def test_forward_hooks_see_replace_and_come_in_order():
    def scenario(nn_, tensor):
        seen, linear, x = [], layer(nn_, tensor), tensor(X)
        handles = [
            linear.register_forward_pre_hook(lambda m, args: seen.extend(["pre 1", *args])),
            linear.register_forward_pre_hook(lambda m, args: args[0] * 2),
            linear.register_forward_pre_hook(lambda m, args: seen.append("pre 0"), prepend=True),
            linear.register_forward_hook(lambda m, args, out: seen.extend(["post 1", *args, out])),
            linear.register_forward_hook(lambda m, args, out: out + 1),
            linear.register_forward_hook(lambda m, args, out: seen.append("post 0"), prepend=True)]
        y = linear(x)
        for handle in handles:
            handle.remove()
        return [*seen, y, linear(x)]
    both(scenario)


def test_forward_hooks_with_keyword_arguments():
    def scenario(nn_, tensor):
        class Scale(nn_.Module):
            def forward(self, x, *, factor):
                return x * factor

        seen, scale = [], Scale()
        scale.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": kwargs["factor"] + 1}),
                                        with_kwargs=True)
        scale.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs["factor"]), with_kwargs=True)
        scale.register_forward_hook(lambda m, args, kwargs, out: out * kwargs["factor"], with_kwargs=True)
        y = scale(tensor(X), factor=2)
        return [*seen, y]
    both(scenario)


def test_a_pre_hook_with_keyword_arguments_must_return_both():
    for nn_, mc_ in LIBRARIES:
        linear = nn_.Linear(3, 2)
        linear.register_forward_pre_hook(lambda m, args, kwargs: args[0], with_kwargs=True)
        with pytest.raises(RuntimeError, match="pre-hook"):
            linear(mc_.ones(2, 3))


def test_hooks_may_remove_themselves_and_add_others():
    """As a hook does that is to see the first call only; what is added meanwhile is called from the next call on."""
    def scenario(nn_, tensor):
        seen, linear, x = [], layer(nn_, tensor), tensor(X)
        handles = {}

        def once(name, register):
            def hook(*_):
                seen.append(name)
                handles[name].remove()
                register(lambda *_: seen.append(f"later than {name}"))

            handles[name] = register(hook)
            register(lambda *_: seen.append(f"after {name}"))

        for name, register in (("forward", linear.register_forward_hook), ("pre", linear.register_forward_pre_hook),
                               ("backward", linear.register_full_backward_hook),
                               ("backward pre", linear.register_full_backward_pre_hook)):
            once(name, register)
        for _ in range(2):
            linear(x).sum().backward()
            seen.append("next")
        return seen
    both(scenario)
