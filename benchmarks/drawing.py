"""Figures of the documentation: SVG with the page's own fonts, and equal for equal figures."""


def subplots(salt, *args, **options):
    """As `pyplot.subplots`; `salt` is what makes the names inside the file, one for each figure."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"  # and a small file
    mpl.rcParams["svg.hashsalt"] = salt
    from matplotlib import pyplot as plt

    return plt.subplots(*args, layout="constrained", **options)


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
