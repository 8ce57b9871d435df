"""What install.sh does to a node, and what it says: on nodes made of namespaces, with stand-ins for what it builds."""
