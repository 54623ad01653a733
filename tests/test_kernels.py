"""Set-up compiles every kernel there is."""

import importlib
import pkgutil

import pytest
from numba.core.registry import CPUDispatcher

import ml_assets
from ml_assets import kernels


@pytest.fixture(scope="module")
def dispatchers():
    """Every kernel of the product by its name, after all parts were built in this process."""
    for name in kernels.PARTS:
        kernels.compile_part(name)
    found = {}
    for info in pkgutil.walk_packages(ml_assets.__path__, "ml_assets."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if isinstance(value, CPUDispatcher) and value.py_func.__module__ == info.name:
                found[f"{info.name}.{name}"] = value
    return found


def test_every_kernel_is_compiled(dispatchers):
    # a kernel that only other kernels call comes with them out of the cache
    inner = {name for kernel in dispatchers.values() for name in kernel.py_func.__code__.co_names}
    called = {name: kernel for name, kernel in dispatchers.items() if name.rpartition(".")[2] not in inner}
    assert len(called) > 60
    assert not [name for name, kernel in called.items() if not kernel.signatures]
