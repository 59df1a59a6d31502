"""What pages in a browser share: the modules of element, canvas and numbers, the palette, and how modules become one
script."""
