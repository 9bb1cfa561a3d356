"""Every model for ``torch.hub``, without installing the package.

    model = torch.hub.load("OWNER/internimage", "internimage_t_1k_224", pretrained=True)

Options and result are those of :func:`internimage.create_model`; ``torch.hub.list`` gives the names.
"""

import sys as _sys
from functools import partial as _partial
from pathlib import Path as _Path

dependencies = ["torch", "numpy", "PIL", "safetensors", "huggingface_hub"]

_sys.path.insert(0, str(_Path(__file__).parent / "src"))  # torch.hub knows this folder alone

from internimage import create_model as _create_model  # noqa: E402
from internimage import list_models as _list_models  # noqa: E402


def _entry(name):
    entry = _partial(_create_model, name)
    entry.__doc__ = f"{name}\n\n{_create_model.__doc__}"
    return entry


for _name in _list_models():
    globals()[_name] = _entry(_name)
