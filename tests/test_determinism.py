"""The same seed gives the same weights, to the last bit, whatever the number of threads."""

import os
import subprocess
import sys

SCRIPT = """
import hashlib, sys
import numpy as np
import minicnn as mc
from minicnn import models, nn, optim
from minicnn.data import DataLoader, TensorDataset, transforms

mc.set_num_threads(int(sys.argv[1]))
rng = np.random.default_rng(0)

def weights(name, shape, batch, make, images=None, **options):
    mc.manual_seed(7)
    model = models.create(name, 10, shape[0], **options)
    images = rng.integers(0, 256, (3 * batch + 5, *shape), dtype=np.uint8)
    data = TensorDataset(images, rng.integers(0, 10, len(images)))
    pipeline = transforms.Compose([transforms.RandomCrop(shape[1:], 2), transforms.Normalize(0.4, 0.3)])
    loader = DataLoader(data, batch, shuffle=True, seed=3, transform=pipeline)
    optimizer = make(model.parameters())
    for x, target in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), target).backward()
        optimizer.step()
    state = [t.data for t in model.state_dict().values()]
    assert all(np.isfinite(a).all() for a in state)
    return hashlib.sha256(b"".join(a.tobytes() for a in state)).hexdigest()

momentum = lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)
adam = lambda parameters: optim.Adam(parameters, lr=1e-3)
print(weights("lenet", (1, 28, 28), 64, momentum))
print(weights("cnn2", (1, 28, 28), 32, adam))
print(weights("resnet20", (3, 32, 32), 16, momentum, width=0.5))
print(weights("densenet_d2l", (1, 48, 48), 8, momentum, width=0.5, dropout=0.2))
print(weights("googlenet", (3, 64, 64), 8, momentum, width=0.25))
print(weights("mobilenet_v2", (3, 32, 32), 8, adam, width=0.5))
print(weights("image_rnn", (1, 28, 28), 32, adam))
"""


def test_threads_change_no_bit_of_the_weights(tmp_path):
    """Convolutions, batch norm, dropout, augmented batches of a loader, SGD and Adam, with 1, 2 and 4 threads."""
    runs = [subprocess.Popen([sys.executable, "-c", SCRIPT, threads], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                             env={**os.environ, "NUMBA_NUM_THREADS": "4", "OMP_WAIT_POLICY": "passive",
                                  "PYTHONPATH": os.pathsep.join(sys.path)}) for threads in ("1", "2", "4")]
    found = [run.communicate()[0].split() for run in runs]
    assert len(found[0]) == 7 and found[1] == found[0] and found[2] == found[0]
