"""What is shown of an engine, its calls and their graph, where HTML and SVG can be shown: in notebooks."""
