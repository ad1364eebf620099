"""Which class is mistaken for which, for `asymmetric` on CIFAR-10 and CIFAR-100."""

from __future__ import annotations

#: The CIFAR-10 confusions of Patrini et al. (2017), by class name.
CIFAR10_ASYMMETRIC: dict[str, str] = {
    "truck": "automobile",
    "bird": "airplane",
    "deer": "horse",
    "cat": "dog",
    "dog": "cat",
}
#: The same, for labels that are CIFAR-10's class indices.
CIFAR10_ASYMMETRIC_INDICES: dict[int, int] = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}

#: CIFAR-100's 20 superclasses and the five classes of each, by the names in its files.
CIFAR100_SUPERCLASSES: dict[str, tuple[str, str, str, str, str]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": (
        "clock",
        "keyboard",
        "lamp",
        "telephone",
        "television",
    ),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": (
        "bridge",
        "castle",
        "house",
        "road",
        "skyscraper",
    ),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": (
        "camel",
        "cattle",
        "chimpanzee",
        "elephant",
        "kangaroo",
    ),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
#: Each CIFAR-100 class to the next of its superclass, the last to the first.
CIFAR100_ASYMMETRIC: dict[str, str] = {
    name: group[(i + 1) % len(group)]
    for group in CIFAR100_SUPERCLASSES.values()
    for i, name in enumerate(group)
}
# CIFAR-100 numbers its classes in the order of their names.
_INDEX = {name: i for i, name in enumerate(sorted(CIFAR100_ASYMMETRIC))}
#: The same, for labels that are CIFAR-100's class indices.
CIFAR100_ASYMMETRIC_INDICES: dict[int, int] = {
    _INDEX[source]: _INDEX[target] for source, target in CIFAR100_ASYMMETRIC.items()
}
