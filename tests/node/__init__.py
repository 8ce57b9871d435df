"""What is known of a node, and what mends it: nodes are broken as people and programs break them."""
