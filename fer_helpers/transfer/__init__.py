"""Transfer learning: torchvision's backbones, ImageNet's weights, and training behind frozen stages."""
