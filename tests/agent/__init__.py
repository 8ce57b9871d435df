"""The node agent: the real process, on nodes made of namespaces, against a stand-in for the API server."""
