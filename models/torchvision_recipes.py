"""How torchvision resizes images to measure the accuracy of its published weights.

Source: `torchvision.models.get_model_weights(name).DEFAULT.transforms()`, the newest weights of each network.
"""

from models.registry import EvaluationRecipe

_NETWORKS: dict[EvaluationRecipe, str] = {
    EvaluationRecipe(224, 224, "bicubic"): "maxvit_t",
    EvaluationRecipe(224, 230, "bilinear"): "convnext_small",
    EvaluationRecipe(224, 232, "bicubic"): "swin_t",
    EvaluationRecipe(224, 232, "bilinear"): (
        "resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 "
        "wide_resnet101_2 mobilenet_v2 mobilenet_v3_large mnasnet0_75 mnasnet1_3 shufflenet_v2_x1_5 shufflenet_v2_x2_0 "
        "regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf "
        "regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf "
        "convnext_base convnext_large"
    ),
    EvaluationRecipe(224, 236, "bilinear"): "convnext_tiny",
    EvaluationRecipe(224, 238, "bicubic"): "swin_b",
    EvaluationRecipe(224, 242, "bilinear"): "vit_l_16",
    EvaluationRecipe(224, 246, "bicubic"): "swin_s",
    EvaluationRecipe(224, 256, "bicubic"): "efficientnet_b0",
    EvaluationRecipe(224, 256, "bilinear"): (
        "alexnet vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn squeezenet1_0 squeezenet1_1 resnet18 "
        "resnet34 densenet121 densenet161 densenet169 densenet201 googlenet mobilenet_v3_small mnasnet0_5 mnasnet1_0 "
        "shufflenet_v2_x0_5 shufflenet_v2_x1_0 vit_b_16 vit_b_32 vit_l_32"
    ),
    EvaluationRecipe(240, 255, "bilinear"): "efficientnet_b1",
    EvaluationRecipe(256, 260, "bicubic"): "swin_v2_t swin_v2_s",
    EvaluationRecipe(256, 272, "bicubic"): "swin_v2_b",
    EvaluationRecipe(288, 288, "bicubic"): "efficientnet_b2",
    EvaluationRecipe(299, 342, "bilinear"): "inception_v3",
    EvaluationRecipe(300, 320, "bicubic"): "efficientnet_b3",
    EvaluationRecipe(380, 384, "bicubic"): "efficientnet_b4",
    EvaluationRecipe(384, 384, "bicubic"): "regnet_y_128gf",
    EvaluationRecipe(384, 384, "bilinear"): "efficientnet_v2_s",
    EvaluationRecipe(456, 456, "bicubic"): "efficientnet_b5",
    EvaluationRecipe(480, 480, "bicubic"): "efficientnet_v2_l",
    EvaluationRecipe(480, 480, "bilinear"): "efficientnet_v2_m",
    EvaluationRecipe(518, 518, "bicubic"): "vit_h_14",
    EvaluationRecipe(528, 528, "bicubic"): "efficientnet_b6",
    EvaluationRecipe(600, 600, "bicubic"): "efficientnet_b7",
}
RECIPES = {name: recipe for recipe, names in _NETWORKS.items() for name in names.split()}
"""The recipe of each network."""
