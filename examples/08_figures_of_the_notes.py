"""The drawings of networks and blocks that the notes had as pictures, made anew from the networks themselves.

    python examples/08_figures_of_the_notes.py [FOLDER]     writes SVG files, which browsers show, into figures/

Each is one call of ``minicnn.explain.graph``, which draws any model, and any module of your own, in the same way; for a
model by its name, so does ``python -m minicnn.summary NAME --graph NAME.svg``. The other pictures of the notes were
sums over windows (``python -m minicnn.explain conv2d`` steps through them), and curves of training.
"""

# %% Settings
import sys
from pathlib import Path

from minicnn import models, nn
from minicnn.explain import graph
from minicnn.models import densenet, googlenet, nin, resnet, vgg

WIDTH = 1 / 8 if "--smoke" in sys.argv else 1
folder = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), "figures"))
folder.mkdir(exist_ok=True)


def draw(figure: str, model: nn.Module | str, size: tuple[int, ...] | None = None, depth: int | None = None) -> None:
    drawing = graph(models.create(model, width=WIDTH) if isinstance(model, str) else model, size, depth=depth)
    drawing.save(folder / f"{figure}.svg")
    print(f"{folder / figure}.svg: {len(drawing.boxes)} boxes")


# %% Networks: note 000 figures 10 and 14; note 001 sections 6 and 7.1; note 003 figures 05 and AlexNet; note 004
draw("lenet", "lenet")
draw("lenet5", "lenet5")
draw("alexnet", "alexnet_gray224")  # beside lenet.svg: what the notes compare; models.diff does it row by row
draw("alexnet_227", "alexnet_single")
draw("alexnet_two_gpus", "alexnet_paper")

# %% VGG: note 000 figure 15, note 001 section 7.2, note 003 figure VGG16
draw("vgg_block", nn.Sequential(*vgg.vgg11_d2l().features[6:11]), (128, 56, 56), depth=9)
draw("vgg11", "vgg11_d2l", depth=2)
draw("vgg16", "vgg16", depth=2)

# %% Network in network: note 000 figures 16 and 17, note 001 section 7.3
draw("nin_block", nn.Sequential(*list(nin.nin().children())[:6]), (1, 224, 224))
draw("nin", "nin")

# %% GoogLeNet: note 000 figures 18 and 19, note 001 section 7.4, note 003 figures Inception and Inception-network
draw("inception_block", googlenet.Inception(192, googlenet.BLOCKS["3a"], googlenet.conv_relu), (192, 28, 28), depth=9)
draw("googlenet", "googlenet_gray224", depth=1)
draw("googlenet_stages_1_2", nn.Sequential(*list(models.create("googlenet_gray224").children())[:5]), (1, 224, 224))
draw("googlenet_heads", models.create("googlenet_paper", 1000, aux=True), depth=1)

# %% Residual networks: note 001 section 7.6, note 003 figures vsnet-01, Residual-block and Residual-Network
draw("plain_block", resnet.BasicBlock(64, 64, 1, resnet.padding, residual=False), (64, 56, 56))
draw("residual_block", resnet.BasicBlock(64, 64, 1, resnet.book_projection, bias=True), (64, 56, 56))
draw("residual_block_1x1", resnet.BasicBlock(64, 128, 2, resnet.book_projection, bias=True), (64, 56, 56))
draw("resnet18", "resnet18_d2l", depth=2)
draw("plain20", "plain20", depth=2)
draw("resnet20", "resnet20", depth=2)

# %% Dense blocks, of which note 002 tells
draw("dense_block", densenet.densenet_d2l().features.denseblock1, (64, 24, 24), depth=9)
