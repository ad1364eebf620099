"""The order in which the gallery is read; an example that is not listed comes last."""

ORDER = [
    "plot_quickstart",
    "plot_folder_of_images",
    "plot_auditing_labels",
    "plot_pipelines_and_cross_validation",
    "plot_grid_search",
    "plot_halving",
    "plot_own_backbone",
    "plot_features_from_elsewhere",
    "plot_text_encoder",
    "plot_compare_methods",
    "plot_paper_figure_3",
]


def by_list(filename: str) -> tuple[int, str]:
    """Sort key of an example."""
    name = filename.rpartition("/")[2].removesuffix(".py")
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)
