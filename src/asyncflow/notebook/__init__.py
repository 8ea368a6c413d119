"""What a notebook shows of an engine, its calls and their graph, as HTML and SVG."""
